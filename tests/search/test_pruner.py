from __future__ import annotations

from collections.abc import Mapping

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from autotl.search.plan import STRATEGY
from autotl.search.pruner import PROGRESS_STEPS, StrategyPruner

NAMES = ("bottleneck", "finetune", "scratch")
CURVE = {250: 0.4, 500: 0.6, 750: 0.8, PROGRESS_STEPS: 0.8}
ONE_FOLD, TWO_FOLDS = (1_000,), (500, 500)


def study_with(
    *others: tuple[str, Mapping[int, float]],
    state: TrialState = TrialState.COMPLETE,
    metric: str = "accuracy",
    fold_sizes: tuple[int, ...] = ONE_FOLD,
) -> optuna.Study:
    """A study with these ended trials: pairs of (strategy, score by step)."""
    pruner = StrategyPruner(metric, fold_sizes)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for strategy, curve in others:
        study.add_trial(
            create_trial(
                state=state,
                params={STRATEGY: strategy},
                distributions={STRATEGY: CategoricalDistribution(NAMES)},
                intermediate_values=dict(curve),
                value=curve[max(curve)] if state == TrialState.COMPLETE else None,
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
    study = study_with(("finetune", CURVE))
    assert pruned(study, "finetune", {250: 0.1, 500: 0.2})
    assert not pruned(study, "finetune", {250: 0.5, 500: 0.7})
    assert not pruned(study, "finetune", {250: 0.39, 500: 0.58})  # that may come right


def test_trials_of_other_strategies_are_never_compared_with() -> None:
    study = study_with(("finetune", CURVE), ("bottleneck", CURVE))
    assert not pruned(study, "scratch", {250: 0.01, 500: 0.02})


def test_trials_of_another_backbone_are_never_compared_with() -> None:
    study = study_with(("finetune", CURVE))
    backbones = CategoricalDistribution(("one", "two"))
    (ended,) = study.get_trials()
    ended.params["finetune.backbone"] = "one"
    ended.distributions["finetune.backbone"] = backbones
    other = optuna.create_study(direction="maximize", pruner=study.pruner)
    other.add_trial(ended)
    for backbone, expected in (("one", True), ("two", False)):
        other.enqueue_trial({STRATEGY: "finetune", "finetune.backbone": backbone})
        trial = other.ask()
        trial.suggest_categorical(STRATEGY, NAMES)
        trial.suggest_categorical("finetune.backbone", backbones.choices)
        trial.report(0.1, 500)
        assert trial.should_prune() is expected


def test_the_best_of_the_strategy_is_the_measure() -> None:
    worse = {step: score / 2 for step, score in CURVE.items()}
    assert pruned(study_with(("finetune", worse), ("finetune", CURVE)), "finetune", {500: 0.3})
    assert not pruned(study_with(("finetune", worse)), "finetune", {500: 0.3})


@pytest.mark.parametrize(("step", "expected"), [(100, False), (490, False), (500, True)])
def test_the_first_epochs_are_grace(step: int, expected: bool) -> None:
    study = study_with(("finetune", {50: 0.9, **CURVE}))
    assert pruned(study, "finetune", {step: 0.0}) is expected


def test_less_is_forgiven_the_nearer_the_end() -> None:
    pruner = StrategyPruner("accuracy", ONE_FOLD)
    found = [pruner.deviation(step, 0.8) for step in (250, 500, 750, 1000)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[2] > 0
    assert found[3] == pytest.approx((0.8 * 0.2 / sum(ONE_FOLD)) ** 0.5)  # what samples can tell


def test_folds_to_come_may_change_the_lead() -> None:
    pruner = StrategyPruner("accuracy", TWO_FOLDS)
    after_one = pruner.deviation(500, 0.8)
    assert after_one == pytest.approx((0.8 * 0.2 / 500) ** 0.5)
    assert pruner.deviation(501, 0.8) > 0.9 * after_one  # the next one has only begun
    assert pruner.deviation(1000, 0.8) == pytest.approx((0.8 * 0.2 / 1000) ** 0.5)
    few = StrategyPruner("accuracy", (50, 50))
    assert few.deviation(500, 0.8) > 3 * after_one


def test_trials_of_other_lengths_are_compared_at_equal_progress() -> None:
    study = study_with(("finetune", {500: 0.4, PROGRESS_STEPS: 0.8}))
    assert pruned(study, "finetune", {750: 0.50})  # it was at 0.6 there
    assert not pruned(study, "finetune", {750: 0.59})


def test_a_trial_is_not_compared_with_what_others_reached_later() -> None:
    study = study_with(("finetune", {PROGRESS_STEPS // 2: 0.9}))
    assert not pruned(study, "finetune", {499: 0.5})
    assert pruned(study, "finetune", {499: 0.5, 500: 0.5})


def test_a_dip_after_a_good_score_is_forgiven() -> None:
    assert not pruned(study_with(("finetune", CURVE)), "finetune", {250: 0.7, 500: 0.1})


def test_log_losses_are_compared_too() -> None:
    curve = {500: -0.5, PROGRESS_STEPS: -0.4}
    study = study_with(("finetune", curve), metric="log_loss")
    assert pruned(study, "finetune", {500: -2.0})
    assert not pruned(study, "finetune", {500: -0.52})


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_only_finished_trials_count(state: TrialState) -> None:
    assert not pruned(study_with(("finetune", CURVE), state=state), "finetune", {500: 0.0})


def test_without_a_report_nothing_is_pruned() -> None:
    assert not pruned(study_with(("finetune", CURVE)), "finetune", {})
