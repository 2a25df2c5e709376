from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from search_helpers import NAMES, drawn_arms, plan_of

from autotl.search.knowledge import DRAWN, Arm
from autotl.search.plan import ARM, COST, SECONDS, STATE, STRATEGY, arm_of, correction, n_counted

RECIPES = [Arm(name, recipe, "embedded") for name in NAMES for recipe in ("a", "b")]


def trial(arm: Arm, value: float | None, seconds: float = 1.0, **changes: Any) -> FrozenTrial:
    """An ended trial of an arm; None: it failed."""
    values: dict[str, Any] = {
        "state": TrialState.FAIL if value is None else TrialState.COMPLETE,
        "value": value,
        "params": {STRATEGY: arm.strategy},
        "distributions": {STRATEGY: CategoricalDistribution(NAMES)},
        "system_attrs": {ARM: [arm.strategy, arm.recipe, arm.backbone]},
        "user_attrs": {
            STATE: "failed" if value is None else "complete",
            SECONDS: seconds,
            COST: 1.0,
        },
    }
    return create_trial(**values | changes)


def test_without_time_the_first_is_the_cheapest() -> None:
    price = {"bottleneck": 1.0, "finetune": 30.0, "scratch": 20.0}
    plan = plan_of(
        RECIPES,
        price=lambda arm: price[arm.strategy] - 0.1 * (arm.recipe == "b"),
        fits=lambda seconds, best_s: False,
    )
    choice = plan.next([])
    assert choice is not None
    assert choice.arm == Arm("bottleneck", "b", "embedded")
    assert (choice.improvement, choice.is_worth_it) == (math.inf, True)
    assert plan.next([trial(RECIPES[0], 0.5)]) is None  # from then on time counts


def test_a_recipe_is_tried_once_and_then_nothing_is_left() -> None:
    plan, trials = plan_of(RECIPES), []
    while (choice := plan.next(trials)) is not None:
        trials.append(trial(choice.arm, 0.5))
    assert sorted(map(str, (arm_of(t) for t in trials))) == sorted(map(str, RECIPES))


def test_a_recipe_that_is_running_or_failed_is_not_tried_again() -> None:
    plan = plan_of(RECIPES[:2])
    running = trial(RECIPES[0], None, state=TrialState.RUNNING, user_attrs={})
    assert plan.next([running]).arm == RECIPES[1]  # type: ignore[union-attr]
    assert plan.next([trial(RECIPES[0], None)]).arm == RECIPES[1]  # type: ignore[union-attr]
    assert plan.next([running, trial(RECIPES[1], None)]) is None


def test_drawn_settings_may_be_tried_again_until_they_only_fail() -> None:
    plan = plan_of(drawn_arms(("finetune",)))
    arm = plan.arms[0]
    assert plan.next([trial(arm, 0.5)] * 10) is not None
    assert plan.next([trial(arm, None)] * 2) is not None
    assert plan.next([trial(arm, None)] * 3) is None
    assert plan.next([trial(arm, None)] * 3 + [trial(arm, 0.5)]) is not None
    passed_over = trial(arm, None, user_attrs={STATE: "unaffordable"})
    assert plan.next([passed_over] * 9) is not None


def test_what_does_not_fit_into_the_time_is_left_out() -> None:
    price = {"bottleneck": 1.0, "finetune": 30.0, "scratch": 20.0}
    plan = plan_of(
        RECIPES[2:],
        price=lambda arm: price[arm.strategy],
        fits=lambda seconds, best_s: seconds <= 20.0,
    )
    trials = []
    while (choice := plan.next(trials or [trial(RECIPES[0], 0.5)])) is not None:
        trials.append(trial(choice.arm, 0.9))
    assert {arm.strategy for t in trials if (arm := arm_of(t))} == {"scratch"}


def test_prices_are_corrected_by_what_trials_took() -> None:
    plan = plan_of(RECIPES, price=lambda arm: 10.0, fits=lambda seconds, best_s: seconds <= 20.0)
    done = [trial(arm, 0.5, seconds=19.0) for arm in RECIPES if arm.recipe == "a"]
    assert plan.next(done) is None  # 19 s against a cost of 1 s: 31 s are expected
    assert plan.next([trial(arm, 0.5, 4.0) for arm in RECIPES if arm.recipe == "a"]) is not None


