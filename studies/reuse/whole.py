"""The same list of trials as a search draws it, autotl's way and the usual way, lever by lever."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import ImageFolder

from autotl.strategies import STRATEGIES
from autotl.strategies.base import DivergedError, SilentReporter, StrategyConfig, Task
from autotl.strategies.finetune import FinetuneConfig
from studies.reuse.alike import alike
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
    """A row per way: seconds, mean accuracy, and the ratio to the first; each kind of trial, too.

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
    drawn = sampled_configs(prepared.profile, n_trials, 0, max_epochs=max_epochs)
    configs = [(strategy, alike(config)) for strategy, config in drawn]
    kinds = [kind_of(config) for _, config in configs]
    train, validation = (
        prepared.development[samples].tolist()
        for samples in (task.folds[0].train, task.folds[0].validation)
    )
    listed = np.asarray(ImageFolder(folder).targets)
    if not np.array_equal(listed[prepared.development], task.labels):
        raise ValueError(f"{folder} isn't sorted as ImageFolder sorts it")
    rows: list[dict[str, Any]] = []

    def note(way: str, total_s: float, seconds: Sequence[float], scores: list[float]) -> None:
        row: dict[str, Any] = {"way": way, "seconds": total_s, "ratio": 1.0, "kinds": {}}
        row |= {"mean_accuracy": float(np.mean(scores)), "best_accuracy": max(scores)}
        row["trials"] = [list(trial) for trial in zip(kinds, seconds, scores, strict=True)]
        if rows:
            row["ratio"] = rows[0]["seconds"] / total_s
        print(
            f"  {way:<24} {total_s:7.1f} s, ratio {row['ratio']:.2f}, mean accuracy "
            f"{row['mean_accuracy']:.3f}",
            flush=True,
        )
        for kind in dict.fromkeys(kinds):
            own = [(s, score) for k, s, score in row["trials"] if k == kind]
            kind_s, mean = sum(s for s, _ in own), float(np.mean([score for _, score in own]))
            row["kinds"][kind] = {"trials": len(own), "seconds": kind_s, "mean_accuracy": mean}
            print(f"    {len(own):>2} x {kind:<28} {kind_s:7.1f} s, {mean:.3f}", flush=True)
        rows.append(row)

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
        scores = [o.score if o else 0.0 for o in outcome.outcomes]
        note(name, outcome.seconds, outcome.trial_seconds, scores)
    for name, own in (("autotl, no store", keeping_nothing(task)), ("autotl", keeping(task))):
        trials = [_timed_score(strategy, config, own) for strategy, config in configs]
        seconds, scores = [s for s, _ in trials], [score for _, score in trials]
        note(name, prepare_s + sum(seconds), seconds, scores)
    return rows


def kind_of(config: StrategyConfig) -> str:
    """What of a trial can be kept: the kind that it is counted with."""
    if not isinstance(config, FinetuneConfig):
        return type(config).__name__.removesuffix("Config").lower()
    if not config.freeze_depth:
        return "finetune, nothing frozen"
    same = config.augmentation == "none" or config.n_views
    return f"finetune, {'the same' if same else 'new'} views"


def _timed_score(strategy: str, config: Any, task: Task) -> tuple[float, float]:
    started = time.perf_counter()
    score = _score(strategy, config, task)
    return time.perf_counter() - started, score


def _score(strategy: str, config: Any, task: Task) -> float:
    try:
        return STRATEGIES[strategy].run(config, task, SilentReporter()).metrics["accuracy"]
    except DivergedError:
        return 0.0
