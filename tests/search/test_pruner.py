from __future__ import annotations

from collections.abc import Mapping

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from autotl.search.plan import STRATEGY
from autotl.search.pruner import PROGRESS_STEPS, StrategyPruner

NAMES = ("bottleneck", "finetune", "scratch")
CURVE = {250: 0.4, 500: 0.6, 750: 0.8}


def study_with(
    *others: tuple[str, Mapping[int, float]], state: TrialState = TrialState.COMPLETE
) -> optuna.Study:
    """A study with these ended trials: pairs of (strategy, score by step)."""
    study = optuna.create_study(direction="maximize", pruner=StrategyPruner())
    for strategy, curve in others:
        study.add_trial(
            create_trial(
                state=state,
                params={STRATEGY: strategy},
                distributions={STRATEGY: CategoricalDistribution(NAMES)},
                intermediate_values=dict(curve),
                value=0.8 if state == TrialState.COMPLETE else None,
            )
        )
    return study


def pruned(study: optuna.Study, strategy: str, curve: Mapping[int, float]) -> bool:
    """Whether a running trial of the strategy would be ended after its last report."""
    study.enqueue_trial({STRATEGY: strategy})
    trial = study.ask()
    trial.suggest_categorical(STRATEGY, NAMES)
    for step, score in curve.items():
        trial.report(score, step)
    return trial.should_prune()


def test_a_clearly_worse_trial_is_pruned_and_a_better_one_is_not() -> None:
    study = study_with(*[("finetune", CURVE)] * 3)
    assert pruned(study, "finetune", {250: 0.1, 500: 0.2})
    assert not pruned(study, "finetune", {250: 0.5, 500: 0.7})
    assert not pruned(study, "finetune", CURVE)  # as good as the median


def test_trials_of_other_strategies_are_never_compared_with() -> None:
    study = study_with(*[("finetune", CURVE)] * 5, *[("bottleneck", CURVE)] * 5)
    assert not pruned(study, "scratch", {250: 0.01, 500: 0.02})
    study = study_with(*[("finetune", CURVE)] * 2, *[("bottleneck", CURVE)] * 5)
    assert not pruned(study, "finetune", {500: 0.02})  # two of its own are too few


@pytest.mark.parametrize(("n_others", "expected"), [(2, False), (3, True)])
def test_it_waits_for_three_finished_trials(n_others: int, expected: bool) -> None:
    assert pruned(study_with(*[("finetune", CURVE)] * n_others), "finetune", {500: 0.0}) is expected


@pytest.mark.parametrize(("step", "expected"), [(100, False), (240, False), (250, True)])
def test_the_first_quarter_of_the_work_is_grace(step: int, expected: bool) -> None:
    study = study_with(*[("finetune", {50: 0.3, **CURVE})] * 3)
    assert pruned(study, "finetune", {step: 0.0}) is expected


def test_trials_of_other_lengths_are_compared_at_equal_progress() -> None:
    two_epochs = {500: 0.4, PROGRESS_STEPS: 0.8}
    study = study_with(*[("finetune", two_epochs)] * 3)
    assert pruned(study, "finetune", {750: 0.55})  # they were at 0.6 there
    assert not pruned(study, "finetune", {750: 0.65})


def test_a_trial_is_not_compared_with_what_others_reached_later() -> None:
    study = study_with(*[("finetune", {PROGRESS_STEPS // 2: 0.9})] * 3)
    assert not pruned(study, "finetune", {250: 0.5})
    assert pruned(study, "finetune", {250: 0.5, 500: 0.5})


def test_a_dip_after_a_good_score_is_forgiven() -> None:
    study = study_with(*[("finetune", CURVE)] * 3)
    assert not pruned(study, "finetune", {250: 0.7, 500: 0.1})


def test_the_median_decides_not_the_best() -> None:
    curves = [{500: score} for score in (0.2, 0.3, 0.4, 0.9, 0.95)]
    study = study_with(*[("finetune", curve) for curve in curves])
    assert not pruned(study, "finetune", {500: 0.45})
    assert pruned(study, "finetune", {500: 0.35})


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_only_finished_trials_count(state: TrialState) -> None:
    assert not pruned(study_with(*[("finetune", CURVE)] * 5, state=state), "finetune", {500: 0.0})


def test_without_a_report_nothing_is_pruned() -> None:
    assert not pruned(study_with(*[("finetune", CURVE)] * 3), "finetune", {})
