"""The loop that trains a network on pixels: used by every strategy that trains one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.speed import autocast
from autotl.backbones.zoo import Backbone
from autotl.metrics import accuracy, log_loss
from autotl.strategies.augment import POLICIES, augment
from autotl.strategies.base import (
    DivergedError,
    Reporter,
    StrategyConfig,
    Task,
    Trial,
    suggest_backbone,
)
from autotl.strategies.fitted import FittedModel

_WARMUP_SHARE = 0.1


class TrainingConfig(StrategyConfig):
    """How to train a network: what strategies that do so have in common.

    Attributes:
        backbone: its name.
        lr: peak learning rate of AdamW; of the head, where there are several.
        epochs: passes over the training samples, at least 1.
        weight_decay: of AdamW (Loshchilov and Hutter 2019), not applied to vectors.
        label_smoothing: in [0, 1).
        augmentation: one of :data:`autotl.strategies.augment.POLICIES`.
        mirror: whether augmentation includes mirroring left to right.
        balanced: whether a class weighs the same in the loss however rare it is.
    """

    lr: float
    epochs: int
    weight_decay: float
    label_smoothing: float
    augmentation: str
    mirror: bool
    balanced: bool


def suggest_training(
    trial: Trial, strategy: str, profile: DatasetProfile, lr: tuple[float, float]
) -> dict[str, Any]:
    """Choose the values of a :class:`TrainingConfig`; ``lr`` is the range of the peak rate."""
    backbone = suggest_backbone(trial, strategy, profile)
    return {
        "backbone": backbone,
        "lr": trial.suggest_float(f"{strategy}.lr", *lr, log=True),
        "epochs": suggest_epochs(trial, strategy, backbone, profile),
        "augmentation": trial.suggest_categorical(f"{strategy}.augmentation", POLICIES),
        "mirror": trial.suggest_categorical(f"{strategy}.mirror", (False, True)),
        "weight_decay": trial.suggest_float(f"{strategy}.weight_decay", 1e-3, 0.3, log=True),
        "label_smoothing": trial.suggest_categorical(f"{strategy}.label_smoothing", (0.0, 0.1)),
        "balanced": profile.size.is_imbalanced,
    }


def suggest_epochs(trial: Trial, strategy: str, backbone: str, profile: DatasetProfile) -> int:
    """A number of epochs between a quarter of what one trial can afford, and all of that.

    The range is that of the cheapest backbone; for a dearer one it means the same share.
    """
    most = max(candidate.max_epochs for candidate in profile.backbones.values())
    chosen = trial.suggest_int(f"{strategy}.epochs", max(1, most // 4), most, log=True)
    return max(1, round(chosen * profile.backbones[backbone].max_epochs / most))


def training_cost(backbone: str, epochs: int, freeze_depth: int, task: Task) -> float:
    """Seconds of training and validation on all folds, the backward pass shared by stages."""
    speed = task.speeds[backbone]
    backward_s = max(0.0, speed.train_s - speed.forward_s)
    trained_share = 1.0 - freeze_depth / task.backbones[backbone].num_stages
    train_s = speed.forward_s + backward_s * trained_share
    n_train = sum(len(fold.train) for fold in task.folds)
    n_validated = sum(len(fold.validation) for fold in task.folds)
    return epochs * (n_train * train_s + n_validated * speed.forward_s)


def batch_size_for(n_samples: int) -> int:
    """Some twenty steps in an epoch, and a batch of 16 to 64."""
    return int(min(64, max(16, 2 ** round(math.log2(max(n_samples, 1) / 20.0)))))


def train_network(
    network: nn.Module,
    backbone: Backbone,
    parameters: Sequence[tuple[Sequence[nn.Parameter], float]],
    config: TrainingConfig,
    task: Task,
    train: NDArray[np.int64],
    validation: NDArray[np.int64] | None,
    reporter: Reporter,
) -> FittedModel:
    """Train with AdamW under a warm-up and a cosine schedule.

    Args:
        network: logits ``(n, n_classes)`` from normalised pictures ``(n, 3, h, w)``.
        backbone: for the preprocessing.
        parameters: pairs of (parameters, peak learning rate).
        config: how.
        task: where the pixels, labels and the device are.
        train: samples to learn from.
        validation: samples to score after each epoch, or None.
        reporter: told of each epoch; may end the training.

    Raises:
        DivergedError: if the loss or the predictions become infinite or NaN.
        TrialStopped: from the reporter.
    """
    device = task.device
    speed = task.speeds[backbone.name]
    network = network.to(device).to(memory_format=speed.memory_format)
    optimizer = torch.optim.AdamW(_groups(parameters, config.weight_decay), betas=(0.9, 0.99))
    batch_size = min(batch_size_for(len(train)), len(train))
    n_batches = max(1, len(train) // batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, one_cycle(config.epochs * n_batches, _WARMUP_SHARE)
    )
    weights = _class_weights(task, train) if config.balanced else None
    pixels = task.pixels(backbone.image_size)
    shuffle = np.random.default_rng(task.seed)
    generator = torch.Generator(device=device).manual_seed(task.seed)
    probabilities: NDArray[np.float32] | None = None
    n_trainable = sum(p.numel() for group, _ in parameters for p in group)
    model = FittedModel(backbone, network, task.n_classes, n_trainable)

    with _own_randomness(device, task.seed):
        for epoch in range(config.epochs):
            network.train()
            order = shuffle.permutation(train)
            total = torch.zeros((), device=device)
            for batch in np.split(order[: n_batches * batch_size], n_batches):
                reporter.check()
                shown = torch.from_numpy(pixels[batch]).to(device)
                shown = augment(
                    shown, config.augmentation, mirror=config.mirror, generator=generator
                )
                x = backbone.normalise(shown).contiguous(memory_format=speed.memory_format)
                target = torch.from_numpy(task.labels[batch]).to(device)
                with autocast(speed.precision, device):
                    logits = network(x)
                loss = functional.cross_entropy(
                    logits.float(), target, weights, label_smoothing=config.label_smoothing
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach()
            train_loss = float(total) / n_batches
            if not math.isfinite(train_loss):
                raise DivergedError(
                    f"the loss became {train_loss} in epoch {epoch + 1} of {config.epochs}"
                )
            if validation is not None:
                probabilities = model.predict_proba(
                    pixels, validation, device=device, precision=speed.precision
                )
                if not np.isfinite(probabilities).all():
                    raise DivergedError(
                        f"the predictions became NaN in epoch {epoch + 1} of {config.epochs}"
                    )
                _report_epoch(
                    reporter,
                    task,
                    validation,
                    probabilities,
                    (epoch + 1) / config.epochs,
                    {"train_loss": train_loss},
                )
    network.eval()
    return FittedModel(backbone, network, task.n_classes, n_trainable, probabilities)


def _report_epoch(
    reporter: Reporter,
    task: Task,
    validation: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    progress: float,
    figures: Mapping[str, float],
) -> None:
    """Tell the reporter the validation score and loss after an epoch."""
    labels = task.labels[validation]
    reporter.report(
        progress,
        task.metric.score(labels, probabilities),
        {
            "validation_accuracy": accuracy(labels, probabilities),
            "validation_log_loss": log_loss(labels, probabilities),
            **figures,
        },
    )


def one_cycle(n_steps: int, warmup_share: float) -> Callable[[int], float]:
    """Factor of the peak learning rate by step: linear warm-up, then half a cosine to 0."""
    n_warmup = max(1, round(n_steps * warmup_share))

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        share = (step - n_warmup) / max(1, n_steps - n_warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))

    return factor


def _groups(
    parameters: Sequence[tuple[Sequence[nn.Parameter], float]], weight_decay: float
) -> list[dict[str, object]]:
    """Optimizer groups; biases and normalisation scales (vectors) are not decayed."""
    groups: list[dict[str, object]] = []
    for members, lr in parameters:
        matrices = [p for p in members if p.ndim > 1]
        vectors = [p for p in members if p.ndim <= 1]
        groups.append({"params": matrices, "lr": lr, "weight_decay": weight_decay})
        groups.append({"params": vectors, "lr": lr, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _class_weights(task: Task, train: NDArray[np.int64]) -> Tensor:
    counts = np.bincount(task.labels[train], minlength=task.n_classes)
    weights = len(train) / (task.n_classes * np.maximum(counts, 1))
    return torch.as_tensor(weights, dtype=torch.float32, device=task.device)


@contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Dropout and its like draw from the trial's seed; the process's random state comes back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