def test_a_strategy_gets_its_turn_when_much_was_spent_on_others() -> None:
    price = {"bottleneck": 1.0, "finetune": 10.0, "scratch": 100.0}
    plan = plan_of([*RECIPES, *drawn_arms()], price=lambda arm: price[arm.strategy])

    def tried(arm: Arm, value: float, seconds: float) -> FrozenTrial:
        return trial(arm, value, user_attrs={STATE: "complete", SECONDS: seconds, COST: seconds})

    spent = [tried(RECIPES[0], 0.5, 1.0), tried(RECIPES[2], 0.9, 700.0)]
    assert plan.next(spent).arm.strategy != "scratch"  # type: ignore[union-attr]
    enough = [*spent, tried(RECIPES[3], 0.9, 100.0)]
    assert plan.next(enough).arm.strategy == "scratch"  # type: ignore[union-attr]
    assert plan.next(enough).arm.recipe != DRAWN  # type: ignore[union-attr]


def test_a_strategy_gets_its_turn_when_nothing_else_is_worth_its_time() -> None:
    arms = [RECIPES[1], RECIPES[4]]
    plan = plan_of(arms, price=lambda arm: 1e6 if arm.strategy == "scratch" else 1.0)
    far = [trial(RECIPES[0], 0.3), trial(RECIPES[2], 0.99)]
    choice = plan.next(far)
    assert choice is not None
    assert (choice.arm, choice.is_worth_it) == (RECIPES[4], True)


def test_with_few_trials_left_every_strategy_gets_one() -> None:
    price = {"bottleneck": 1.0, "finetune": 1e6, "scratch": 1e6}
    plan = plan_of(RECIPES, price=lambda arm: price[arm.strategy], n_trials=4)
    trials = []
    for _ in range(4):
        choice = plan.next(trials)
        assert choice is not None
        trials.append(trial(choice.arm, 0.5))
    names = [t.params[STRATEGY] for t in trials]
    assert names[:2] == ["bottleneck"] * 2
    assert set(names[2:]) == {"finetune", "scratch"}


def test_trials_that_were_passed_over_do_not_count() -> None:
    states = ("complete", "repeated", "failed", "unaffordable", "pruned")
    made = [trial(RECIPES[0], 0.5, user_attrs={STATE: state}) for state in states]
    assert n_counted(made) == 3


def test_it_is_over_when_nothing_can_be_expected_and_every_strategy_was_tried() -> None:
    """Far behind is not worth a trial; what was never tried is."""
    far = [trial(RECIPES[0], 0.3), trial(RECIPES[2], 0.99)]
    some = plan_of([RECIPES[0], RECIPES[1], RECIPES[2]]).next(far)
    assert some is not None
    assert (some.arm, some.is_worth_it) == (RECIPES[1], False)
    assert 0.0 <= some.improvement < 1e-3
    untried = plan_of([RECIPES[1], RECIPES[4]]).next(far)
    assert untried is not None
    assert untried.is_worth_it
    near = [trial(RECIPES[0], 0.6), trial(RECIPES[2], 0.6)]
    like = plan_of([RECIPES[1]]).next(near)
    assert like is not None
    assert like.is_worth_it


def test_an_enqueued_trial_counts_for_its_strategy() -> None:
    study = optuna.create_study()
    study.enqueue_trial({STRATEGY: "scratch"})
    assert arm_of(study.get_trials()[0]) == Arm("scratch", DRAWN, "")
    assert arm_of(create_trial(value=1.0)) is None


def test_predictions_are_corrected_by_the_median_of_what_trials_took() -> None:
    assert correction([], "finetune") == 1.0
    took = [trial(RECIPES[2], 0.5, seconds=s) for s in (1.0, 3.0, 8.0)]  # 1 s was predicted
    assert correction(took, "finetune") == pytest.approx(2.0 ** (3 / 4))
    assert correction(took[:2], "finetune") == pytest.approx(2.0 ** (1 / 2 * 2 / 3))
    assert correction(took, "scratch") == 1.0


def test_one_slow_trial_of_a_moment_does_not_make_all_others_seem_slow() -> None:
    attributes = {SECONDS: 3.05, COST: 0.46}
    slow = trial(RECIPES[0], 0.5, user_attrs=attributes)
    assert 1.5 < correction([slow], "bottleneck") < 2.0
    assert correction([slow] * 50, "bottleneck") == pytest.approx(4.05 / 1.46, rel=0.05)


@pytest.mark.parametrize(("seconds", "expected"), [(1e-3, 0.125), (1e6, 8.0)])
def test_correction_has_bounds(seconds: float, expected: float) -> None:
    attributes = {SECONDS: seconds, COST: 1e3}
    taken = [trial(RECIPES[2], 0.5, user_attrs=attributes)] * 9
    assert correction(taken, "finetune") == pytest.approx(expected)


def test_only_complete_trials_with_a_prediction_correct() -> None:
    failed = trial(RECIPES[2], None, seconds=7.0)
    unasked = trial(RECIPES[2], 0.5, user_attrs={SECONDS: 5.0, COST: 0.0})
    assert correction([failed, unasked], "finetune") == 1.0
