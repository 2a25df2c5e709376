"""What freezing buys at each depth: seconds of an epoch with the store and without it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from autotl.backbones.cuts import cut
from autotl.backbones.stages import StagedNetwork
from autotl.strategies.base import Task
from autotl.strategies.finetune import Finetune, FinetuneConfig
from studies.reuse.problem import keeping, keeping_nothing


def config_at(backbone: str, depth: int, epochs: int, **changes: Any) -> FinetuneConfig:
    """Fine-tuning above a depth, without augmentation unless that is changed."""
    values: dict[str, Any] = {
        "backbone": backbone,
        "lr": 1e-3,
        "epochs": epochs,
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "augmentation": "none",
        "mirror": False,
        "balanced": False,
        "freeze_depth": depth,
        "lr_ratio": 1.0,
        "head": "random",
    }
    return FinetuneConfig(**values | changes)


class EpochClock:
    """A reporter that notes when each epoch ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def check(self) -> None:
        """Nothing."""

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def epochs(self) -> list[float]:
        """Seconds of every epoch but the first, which also fills the store."""
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


def epoch_seconds(config: FinetuneConfig, task: Task) -> list[float]:
    """Seconds of the epochs after the first, training and validation."""
    clock = EpochClock()
    Finetune().run(config, task, clock)
    return clock.epochs()


def measure(task: Task, backbone: str, repeats: int, epochs: int) -> list[dict[str, float]]:
    """A row per depth: epoch seconds on and off, their ratio, and what may be expected of it.

    ``allowed`` is the ratio of the floating-point operations. Stages run at different rates: with
    the measured seconds of each stage in the place of its operations it is ``allowed_by_time``.

    Args:
        task: the problem.
        backbone: its name.
        repeats: rounds, on and off in turn.
        epochs: of each run; the first doesn't count.
    """
    kept, nothing = keeping(task), keeping_nothing(task)
    rows = []
    for depth in range(task.backbones[backbone].num_stages + 1):
        config = config_at(backbone, depth, epochs)
        on: list[float] = []
        off: list[float] = []
        for _ in range(repeats):
            on += epoch_seconds(config, kept)
            off += epoch_seconds(config, nothing)
        allowed = allowed_ratio(task, backbone, depth)
        by_time = ratio_by_time(task, backbone, depth)
        ratio = statistics.median(off) / statistics.median(on)
        row = {
            "depth": float(depth),
            "on_s": statistics.median(on),
            "off_s": statistics.median(off),
            "ratio": ratio,
            "allowed": allowed,
            "share": ratio / allowed,
            "allowed_by_time": by_time,
            "share_by_time": ratio / by_time,
        }
        rows.append(row)
        print(
            f"  depth {depth}: on {row['on_s']:.3f} s, off {row['off_s']:.3f} s, ratio "
            f"{ratio:.2f}, allowed {allowed:.2f}, share {100 * row['share']:.0f} %, by time "
            f"{by_time:.2f}, share {100 * row['share_by_time']:.0f} %",
            flush=True,
        )
    return rows


def allowed_ratio(task: Task, backbone: str, depth: int) -> float:
    """Operations of an epoch without the store by those with it: training and validation."""
    if depth == 0:
        return 1.0
    opened = task.backbones[backbone]
    network = opened.create(task.n_classes, pretrained=True).freeze(depth)
    upper = cut(network, depth, opened.image_size)
    if upper is None:
        return 1.0
    x = torch.zeros((2, 3, opened.image_size, opened.image_size))
    with torch.no_grad():
        given = network.eval().activation(x, depth)
    fold = task.folds[0]
    n_train, n_validated = len(fold.train), len(fold.validation)
    whole = n_train * _step_flops(network, x) + n_validated * _forward_flops(network, x)
    part = n_train * _step_flops(upper, given) + n_validated * _forward_flops(upper, given)
    return whole / part


def ratio_by_time(task: Task, backbone: str, depth: int) -> float:
    """Seconds of an epoch without the store by those with it, from the speed of the stages."""
    speed, fold = task.speeds[backbone], task.folds[0]
    below_s, above_s = speed.forward_to[depth], speed.train_from[depth]
    n_train, n_validated = len(fold.train), len(fold.validation)
    part = n_train * above_s + n_validated * (speed.forward_s - below_s)
    return (part + (n_train + n_validated) * below_s) / part


def _step_flops(network: StagedNetwork, x: torch.Tensor) -> float:
    network.train()
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    return float(counter.get_total_flops())


def _forward_flops(network: StagedNetwork, x: torch.Tensor) -> float:
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    return float(counter.get_total_flops())
