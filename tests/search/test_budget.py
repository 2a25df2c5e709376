from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotl.runtime import Deadline
from autotl.search.budget import (
    CLOSING_S,
    FINALISTS_SHARE,
    MAX_EPOCHS,
    TRIAL_SHARE,
    UNLIMITED_EPOCHS,
    SearchBudget,
    affordable_epochs,
    correction,
    finalists_s,
)
from autotl.strategies.base import TrialRecord, TrialResult


def record(score: float | None, seconds: float) -> TrialRecord:
    result = None
    if score is not None:
        nothing = np.empty(0, dtype=np.int64)
        result = TrialResult(score, {}, nothing, np.empty((0, 2), np.float32), seconds, 0, 0)
    return TrialRecord(0, "finetune", {}, "complete", seconds, result=result)


def test_a_trial_may_plan_its_share_of_the_search() -> None:
    epochs = affordable_epochs(400.0, 2.0)
    assert epochs * 2.0 <= 400.0 * TRIAL_SHARE < (epochs + 1) * 2.0


@pytest.mark.parametrize(
    ("search_s", "epoch_s", "expected"),
    [
        (math.inf, 5.0, UNLIMITED_EPOCHS),
        (1.0, 100.0, 1),
        (-5.0, 1.0, 1),
        (1e6, 0.001, MAX_EPOCHS),
    ],
)
def test_epochs_at_the_edges(search_s: float, epoch_s: float, expected: int) -> None:
    assert affordable_epochs(search_s, epoch_s) == expected


def test_the_final_fit_costs_a_trial_s_time_by_samples() -> None:
    budget = SearchBudget(Deadline(1_000.0), n_folds_samples=160, n_samples=100)
    assert budget.refit_s(32.0) == pytest.approx(20.0)


def test_a_trial_ends_early_enough_for_its_own_final_fit() -> None:
    budget = SearchBudget(Deadline(1_000.0), n_folds_samples=100, n_samples=100)
    found = budget.deadline_for(40.0, [])
    assert found.at == pytest.approx(1_000.0 - CLOSING_S - 40.0)


def test_or_for_that_of_the_best_trial_so_far_if_that_takes_longer() -> None:
    budget = SearchBudget(Deadline(1_000.0), n_folds_samples=100, n_samples=100)
    records = [record(0.9, 70.0), record(0.8, 300.0), record(None, 500.0)]
    found = budget.deadline_for(40.0, records)
    assert found.at == pytest.approx(1_000.0 - CLOSING_S - 70.0)


def timed(seconds: float, cost_s: float, **changes: Any) -> TrialRecord:
    """A complete trial of fine-tuning that took so long and was predicted to take so long."""
    return replace(record(0.5, seconds), cost_s=cost_s, **changes)


def test_predictions_are_corrected_by_the_median_of_what_trials_took() -> None:
    assert correction([], "finetune") == 1.0
    assert correction([timed(6.0, 2.0)], "finetune") == pytest.approx(3.0)
    records = [timed(2.0, 2.0), timed(6.0, 2.0), timed(160.0, 20.0)]
    assert correction(records, "finetune") == pytest.approx(3.0)
    assert correction(records[:2], "finetune") == pytest.approx(2.0)


@pytest.mark.parametrize(("seconds", "expected"), [(1e-3, 0.125), (1e3, 8.0), (7.9, 7.9)])
def test_correction_has_bounds(seconds: float, expected: float) -> None:
    assert correction([timed(seconds, 1.0)], "finetune") == pytest.approx(expected)


@pytest.mark.parametrize("state", ["pruned", "deadline", "failed", "interrupted"])
def test_only_complete_trials_of_the_strategy_correct(state: str) -> None:
    records = [
        timed(3.0, 1.0),
        *(timed(7.0, 1.0, state=state), timed(6.0, 1.0, strategy="scratch")),
        timed(5.0, 0.0),  # its cost wasn't asked
    ]
    assert correction(records, "finetune") == pytest.approx(3.0)
    assert correction(records, "scratch") == pytest.approx(6.0)
    assert correction(records, "bottleneck") == 1.0


def test_without_a_limit_there_is_no_deadline() -> None:
    budget = SearchBudget(Deadline(None), 100, 100)
    assert budget.deadline_for(40.0, [record(0.9, 70.0)]).at is None


def test_a_share_of_the_search_is_kept_back_for_the_finalists() -> None:
    both = ("bottleneck", "finetune")
    kept = finalists_s(Deadline.after(100.0 + CLOSING_S), both)
    assert kept == pytest.approx(100.0 * FINALISTS_SHARE, abs=0.5)
    assert finalists_s(Deadline.after(None), both) == 0.0
    assert finalists_s(Deadline.after(1.0), both) == 0.0
    assert finalists_s(Deadline.after(100.0), ("bottleneck",)) == 0.0
