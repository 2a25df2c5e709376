from __future__ import annotations

import math

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
    before_closing,
    finalists_s,
)


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


def test_where_opening_the_records_took_long_closing_them_gets_more_time() -> None:
    assert before_closing(Deadline(1_000.0), CLOSING_S / 2, 0.0).at == 1_000.0
    assert before_closing(Deadline(1_000.0), CLOSING_S + 9.0, 0.0).at == 991.0
    assert before_closing(Deadline(None), 99.0, 0.0).at is None


def test_so_does_scoring_a_large_test_set() -> None:
    assert before_closing(Deadline(1_000.0), 1.0, 300.0).at == 700.0


def test_the_final_fit_costs_a_trial_s_time_by_samples() -> None:
    budget = SearchBudget(Deadline(1_000.0), n_folds_samples=160, n_samples=100)
    assert budget.refit_s(32.0) == pytest.approx(20.0)


def test_a_trial_ends_early_enough_for_its_own_final_fit() -> None:
    budget = SearchBudget(Deadline(1_000.0), n_folds_samples=100, n_samples=100)
    found = budget.deadline_for(40.0)
    assert found.at == pytest.approx(1_000.0 - CLOSING_S - 40.0)


def test_or_for_that_of_the_best_trial_so_far_if_that_takes_longer() -> None:
    budget = SearchBudget(Deadline(1_000.0), n_folds_samples=100, n_samples=100)
    found = budget.deadline_for(40.0, best_s=70.0)
    assert found.at == pytest.approx(1_000.0 - CLOSING_S - 70.0)


def test_without_a_limit_there_is_no_deadline() -> None:
    budget = SearchBudget(Deadline(None), 100, 100)
    assert budget.deadline_for(40.0, 70.0).at is None
    assert budget.fits(1e9)


def test_a_trial_fits_if_it_and_the_final_fit_end_in_time() -> None:
    budget = SearchBudget(Deadline.after(100.0), n_folds_samples=100, n_samples=100)
    assert budget.fits(40.0)
    assert not budget.fits(46.0)  # 6 s are for the closing, and a tenth is to spare
    assert not budget.fits(40.0, best_s=60.0)
    assert not SearchBudget(Deadline.after(-1.0), 100, 100).fits(0.0)


def test_the_finalists_time_is_kept_where_one_of_them_fits_into_it() -> None:
    budget = SearchBudget(Deadline(1_000.0), 100, 100, finalists_s=30.0)
    assert budget.deadline_for(20.0).at == pytest.approx(1_000.0 - CLOSING_S - 20.0 - 30.0)
    assert budget.deadline_for(20.0, 40.0).at == pytest.approx(1_000.0 - CLOSING_S - 40.0)
    assert budget.deadline_for(40.0).at == pytest.approx(1_000.0 - CLOSING_S - 40.0)


def test_a_share_of_the_search_is_kept_back_for_the_finalists() -> None:
    both = ("bottleneck", "finetune")
    kept = finalists_s(Deadline.after(100.0 + CLOSING_S), both)
    assert kept == pytest.approx(100.0 * FINALISTS_SHARE, abs=0.5)
    assert finalists_s(Deadline.after(None), both) == 0.0
    assert finalists_s(Deadline.after(1.0), both) == 0.0
    assert finalists_s(Deadline.after(100.0), ("bottleneck",)) == 0.0
