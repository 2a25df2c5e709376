"""One config on one task: scores after every epoch, per-sample correctness, seconds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.metrics import Metric, log_loss
from autotl.strategies import STRATEGIES
from autotl.strategies.base import DivergedError, Task
from studies.outcomes.configs import Entry
from studies.outcomes.tasks import WATCHED_TEST, OutcomeTask


class _Watch:
    """Scores the validation and the test samples of a fold apart, after every epoch.

    A strategy is given the fold's validation samples and some test samples as what it validates
    on, and this in place of the metric.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.n_validation = 0
        self.validation: list[float] = []
        self.test: list[float] = []

    def __call__(self, labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
        n = self.n_validation
        self.validation.append(self._metric.score(labels[:n], probabilities[:n]))
        self.test.append(self._metric.score(labels[n:], probabilities[n:]))
        return self.validation[-1]


class _Clock:
    """A reporter that notes the processor's time after every epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def check(self) -> None:
        """Nothing stops a trial."""

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        self.times.append(time.process_time())


def measure(entry: Entry, opened: OutcomeTask, seed: int) -> dict[str, Any]:
    """Train and score a config.

    Returns:
        By name: ``validation``, ``test`` (final scores), ``curve_validation``, ``curve_test`` (of
        the first test samples), ``curve_seconds``, means over folds; ``seconds`` of processor time
        with the store and ``seconds_without`` (predicted from the store's savings), test samples
        not counted; ``validation_correct`` ``(n_development,)`` 0/1, -1 where not validated;
        ``test_correct`` ``(n_test,)``, how many of the folds' models were right;
        ``validation_log_loss``, ``test_log_loss``; ``n_trainable``; ``state``.
    """
    strategy = STRATEGIES[entry.strategy]
    watch = _Watch(opened.metric)
    # the metric of the table is scored apart for the two parts, so the strategy gets the watch
    watching = Metric(opened.metric.name, watch)
    task = dataclasses.replace(opened.task, metric=watching, seed=seed)
    is_network = entry.strategy != "bottleneck"
    watched = opened.test[:WATCHED_TEST] if is_network else opened.test
    rest = opened.test[len(watched) :]
    each_s = opened.forward_s * (1.0 - _below(entry, task))
    validation_p = np.zeros((len(opened.development), task.n_classes), dtype=np.float32)
    validated = np.zeros(len(opened.development), dtype=bool)
    test_correct = np.zeros(len(opened.test), dtype=np.int64)
    test_scores, test_losses = [], []
    curves: list[dict[str, NDArray[np.float64]]] = []
    seconds = 0.0
    before = dataclasses.replace(task.store.meter)
    n_trainable = 0
    for fold in task.folds:
        watch.n_validation, watch.validation, watch.test = len(fold.validation), [], []
        clock = _Clock()
        shown = np.concatenate([fold.validation, watched])
        started = time.process_time()
        try:
            model = strategy.fit(entry.config, task, fold.train, shown, clock)
        except DivergedError as error:
            return {"state": "diverged", "error": str(error)}
        ended = time.process_time()
        n_trainable = model.n_trainable
        predicted = model.validation_probabilities
        assert predicted is not None
        n = len(fold.validation)
        validation_p[fold.validation], validated[fold.validation] = predicted[:n], True
        test_p = predicted[n:]
        if len(rest):
            precision = task.speeds[entry.config.backbone].precision
            pixels = task.pixels(model.backbone.image_size)
            own = model.predict_proba(pixels, rest, device=task.device, precision=precision)
            test_p = np.concatenate([test_p, own])
        labels = task.labels[opened.test]
        test_correct += test_p.argmax(axis=1) == labels
        test_scores.append(opened.metric.score(labels, test_p))
        test_losses.append(log_loss(labels, test_p))
        n_epochs = len(clock.times)
        per_epoch = len(watched) * each_s if is_network else 0.0
        times = np.array(clock.times) - started - per_epoch * np.arange(1, n_epochs + 1)
        curves.append(
            {
                "validation": np.array(watch.validation[:n_epochs]),
                "test": np.array(watch.test[:n_epochs]),
                "seconds": times,
            }
        )
        seconds += ended - started - per_epoch * n_epochs
    saved_s = task.store.meter.since(before).saved_s
    labels = task.labels[opened.development]
    own_p = validation_p[validated]
    correct = np.where(validated, validation_p.argmax(axis=1) == labels, -1)
    length = max(len(curve["validation"]) for curve in curves)
    return {
        "state": "complete",
        "validation": opened.metric.score(labels[validated], own_p),
        "test": float(np.mean(test_scores)),
        "validation_log_loss": log_loss(labels[validated], own_p),
        "test_log_loss": float(np.mean(test_losses)),
        "curve_validation": _mean(curves, "validation", length),
        "curve_test": _mean(curves, "test", length),
        "curve_seconds": (_mean(curves, "seconds", length) * len(curves)),
        "seconds": seconds,
        "seconds_without": seconds + saved_s,
        "validation_correct": correct.astype(np.int8),
        "test_correct": test_correct.astype(np.int8),
        "n_trainable": n_trainable,
    }


def _below(entry: Entry, task: Task) -> float:
    """Share of a forward pass that frozen stages, held in the store, save."""
    depth = getattr(entry.config, "freeze_depth", 0)
    forward_to = task.speeds[entry.config.backbone].forward_to
    return forward_to[depth] / forward_to[-1]


def _mean(
    curves: list[dict[str, NDArray[np.float64]]], name: str, length: int
) -> NDArray[np.float64]:
    """Mean over folds; a fold that ended early keeps its last value."""
    filled = [
        np.concatenate([c[name], np.full(length - len(c[name]), c[name][-1])]) for c in curves
    ]
    mean: NDArray[np.float64] = np.mean(filled, axis=0)
    return mean
