"""Cross-validation under augmentation: what several folds show is computed once."""

from __future__ import annotations

import dataclasses
import time
from functools import partial

import numpy as np

from autotl.data import Fold
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.finetune import Finetune, FinetuneConfig
from studies.reuse.depths import config_at
from studies.reuse.problem import keeping, keeping_nothing
from studies.reuse.timing import interleaved


def measure(
    task: Task, backbone: str, n_folds: int, epochs: int, repeats: int
) -> list[dict[str, float]]:
    """A row per depth but 0: seconds of a trial with a store that is empty at first, and without.

    Every epoch shows new augmented versions, the same ones in each fold.

    Args:
        task: the problem; its first fold's samples are split anew.
        backbone: its name.
        n_folds: at least 2.
        epochs: of each fold.
        repeats: rounds, in turn.
    """
    task = cross_validated(task, n_folds)
    rows = []
    for depth in range(1, task.backbones[backbone].num_stages + 1):
        config = config_at(backbone, depth, epochs, augmentation="light")
        found = interleaved(
            {
                "on_s": partial(_trial_s, config, task, keeps=True),
                "off_s": partial(_trial_s, config, task, keeps=False),
            },
            repeats,
            n_warmup=0,
        )
        rows.append({"depth": float(depth)} | found | {"ratio": found["off_s"] / found["on_s"]})
        print(
            f"  depth {depth}: on {found['on_s']:.2f} s, off {found['off_s']:.2f} s, ratio "
            f"{rows[-1]['ratio']:.2f}",
            flush=True,
        )
    return rows


def cross_validated(task: Task, n_folds: int) -> Task:
    """The task with the samples of its first fold in so many folds."""
    fold = task.folds[0]
    samples = np.random.default_rng(0).permutation(np.concatenate([fold.train, fold.validation]))
    parts = np.array_split(samples, n_folds)
    folds = tuple(Fold(np.sort(np.setdiff1d(samples, own)), np.sort(own)) for own in parts)
    return dataclasses.replace(task, folds=folds)


def _trial_s(config: FinetuneConfig, task: Task, *, keeps: bool) -> float:
    own = keeping(task) if keeps else keeping_nothing(task)
    started = time.perf_counter()
    Finetune().run(config, own, SilentReporter())
    return time.perf_counter() - started
