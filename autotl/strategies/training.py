"""The loop that trains a network on pixels: used by every strategy that trains one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from autotl.backbones.optimizers import new_optimizer
from autotl.backbones.speed import Speed
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.metrics import accuracy, log_loss
from autotl.runtime import free_memory_bytes
from autotl.strategies.base import DivergedError, Reporter, StrategyConfig, Task
from autotl.strategies.checkpoint import Checkpoint, checkpoint_of
from autotl.strategies.finite import Finite
from autotl.strategies.fitted import FittedModel
from autotl.strategies.memory import Accumulation, BatchLoss
from autotl.strategies.mixing import Mixer, MixKind
from autotl.strategies.optimizer import ParameterGroup, one_cycle, optimizer_groups, pull_back
from autotl.strategies.passes import Passes
from autotl.strategies.resumable import TrainingState

_WARMUP_SHARE = 0.1


class TrainingConfig(StrategyConfig):
    """How to train a network: what strategies that do so have in common.

    Attributes:
        backbone: its name.
        lr: peak learning rate; of the head, where there are several.
        epochs: passes over the training samples, at least 1.
        weight_decay: times the learning rate at each step; not applied to vectors.
        label_smoothing: in [0, 1).
        augmentation: one of :data:`autotl.strategies.augment.POLICIES`, or ``maps``, which the
            search doesn't propose: it was worse than none (studies/reuse).
        mirror: whether augmentation includes mirroring left to right.
        balanced: whether a class weighs the same in the loss however rare it is.
        n_views: so many fixed augmented versions of each picture are shown, epoch by epoch in
            turn; 0: every epoch has its own.
        mix: whether pictures are mixed in pairs, see :mod:`autotl.strategies.mixing`.
        optimizer: ``adamw``, or ``sgd`` with momentum.
    """

    lr: float
    epochs: int
    weight_decay: float
    label_smoothing: float
    augmentation: str
    mirror: bool
    balanced: bool
    n_views: int = Field(default=0, ge=0)
    mix: MixKind = "none"
    optimizer: Literal["adamw", "sgd"] = "adamw"


def batch_size_for(n_samples: int) -> int:
    """Some twenty steps in an epoch, and a batch of 16 to 64.

    Args:
        n_samples: training samples.
    """
    wanted = min(64, max(16, 2 ** round(math.log2(max(n_samples, 1) / 20.0))))
    return int(max(2, min(wanted, n_samples)))


def train_network(
    network: nn.Module,
    backbone: Backbone,
    groups: Sequence[ParameterGroup],
    config: TrainingConfig,
    task: Task,
    train: NDArray[np.int64],
    validation: NDArray[np.int64] | None,
    reporter: Reporter,
) -> FittedModel:
    """Train under a warm-up and a cosine schedule, until its end or until it settles.

    Where memory doesn't hold a batch, its gradient is computed in parts, as
    :mod:`~autotl.strategies.memory` says, where the caveat for BatchNorm stands.

    Args:
        network: logits ``(n, n_classes)`` from normalised pictures ``(n, 3, h, w)``.
        backbone: for the preprocessing.
        groups: what is trained.
        config: how.
        task: where the pixels, labels and the device are.
        train: samples to learn from.
        validation: samples to score after each epoch, or None.
        reporter: told of each epoch; may end the training.

    Raises:
        DivergedError: if the loss or the predictions become infinite or NaN; it names the step and
            the largest gradient of the step before.
        TrialStopped: from the reporter.
    """
    device, speed = task.device, task.speeds[backbone.name]
    network = network.to(device).to(memory_format=speed.memory_format)
    optimizer = new_optimizer(optimizer_groups(groups, config.weight_decay), config.optimizer)
    optimizer.register_step_post_hook(pull_back)
    batch_size = batch_size_for(len(train))
    n_batches = max(1, len(train) // batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, one_cycle(config.epochs * n_batches, _WARMUP_SHARE)
    )
    loss_of = BatchLoss(
        weight=_class_weights(task, train) if config.balanced else None,
        label_smoothing=config.label_smoothing,
    )
    depth = network.frozen_depth if isinstance(network, StagedNetwork) else 0
    kind = (backbone.name, backbone.image_size, depth)
    batches = Accumulation(task.limits, kind, _most_in_memory(speed, device))
    finite = Finite(optimizer, n_batches, config.epochs)
    settled = _Settled(config.epochs)
    passes = Passes(network, backbone, config, task)
    labels = torch.from_numpy(task.labels).to(device)
    shuffle = np.random.default_rng(task.seed)
    mixer = Mixer(config.mix, task.seed)
    probabilities: NDArray[np.float32] | None = None

    kept = checkpoint_of(reporter)
    state = TrainingState(network, optimizer, schedule, shuffle, mixer, device)
    with _own_randomness(device, task.seed):
        for epoch in range(_take_up(kept, state, settled), config.epochs):
            passes.begin(epoch)
            finite.begin_epoch(epoch)
            order = shuffle.permutation(train)[: n_batches * batch_size]
            total = torch.zeros((), device=device)
            targets = labels[torch.from_numpy(order).to(device)].split(batch_size)
            for batch, target in zip(np.split(order, n_batches), targets, strict=True):
                reporter.check()
                mix = mixer.draw(len(batch))
                finite.begin_step()
                shown = passes.shown(batch, mix)
                total += batches.gradients(
                    shown, target, mix, loss_of, passes.forward, finite.check
                )
                optimizer.step()
                schedule.step()
            task.store.meter.n_trained += len(order)
            train_loss = float(total) / n_batches
            finite.check_epoch(epoch, train_loss)
            if validation is not None:
                probabilities = passes.predict_proba(validation)
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
                if settled.after(epoch, probabilities):
                    break
            if epoch + 1 < config.epochs and kept.is_due():
                kept.save(
                    state.tensors() | settled.tensors(),
                    {**state.values(), "epoch": epoch + 1, "n_same": settled.n_same},
                )
    n_trainable = sum(p.numel() for group in groups for p in group.parameters)
    network.eval()
    return FittedModel(backbone, network, task.n_classes, n_trainable, probabilities)


def _take_up(kept: Checkpoint, state: TrainingState, settled: _Settled) -> int:
    """Put a training where it was kept; how many epochs that saves."""
    saved = kept.load()
    if saved is None:
        return 0
    state.take_up(saved)
    settled.n_same = int(saved.values["n_same"])
    if "settled" in saved.tensors:
        settled.classes = saved.tensors["settled"].numpy()
    return int(saved.values["epoch"])


class _Settled:
    """Early stopping: whether going on can be expected to change nothing.

    That is when no validation sample's predicted class has changed over a fifth of the epochs, and
    the learning rate is past its peak, so that later steps are smaller still.

    Args:
        epochs: of the schedule.
    """

    def __init__(self, epochs: int) -> None:
        self._patience = max(3, math.ceil(epochs / 5))
        self._peak = epochs * _WARMUP_SHARE
        self.classes: NDArray[np.int64] | None = None
        self.n_same = 0

    def after(self, epoch: int, probabilities: NDArray[np.float32]) -> bool:
        """Whether to stop after this epoch, from 0, whose predictions these are."""
        classes = probabilities.argmax(axis=1)
        same = self.classes is not None and np.array_equal(classes, self.classes)
        self.n_same = self.n_same + 1 if same and epoch > self._peak else 0
        self.classes = classes
        return self.n_same >= self._patience

    def tensors(self) -> dict[str, Tensor]:
        """The classes that were predicted last, if there were any."""
        return {} if self.classes is None else {"settled": torch.from_numpy(self.classes)}


def _most_in_memory(speed: Speed, device: torch.device) -> int:
    """Pictures in a batch that fit into half of a GPU's free memory."""
    if device.type != "cuda" or not speed.peak_bytes:
        return 64
    return max(2, free_memory_bytes(device) // 2 // speed.peak_bytes)


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
