"""One Optuna study over several strategies: which arm next, and the settings that it leaves open.

A flat categorical parameter under TPE collapses onto an early lucky branch (optuna issue 3826), and
grouped TPE splits good from bad trials over all branches together (issue 5299). So strategy, recipe
and backbone are chosen by the plan, and what a recipe doesn't say by a TPE of the strategy's own
that sees that strategy's trials only. All state is in Optuna's storage.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from autotl.search.knowledge import DRAWN, Arm
from autotl.search.plan import ARM, STRATEGY, Choice, Plan, arm_of, strategy_of

_WINDOW, _BEST = 200, 50
"""A TPE sees so many of its strategy's last trials, and the best of those before them."""


class StrategySampler(BaseSampler):
    """Answers a trial's parameters with its arm's; what these leave open a TPE draws.

    Args:
        plan: says which arm is next.
        seed: of the draws; those of a trial depend on it, the trial's number and the trials that
            have ended, not on what this process has drawn before.
        n_startup_trials: finished trials of a strategy before its TPE leaves random search.
    """

    def __init__(self, plan: Plan, seed: int, n_startup_trials: int = 4) -> None:
        self._plan = plan
        self._seed = seed
        self._n_startup_trials = n_startup_trials
        self._tpes: dict[tuple[str, int], TPESampler] = {}
        self._chosen: tuple[int, Arm] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the trial's arm, as soon as it is asked for, and note it."""
        self._arm(study, trial)

    def plan(self, trials: Sequence[FrozenTrial]) -> Choice | None:
        """What the next trial should try; None if nothing fits any more."""
        return self._plan.next(trials)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The strategy, and of drawn settings those that the strategy's TPE models together."""
        arm = self._arm(study, trial)
        space: dict[str, BaseDistribution] = {}
        if arm.recipe == DRAWN:
            space = self._tpe(arm.strategy, trial.number).infer_relative_search_space(
                _OwnTrials(study, arm.strategy),  # type: ignore[arg-type]
                trial,
            )
        answered = self._answers(arm)
        space = {name: own for name, own in space.items() if name not in answered}
        return {STRATEGY: CategoricalDistribution(self._plan.strategies), **space}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The strategy and its jointly modelled parameters."""
        strategy = self._arm(study, trial).strategy
        own = {name: space for name, space in search_space.items() if name != STRATEGY}
        params = self._tpe(strategy, trial.number).sample_relative(
            _OwnTrials(study, strategy),  # type: ignore[arg-type]
            trial,
            own,
        )
        return {STRATEGY: strategy, **params}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One parameter by itself: the arm's, or drawn where no joint model exists yet."""
        arm = self._arm(study, trial)
        if param_name == STRATEGY:
            return arm.strategy
        answered = self._answers(arm)
        if param_name in answered:
            return _nearest(answered[param_name], param_distribution)
        return self._tpe(arm.strategy, trial.number).sample_independent(
            _OwnTrials(study, arm.strategy),  # type: ignore[arg-type]
            trial,
            param_name,
            param_distribution,
        )

    def _tpe(self, strategy: str, number: int) -> TPESampler:
        """Of a strategy for one trial: a trial that is run again gets what it got before."""
        if (strategy, number) not in self._tpes:
            parts = (self._seed, self._plan.strategies.index(strategy), number)
            seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
            tpe = TPESampler(n_startup_trials=self._n_startup_trials, seed=seed)
            self._tpes = {(strategy, number): tpe}
        return self._tpes[strategy, number]

    def _answers(self, arm: Arm) -> dict[str, Any]:
        return dict(self._plan.params(arm)) if arm.backbone else {}

    def _arm(self, study: Study, trial: FrozenTrial) -> Arm:
        """The trial's arm: the one it has or was enqueued with, or the plan's, which is noted."""
        if self._chosen is not None and self._chosen[0] == trial.number:
            return self._chosen[1]
        arm = arm_of(trial)
        if arm is None:
            trials = study.get_trials(deepcopy=False)
            choice = self._plan.next([other for other in trials if other.number != trial.number])
            arm = self._plan.arms[-1] if choice is None else choice.arm
            study._storage.set_trial_system_attr(
                trial._trial_id, ARM, [arm.strategy, arm.recipe, arm.backbone]
            )
        self._chosen = (trial.number, arm)
        return arm


def _nearest(value: Any, distribution: BaseDistribution) -> Any:
    """The value, or that end of a range which is nearest to it."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return min(distribution.high, max(distribution.low, value))
    return value


class _OwnTrials:
    """A study as a TPE of one strategy sees it: with that strategy's trials only."""

    def __init__(self, study: Study, strategy: str) -> None:
        self._study = study
        self._strategy = strategy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._own(self._study.get_trials(deepcopy, states))

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return self._own(self._study._get_trials(deepcopy, states, use_cache))

    def _own(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        own = [trial for trial in trials if strategy_of(trial) == self._strategy]
        if len(own) <= _WINDOW:
            return own
        scored = sorted(own[:-_WINDOW], key=lambda trial: -(trial.value or 0.0))
        return [*scored[:_BEST], *own[-_WINDOW:]]
