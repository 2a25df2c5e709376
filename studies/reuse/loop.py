"""Nothing frozen: autotl's training loop against a bare one, and against the usual one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch

from autotl.strategies.base import Task, TrialStopped
from autotl.strategies.finetune import Finetune
from autotl.strategies.training import batch_size_for
from studies.reuse.bare import bare_steps
from studies.reuse.depths import config_at
from studies.reuse.loading import Prepared, Source
from studies.reuse.timing import interleaved
from studies.reuse.usual import open_training, train_epoch

_MANY = 10_000


class _StepClock:
    """A reporter that notes when each step begins, and ends the trial after some."""

    def __init__(self, n_steps: int) -> None:
        self.times: list[float] = []
        self._n_steps = n_steps

    def check(self) -> None:
        """Note the time; end the trial after the last step."""
        self.times.append(time.perf_counter())
        if len(self.times) > self._n_steps:
            raise TrialStopped("deadline")

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        """Nothing."""


def images_per_s(
    task: Task, backbone: str, folder: Path, n_steps: int, repeats: int
) -> dict[str, float]:
    """Pictures per second of fine-tuning everything without augmentation or validation.

    Args:
        task: the problem.
        backbone: its name.
        folder: its JPEG files.
        n_steps: of autotl's and the bare loop in each round; an epoch of the usual one.
        repeats: rounds, in turn.
    """
    opened, speed = task.backbones[backbone], task.speeds[backbone]
    train = task.folds[0].train
    batch_size = batch_size_for(len(train))
    config = config_at(backbone, 0, epochs=_MANY)
    pixels = torch.from_numpy(task.pixels(opened.image_size)[train]).permute(0, 3, 1, 2)
    bare = bare_steps(
        opened.create(task.n_classes, pretrained=True),
        pixels.contiguous(),
        torch.from_numpy(task.labels[train]),
        batch_size,
        speed.precision,
        speed.channels_last,
        mean=opened.mean,
        std=opened.std,
    )
    source = Source(folder, opened, task.device, prepared=Prepared())
    usual = open_training(config, source, list(range(len(train))), 0)

    def autotl_loop() -> float:
        clock = _StepClock(n_steps)
        with suppress(TrialStopped):
            Finetune().fit(config, task, train, None, clock)
        steps = [b - a for a, b in zip(clock.times[2:], clock.times[3:], strict=False)]
        return batch_size / statistics.median(steps)

    def bare_loop() -> float:
        return batch_size / statistics.median(_first(bare, n_steps))

    found = interleaved(
        {
            "autotl": autotl_loop,
            "bare": bare_loop,
            "usual": lambda: train_epoch(usual).images_per_s,
        },
        repeats,
    )
    return found | {
        "ratio_to_bare": found["autotl"] / found["bare"],
        "ratio_to_usual": found["autotl"] / found["usual"],
    }


def _first(steps: Iterator[float], n: int) -> list[float]:
    return [next(steps) for _ in range(n)]
