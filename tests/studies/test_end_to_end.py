"""What real fits show: on fits whose figures are known."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from autotl.search.knowledge import Arm
from studies.end_to_end import report
from studies.end_to_end.__main__ import deadlines, duels

OURS = "autotl"


def fit(**values: Any) -> dict[str, Any]:
    """An honest fit."""
    return {
        "dataset": "a",
        "n_train": 100,
        "policy": OURS,
        "budget_s": 100.0,
        "seconds": 90.0,
        "test": 0.8,
        "test_low": 0.78,
        "test_high": 0.82,
        "expected": 0.8,
        "low": 0.75,
        "high": 0.85,
        "optimism": 0.01,
        "others": [],
        **values,
    }


def claim(**values: Any) -> dict[str, Any]:
    return {"noise": 0.02, "is_clear": False, "test": 0.8, **values}


def test_regret_is_against_the_best_on_each_task() -> None:
    rows = pd.DataFrame(
        [
            fit(dataset="a", test=0.8),
            fit(dataset="a", policy="rival", test=0.7, seconds=30.0),
            fit(dataset="b", test=0.5),
            fit(dataset="b", policy="rival", test=0.52, seconds=50.0),
        ]
    )
    found = report.duels(rows, OURS)
    assert found["tasks"] == 2
    assert found["policies"][OURS] == {"mean": 1.0, "worst": 2.0, "seconds": 90.0}
    rival = found["policies"]["rival"]
    assert (rival["mean"], rival["worst"], rival["seconds"]) == (5.0, 10.0, 40.0)
    mean, low, high = rival["lead"]
    assert mean == 4.0
    assert (low, high) == (-2.0, 10.0)
    assert found["by_task"]["b-100"] == {OURS: 0.5, "rival": 0.52}


def test_a_task_that_not_all_have_ended_counts_for_none() -> None:
    rows = pd.DataFrame(
        [fit(dataset="a"), fit(dataset="a", policy="rival", test=0.9), fit(dataset="b", test=0.1)]
    )
    assert report.duels(rows, OURS)["tasks"] == 1


@pytest.mark.parametrize(
    ("budget_s", "seconds", "late"),
    [(10.0, 12.9, 0), (10.0, 13.1, 1), (100.0, 104.0, 0), (100.0, 106.0, 1), (100.0, 60.0, 0)],
)
def test_late_is_beyond_a_share_and_some_seconds(
    budget_s: float, seconds: float, late: int
) -> None:
    rows = pd.DataFrame([fit(budget_s=budget_s, seconds=seconds), fit(seconds=1.0)])
    found = report.deadlines(rows)
    assert found["late"] == late
    assert found["worst_overrun_s"] == pytest.approx(seconds - budget_s)


def test_a_test_score_beyond_the_interval_isn_t_covered() -> None:
    rows = pd.DataFrame([fit(), fit(test=0.853, test_low=0.833, test_high=0.873), fit(test=0.7)])
    found = report.honesty(rows)
    assert (found["covered"]["n"], found["covered"]["of"]) == (1, 3)
    assert found["covered_allowing"]["n"] == 2  # 0.053 off, and the half widths together are 0.054


def test_what_was_expected_beyond_what_came_is_bias() -> None:
    rows = pd.DataFrame([fit(expected=0.83), fit(expected=0.81)])
    assert report.honesty(rows)["bias"] == [2.0, 1.0, 3.0]


def test_claims_about_others_are_held_against_their_test_scores() -> None:
    others = [
        claim(test=0.79),
        claim(test=0.77),
        claim(is_clear=True, test=0.7),
        claim(is_clear=True, test=0.81),
        claim(noise=float("nan"), test=0.1),
    ]
    found = report.honesty(pd.DataFrame([fit(others=others)]))
    assert (found["equal"]["n"], found["equal"]["of"]) == (1, 2)
    assert (found["clear"]["n"], found["clear"]["of"]) == (1, 2)
    assert found["equal_noise"] == 2.0


def test_no_claims_at_all() -> None:
    found = report.honesty(pd.DataFrame([fit()]))
    assert found["equal"] == {"n": 0, "of": 0}
    assert found["equal_noise"] is None


def test_with_accuracy_preferred_it_is_what_the_same_trials_would_have_brought() -> None:
    rows = pd.DataFrame(
        [
            fit(accurate=0.82, accurate_choice="finetune/a on b"),
            fit(accurate=0.8, accurate_choice="scratch/a on b"),
        ]
    )
    found = report.preferring_accuracy(rows, "accurate")
    assert found["test"].tolist() == [0.82, 0.8]
    assert found["choice"].tolist() == ["finetune/a on b", "scratch/a on b"]
    assert set(found["policy"]) == {"accurate"}


def test_every_fit_has_a_name_of_its_own() -> None:
    made = [*duels(), *deadlines()]
    assert len({request.key for request in made}) == len(made)
    assert len({request.dataset for request in duels()}) == 8
    assert deadlines() == deadlines()


def test_elsewhere_takes_recipes_by_their_lead_on_other_data_sets() -> None:
    from studies.end_to_end.rivals import elsewhere, full

    rows = [
        {
            "dataset": "b",
            "n_train": 100,
            "backbone": "embedded",
            "strategy": strategy,
            "name": name,
            "test": test,
        }
        for strategy, name, test in (
            ("finetune", "full-1e-3", 0.5),
            ("bottleneck", "all-svm", 0.7),
            ("scratch", "whole", 0.6),
            ("finetune", "sobol-3", 0.9),
        )
    ]
    profile: Any = type("Profile", (), {"backbones": {"embedded": None}})()
    order = elsewhere(profile, pd.DataFrame(rows))
    assert order == [
        Arm("bottleneck", "all-svm", "embedded"),
        Arm("scratch", "whole", "embedded"),
        Arm("finetune", "full-1e-3", "embedded"),
    ]
    assert full(profile, pd.DataFrame(rows))[0] == Arm("finetune", "full-1e-3", "embedded")
