"""The same list of trials as a search draws it, autotl's way and the usual way, lever by lever."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from autotl.strategies import STRATEGIES
from autotl.strategies.base import DivergedError, SilentReporter, Task
from studies.reuse.loading import Levers
from studies.reuse.problem import keeping, keeping_nothing, open_problem, shortened
from studies.reuse.sampled import sampled_configs
from studies.reuse.usual import study

LEVERS = {
    "usual": Levers(),
    "decoded once": Levers(decode="memory"),
    "augmented in batches": Levers(decode="memory", augmentation="batched"),
    "measured precision": Levers("memory", "batched", "measured"),
}


def compare(
    folder: Path,
    backbone: str,
    cache: Path,
    *,
    n_trials: int,
    n_train: int,
    n_validation: int,
    max_epochs: int,
    levers: tuple[str, ...] = tuple(LEVERS),
) -> list[dict[str, Any]]:
    """A row per way: seconds, mean accuracy, and the ratio to the first.

    Args:
        folder: JPEG files, a class per sub-folder.
        backbone: its name.
        cache: an empty folder.
        n_trials: how many.
        n_train: training samples.
        n_validation: validation samples.
        max_epochs: of each trial.
        levers: of the usual way, which to run; the first is what the others are held against.
    """
    started = time.perf_counter()
    prepared = open_problem(folder, backbone, cache)
    prepare_s = time.perf_counter() - started
    task = shortened(prepared.task, n_train, n_validation)
    configs = sampled_configs(prepared.profile, n_trials, 0, max_epochs=max_epochs)
    samples = np.random.default_rng(0).permutation(len(prepared.task.labels))
    train = samples[:n_train].tolist()
    validation = samples[n_train : n_train + n_validation].tolist()
    rows: list[dict[str, Any]] = []

    def note(way: str, seconds: float, scores: list[float]) -> None:
        row = {"way": way, "seconds": seconds, "mean_accuracy": float(np.mean(scores))}
        row |= {"best_accuracy": max(scores), "ratio": 1.0}
        if rows:
            row["ratio"] = rows[0]["seconds"] / seconds
        rows.append(row)
        print(
            f"  {way:<24} {seconds:7.1f} s, ratio {row['ratio']:.2f}, mean accuracy "
            f"{row['mean_accuracy']:.3f}",
            flush=True,
        )

    for name in levers:
        outcome = study(
            [config for _, config in configs],
            folder,
            train,
            validation,
            task.backbones,
            0,
            LEVERS[name],
        )
        note(name, outcome.seconds, [o.score if o else 0.0 for o in outcome.outcomes])
    for name, own in (("autotl, no store", keeping_nothing(task)), ("autotl", keeping(task))):
        started = time.perf_counter()
        scores = [_score(strategy, config, own) for strategy, config in configs]
        note(name, prepare_s + time.perf_counter() - started, scores)
    return rows


def _score(strategy: str, config: Any, task: Task) -> float:
    try:
        return STRATEGIES[strategy].run(config, task, SilentReporter()).metrics["accuracy"]
    except DivergedError:
        return 0.0
