"""Trials of several folds, with an empty store and with none, in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotl.backbones.zoo import Backbone
from autotl.data import Fold
from autotl.strategies.base import Task
from studies.reuse import folds
from studies.reuse.folds import cross_validated, measure

MakeTask = Callable[..., Task]


@pytest.fixture
def task(make_task: MakeTask) -> Task:
    return make_task(folds=(Fold(np.arange(10, 60), np.arange(60, 80)),))


def test_every_sample_is_validated_once(task: Task) -> None:
    found = cross_validated(task, 4).folds
    assert [len(fold.validation) for fold in found] == [18, 18, 17, 17]
    validated = np.concatenate([fold.validation for fold in found])
    np.testing.assert_array_equal(np.sort(validated), np.arange(10, 80))
    for fold in found:
        both = np.concatenate([fold.train, fold.validation])
        np.testing.assert_array_equal(np.sort(both), np.arange(10, 80))


def test_a_row_compares_trials_in_turn(
    monkeypatch: pytest.MonkeyPatch, clock: Any, task: Task, backbone: Backbone
) -> None:
    ran: list[tuple[int, bool]] = []

    def run(_: Any, config: Any, own: Task, reporter: Any) -> None:
        assert (len(own.folds), config.epochs, config.augmentation) == (3, 5, "light")
        assert config.n_views == 0
        ran.append((config.freeze_depth, own.seed == 1))
        clock.take(2.0 if own.seed == 1 else 3.0)

    monkeypatch.setattr(folds, "time", clock)
    monkeypatch.setattr(folds.Finetune, "run", run)
    monkeypatch.setattr(folds, "keeping", lambda task: replace(task, seed=1))
    monkeypatch.setattr(folds, "keeping_nothing", lambda task: replace(task, seed=2))
    rows = measure(task, backbone.name, 3, 5, 2)
    assert [row["depth"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0] == {"depth": 1.0, "on_s": 2.0, "off_s": 3.0, "ratio": 1.5}
    assert ran[:5] == [(1, True), (1, False), (1, False), (1, True), (2, True)]
