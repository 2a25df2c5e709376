from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_helpers import result_of

import autotl.search.records as records_module
from autotl.search.records import TrialStore
from autotl.strategies.base import CurvePoint, Task, TrialRecord
from autotl.strategies.fitted import FittedModel


@pytest.fixture
def model(task: Task) -> FittedModel:
    backbone = next(iter(task.backbones.values()))
    return FittedModel(backbone, backbone.create(task.n_classes, pretrained=False), 3, 10)


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return TrialStore(tmp_path / "trials")


def record(task: Task, number: int, score: float | None, **changes: Any) -> TrialRecord:
    model = changes.pop("model", None)
    values: dict[str, Any] = {
        "strategy": "finetune",
        "config": {"backbone": "embedded", "lr": 1e-3},
        "state": "complete" if score is not None else "failed",
        "seconds": 1.5,
        "curve": (CurvePoint(0.5, 0.1, 0.25),),
        "result": None if score is None else result_of(task, score, model),
        "run_id": f"run {number}",
    }
    return TrialRecord(number=number, **values | changes)


def test_what_is_saved_is_loaded(store: TrialStore, task: Task) -> None:
    saved = record(task, 3, 0.8, cost_s=0.75, figures={"saved_seconds": 2.5})
    failed = record(task, 1, None, error="out of memory", curve=())
    store.save(saved)
    store.save(failed)
    first, second = store.load()  # by number
    assert first == failed
    assert second.result is not None
    assert saved.result is not None
    np.testing.assert_array_equal(second.result.probabilities, saved.result.probabilities)
    np.testing.assert_array_equal(second.result.samples, saved.result.samples)
    assert second.result.metrics == saved.result.metrics
    assert second.figures == {"saved_seconds": 2.5}
    assert second.cost_s == 0.75
    assert replace(second, result=None) == replace(saved, result=None)


def test_repeats_of_a_trial_are_kept_apart(store: TrialStore, task: Task) -> None:
    for repeat in (2, 1):
        store.save(record(task, 3, 0.8, repeat=repeat))
    assert [(found.number, found.repeat) for found in store.load()] == [(3, 1), (3, 2)]


def test_a_metric_that_is_not_a_number_survives(store: TrialStore, task: Task) -> None:
    saved = record(task, 0, 0.8)
    assert saved.result is not None
    result = replace(saved.result, metrics={"auroc": float("nan")})
    store.save(replace(saved, result=result))
    (loaded,) = store.load()
    assert loaded.result is not None
    assert np.isnan(loaded.result.metrics["auroc"])


def test_only_the_best_models_of_each_strategy_are_kept(
    store: TrialStore, task: Task, model: FittedModel
) -> None:
    scores = [0.5, 0.3, 0.6, 0.4, 0.2, 0.7]
    for number, score in enumerate(scores):
        store.save(record(task, number, score, model=model))
    store.save(record(task, 6, 0.1, strategy="scratch", model=model))
    assert store.with_models() == {0, 2, 5, 6}
    store.save(record(task, 7, 0.5, model=model))  # no better: the first one stays
    assert store.with_models() == {0, 2, 5, 6}


def test_a_kept_model_predicts_as_before(store: TrialStore, task: Task, model: FittedModel) -> None:
    saved = record(task, 0, 0.5, model=model)
    store.save(saved)
    found = store.load_model(saved)
    assert found is not None
    samples = np.arange(10)
    expected = model.predict_proba(task.pixels(32), samples, device=torch.device("cpu"))
    again = found.predict_proba(task.pixels(32), samples, device=torch.device("cpu"))
    np.testing.assert_array_equal(again, expected)
    assert store.load_model(record(task, 7, 0.5)) is None


@pytest.mark.parametrize("n_replaced", [0, 1, 2])
def test_a_save_that_is_cut_off_leaves_no_half_record_and_no_lost_model(
    n_replaced: int,
    store: TrialStore,
    task: Task,
    model: FittedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = record(task, 0, 0.5, model=model)
    store.save(before)
    real, count = os.replace, 0

    def cut_off(source: Any, target: Any) -> None:
        nonlocal count
        if count == n_replaced:
            raise KeyboardInterrupt
        count += 1
        real(source, target)

    monkeypatch.setattr(records_module.os, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        store.save(record(task, 1, 0.9, model=model))
    monkeypatch.undo()
    assert [found.number for found in store.load()] == [0]
    assert store.load_model(before) is not None


def test_the_json_is_written_last(
    store: TrialStore, task: Task, model: FittedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real: Callable[..., None] = os.replace

    def note(source: Any, target: Any) -> None:
        order.append(Path(target).suffix)
        real(source, target)

    monkeypatch.setattr(records_module.os, "replace", note)
    store.save(record(task, 0, 0.5, model=model))
    assert sorted(order[:-1]) == [".npz", ".safetensors"]
    assert order[-1] == ".json"


def test_without_a_trial_there_is_nothing_to_load(store: TrialStore) -> None:
    assert store.load() == []


def test_the_record_is_plain_json(store: TrialStore, task: Task, tmp_path: Path) -> None:
    store.save(record(task, 12, 0.5))
    values = json.loads((tmp_path / "trials" / "00012.json").read_text())
    assert values["strategy"] == "finetune"
    assert values["result"]["score"] == 0.5


def test_only_some_keep_their_models(store: TrialStore, task: Task, model: FittedModel) -> None:
    for number in range(3):
        store.save(record(task, number, 0.5, model=model))
    store.keep_models([1, 7])
    assert store.with_models() == {1}
    assert len(store.load()) == 3
