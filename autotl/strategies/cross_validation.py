"""A trial's cross-validation: one model per fold, and what is kept of the folds that are done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autotl.metrics import all_metrics
from autotl.runtime import peak_memory_bytes
from autotl.strategies.base import Reporter, Strategy, StrategyConfig, Task, TrialResult
from autotl.strategies.checkpoint import Checkpoint, checkpoint_of
from autotl.strategies.fitted import FittedModel


def cross_validate(
    strategy: Strategy, config: StrategyConfig, task: Task, reporter: Reporter
) -> TrialResult:
    """One model per fold; the score is that of all validation predictions pooled.

    A trial that is pruned or out of time ends by :class:`TrialStopped` from the reporter. Of a
    trial that goes on, see :mod:`~autotl.strategies.checkpoint`, folds that are kept aren't trained
    again; its seconds are those since it goes on.
    """
    started = time.perf_counter()
    kept = checkpoint_of(reporter)
    done: list[float] = []
    predictions: list[NDArray[np.float32]] = []
    first: FittedModel | None = None
    for index, fold in enumerate(task.folds):
        in_it, of_it = kept.at(f"fold{index}"), kept.at(f"done{index}")
        inner = _FoldReporter(reporter, done, len(task.folds), in_it)
        earlier = _done_before(of_it, config, task, needs_model=first is None)
        if earlier is not None:
            own, predicted = earlier
            first = first or own
        else:
            model = strategy.fit(config, task, fold.train, fold.validation, inner)
            found = model.validation_probabilities
            if found is None:
                pixels = task.pixels(model.backbone.image_size)
                found = model.predict_proba(pixels, fold.validation, device=task.device)
            predicted = found
            if of_it.is_due() or in_it.load() is not None:
                _keep_done(of_it, model, predicted, with_model=first is None)
            in_it.remove()
            first = first or model
        predictions.append(predicted)
        done.append(task.metric.score(task.labels[fold.validation], predicted))
    assert first is not None  # a split has at least one fold, whose model is always kept
    samples = np.concatenate([fold.validation for fold in task.folds])
    probabilities = np.concatenate(predictions)
    return TrialResult(
        score=task.metric.score(task.labels[samples], probabilities),
        metrics=all_metrics(task.labels[samples], probabilities),
        samples=samples,
        probabilities=probabilities,
        seconds=time.perf_counter() - started,
        peak_bytes=peak_memory_bytes(task.device),
        n_trainable=first.n_trainable,
        model=first,
    )


class _FoldReporter:
    """Maps one fold's progress into the whole trial's."""

    def __init__(
        self, reporter: Reporter, done: list[float], n_folds: int, checkpoint: Checkpoint
    ) -> None:
        self.checkpoint = checkpoint
        self._reporter = reporter
        self._done = done
        self._n_folds = n_folds

    def check(self) -> None:
        self._reporter.check()

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        whole = (len(self._done) + progress) / self._n_folds
        self._reporter.report(whole, float(np.mean([*self._done, score])), metrics)


def _keep_done(
    place: Checkpoint, model: FittedModel, predicted: NDArray[np.float32], *, with_model: bool
) -> None:
    tensors = {"probabilities": torch.from_numpy(predicted)}
    values: dict[str, Any] = {"model": None}
    if with_model:
        tensors |= {f"model/{name}": value for name, value in model.tensors().items()}
        values = {"model": model.as_json()}
    place.save(tensors, values)


def _done_before(
    place: Checkpoint, config: StrategyConfig, task: Task, *, needs_model: bool
) -> tuple[FittedModel | None, NDArray[np.float32]] | None:
    """Model and validation predictions of a fold that was kept; None if it wasn't."""
    saved = place.load()
    if saved is None or (needs_model and saved.values["model"] is None):
        return None
    model = None
    if needs_model:
        tensors = {
            name.removeprefix("model/"): value
            for name, value in saved.tensors.items()
            if name.startswith("model/")
        }
        built = FittedModel.build(saved.values["model"], tensors)
        model = replace(built, backbone=task.backbones[config.backbone])
    return model, saved.tensors["probabilities"].numpy()
