"""The other side: what a competent user would write with public libraries alone.

An ImageFolder, a DataLoader with a process per core, torchvision's transforms, one training loop in
fp32, scikit-learn on top of frozen features, an Optuna study around it; every trial does all of its
work itself. It takes autotl's configs and backbones, so that both sides run the same trials, and
draws the same order and the same random weights from a seed, so that they can be compared loss by
loss where no augmentation comes between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from autotl.backbones.speed import Speed, autocast
from autotl.backbones.zoo import Backbone
from autotl.strategies.base import StrategyConfig
from autotl.strategies.bottleneck import BottleneckConfig
from autotl.strategies.finetune import FinetuneConfig
from autotl.strategies.fitted import FeatureClassifier
from autotl.strategies.optimizer import one_cycle
from autotl.strategies.scratch import ScratchConfig
from autotl.strategies.training import TrainingConfig, batch_size_for
from studies.reuse.alike import alike
from studies.reuse.loading import Batches, Levers, Prepared, Source
from studies.reuse.probing import classify_features, solve_head

_WARMUP_SHARE = 0.1


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        score: accuracy on the validation samples, in [0, 1].
        seconds: from start to end, everything included.
        images_per_s: training pictures by the seconds of the training passes, without validation;
            for the bottleneck, pictures by the seconds of the forward pass.
        losses: mean training loss of each epoch; empty for the bottleneck.
        predictions: ``(n_validation,) int64``.
    """

    score: float
    seconds: float
    images_per_s: float
    losses: tuple[float, ...]
    predictions: NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training samples.

    Attributes:
        loss: mean of its steps.
        n_images: pictures trained on.
        seconds: how long it took.
    """

    loss: float
    n_images: int
    seconds: float

    @property
    def images_per_s(self) -> float:
        return self.n_images / self.seconds


@dataclass(frozen=True)
class Training:
    """A network and all that one more epoch of its training needs."""

    network: nn.Module
    batches: Batches
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    loss: nn.CrossEntropyLoss
    speed: Speed


@dataclass(frozen=True)
class StudyOutcome:
    """What a study came to.

    Attributes:
        outcomes: of the trials in their order; None where the loss became infinite or NaN.
        trial_seconds: of each.
        seconds: of the whole study.
    """

    outcomes: tuple[Outcome | None, ...]
    trial_seconds: tuple[float, ...]
    seconds: float


def run(
    config: StrategyConfig,
    folder: Path,
    train: Sequence[int],
    validation: Sequence[int],
    backbone: Backbone,
    seed: int,
    levers: Levers = Levers(),
    *,
    prepared: Prepared | None = None,
    device: torch.device = torch.device("cpu"),
    num_workers: int | None = None,
) -> Outcome:
    """One trial, validated after every epoch by a pass through the whole network.

    Args:
        config: of the bottleneck, of fine-tuning or of scratch training.
        folder: class-per-sub-folder.
        train: samples to learn from, as :class:`torchvision.datasets.ImageFolder` sorts them.
        validation: samples to predict, likewise.
        backbone: that the config names.
        seed: of everything random.
        levers: what is done better than usual.
        prepared: what levers made in earlier trials; None: this trial makes it for itself.
        device: where to train.
        num_workers: processes of a data loader; None: as many as there are cores.

    Raises:
        ValueError: if the config asks for what isn't done here, see :func:`alike`.
        FloatingPointError: if the loss becomes infinite or NaN.
    """
    if config != (known := alike(config)):
        unknown = sorted(name for name, value in config if value != getattr(known, name))
        raise ValueError(f"the usual way doesn't have these settings: {', '.join(unknown)}")
    started = time.perf_counter()
    source = Source(folder, backbone, device, levers, prepared or Prepared(), num_workers)
    labels = np.asarray(source.labels()[0])[list(validation)]
    losses: list[float] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(config, BottleneckConfig):
            predictions, images_per_s = classify_features(config, source, train, validation, seed)
        elif isinstance(config, TrainingConfig):
            training = open_training(config, source, train, seed)
            shown = source.evaluation(validation)
            n_images, seconds = 0, 0.0
            for _ in range(config.epochs):
                epoch = train_epoch(training)
                losses.append(epoch.loss)
                n_images += epoch.n_images
                seconds += epoch.seconds
                predictions = predict(training.network, shown, training.speed)
            images_per_s = n_images / seconds
        else:
            raise _unknown(config)
    return Outcome(
        score=float(np.mean(predictions == labels)),
        seconds=time.perf_counter() - started,
        images_per_s=images_per_s,
        losses=tuple(losses),
        predictions=predictions,
    )


def study(
    configs: Sequence[StrategyConfig],
    folder: Path,
    train: Sequence[int],
    validation: Sequence[int],
    backbones: Mapping[str, Backbone],
    seed: int,
    levers: Levers = Levers(),
    *,
    device: torch.device = torch.device("cpu"),
    num_workers: int | None = None,
) -> StudyOutcome:
    """An Optuna study of exactly these trials, in this order; arguments as for :func:`run`."""
    started = time.perf_counter()
    prepared = Prepared()
    outcomes: list[Outcome | None] = [None] * len(configs)
    ended = [started]

    def objective(trial: optuna.Trial) -> float:
        number = trial.suggest_int("config", 0, len(configs) - 1)
        config = configs[number]
        outcome = run(
            config,
            folder,
            train,
            validation,
            backbones[config.backbone],
            seed,
            levers,
            prepared=prepared,
            device=device,
            num_workers=num_workers,
        )
        outcomes[number] = outcome
        return outcome.score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = optuna.create_study(direction="maximize")
    for number in range(len(configs)):
        found.enqueue_trial({"config": number})
    found.optimize(
        objective,
        n_trials=len(configs),
        catch=(FloatingPointError,),
        callbacks=[lambda *_: ended.append(time.perf_counter())],
    )
    seconds = tuple(after - before for before, after in pairwise(ended))
    return StudyOutcome(tuple(outcomes), seconds, time.perf_counter() - started)


def open_training(
    config: TrainingConfig, source: Source, train: Sequence[int], seed: int
) -> Training:
    """A network before its first epoch.

    Args:
        config: of fine-tuning or scratch training.
        source: the pictures.
        train: samples to learn from.
        seed: of the new weights, the order and the augmentation.
    """
    labels, n_classes = source.labels()
    backbone, device = source.backbone, source.device
    speed = source.prepared.speed(backbone, source.levers, device)
    if isinstance(config, FinetuneConfig):
        network, parameters = _finetuned(config, source, train, n_classes, speed, seed)
    elif isinstance(config, ScratchConfig):
        network, parameters = _from_scratch(config, backbone, n_classes, seed)
    else:
        raise _unknown(config)
    network = network.to(device).to(memory_format=speed.memory_format)

    batch_size = min(batch_size_for(len(train)), len(train))
    batches = source.training(train, batch_size, config.augmentation, config.mirror, seed)
    groups = []
    for members, lr in parameters:
        for decayed in (True, False):
            chosen = [p for p in members if (p.ndim > 1) is decayed]
            decay = config.weight_decay if decayed else 0.0
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    schedule = LambdaLR(optimizer, one_cycle(config.epochs * len(batches), _WARMUP_SHARE))
    weights = None
    if config.balanced:
        counts = np.bincount(np.asarray(labels)[list(train)], minlength=n_classes)
        balanced = len(train) / (n_classes * np.maximum(counts, 1))
        weights = torch.tensor(balanced, dtype=torch.float32, device=device)
    loss = nn.CrossEntropyLoss(weights, label_smoothing=config.label_smoothing)
    return Training(network, batches, optimizer, schedule, loss, speed)


def train_epoch(training: Training) -> Epoch:
    """One pass over the training samples; also usable by itself, for images per second.

    Raises:
        FloatingPointError: if the loss becomes infinite or NaN.
    """
    started = time.perf_counter()
    training.network.train()  # frozen stages stay in eval mode
    device = training.batches.device
    total = torch.zeros((), device=device)
    n_images = 0
    for pictures, labels in training.batches:
        x = pictures.contiguous(memory_format=training.speed.memory_format)
        with autocast(training.speed.precision, device):
            logits = training.network(x)
        loss = training.loss(logits.float(), labels)
        training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        training.optimizer.step()
        training.schedule.step()
        total += loss.detach()
        n_images += len(labels)
    mean = float(total) / len(training.batches)
    if not math.isfinite(mean):
        raise FloatingPointError(f"the loss became {mean}")
    return Epoch(mean, n_images, time.perf_counter() - started)


@torch.inference_mode()
def predict(network: nn.Module, batches: Batches, speed: Speed) -> NDArray[np.int64]:
    """The most probable class ``(n,) int64`` of every sample, in the order of the batches."""
    network.eval()
    found = []
    for pictures, _ in batches:
        x = pictures.contiguous(memory_format=speed.memory_format)
        with autocast(speed.precision, batches.device):
            found.append(network(x).argmax(dim=1).cpu())
    return torch.cat(found).numpy()


def _finetuned(
    config: FinetuneConfig,
    source: Source,
    train: Sequence[int],
    n_classes: int,
    speed: Speed,
    seed: int,
) -> tuple[nn.Module, list[tuple[list[nn.Parameter], float]]]:
    """The pretrained network with a new head, and what is trained at which rate."""
    network = source.backbone.create(n_classes, pretrained=True, seed=seed)
    if config.head == "probe":
        solve_head(network, config, source, train, speed)
    network.freeze(config.freeze_depth)
    return network, [
        (list(network.backbone_parameters()), config.lr * config.lr_ratio),
        (list(network.head_parameters()), config.lr),
    ]


def _from_scratch(
    config: ScratchConfig, backbone: Backbone, n_classes: int, seed: int
) -> tuple[nn.Module, list[tuple[list[nn.Parameter], float]]]:
    """The architecture from random weights, whole or cut shorter."""
    staged = backbone.create(n_classes, pretrained=False, seed=seed)
    network: nn.Module = staged
    depth = max(1, staged.num_stages - config.n_removed)
    if depth < staged.num_stages:
        n_channels = staged.num_channels(depth, backbone.image_size)
        network = FeatureClassifier(staged, (depth,), n_channels, n_classes, seed)
    return network, [(list(network.parameters()), config.lr)]


def _unknown(config: StrategyConfig) -> TypeError:
    return TypeError(f"config must be of a known strategy, but got {config!r}")
