"""One Optuna study over several strategies: which strategy next, and its parameters.

A flat categorical parameter under TPE collapses onto an early lucky branch (optuna issue 3826), and
grouped TPE splits good from bad trials over all branches together (issue 5299). So the strategy is
chosen here, and its parameters by a TPE of its own that sees that strategy's trials only. All
state is in Optuna's storage.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

STRATEGY = "strategy"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_FIRST_TRIALS = 2
_TEMPERATURE = 0.03
_FLOOR = 0.1


class StrategySampler(BaseSampler):
    """Chooses a strategy by what each has reached, then its parameters by that strategy's TPE.

    Every strategy gets two trials, failed ones included; from then on one is drawn with a
    probability that falls by a factor of e for every 3 points that its best trial lies behind the
    best of all, and never below a tenth of the leader's.

    Args:
        strategies: their names; earlier ones get their first trials earlier.
        seed: draws depend on it and on the trial's number alone.
        n_startup_trials: finished trials of a strategy before its TPE leaves random search.
    """

    def __init__(self, strategies: Sequence[str], seed: int, n_startup_trials: int = 4) -> None:
        self._strategies = tuple(strategies)
        self._seed = seed
        self._n_startup_trials = n_startup_trials
        self._tpes: dict[str, TPESampler] = {}
        self._chosen: tuple[int, str] | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The strategy, and the parameters that this strategy's TPE models together."""
        strategy = self._choose(study, trial)
        space = self._tpe(strategy).infer_relative_search_space(
            _OwnTrials(study, strategy),  # type: ignore[arg-type]
            trial,
        )
        return {STRATEGY: CategoricalDistribution(self._strategies), **space}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The strategy and its jointly modelled parameters."""
        strategy = self._choose(study, trial)
        own = {name: space for name, space in search_space.items() if name != STRATEGY}
        params = self._tpe(strategy).sample_relative(
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
        """One parameter by itself, where no joint model exists yet."""
        strategy = self._choose(study, trial)
        if param_name == STRATEGY:
            return strategy
        return self._tpe(strategy).sample_independent(
            _OwnTrials(study, strategy),  # type: ignore[arg-type]
            trial,
            param_name,
            param_distribution,
        )

    def reseed_rng(self) -> None:
        """Called in each worker process: workers draw differently."""
        for tpe in self._tpes.values():
            tpe.reseed_rng()

    def _tpe(self, strategy: str) -> TPESampler:
        if strategy not in self._tpes:
            self._tpes[strategy] = TPESampler(
                n_startup_trials=self._n_startup_trials,
                seed=self._seed + self._strategies.index(strategy),
            )
        return self._tpes[strategy]

    def _choose(self, study: Study, trial: FrozenTrial) -> str:
        """The trial's strategy: the one it has or was enqueued with, or a new choice."""
        given = _strategy_of(trial)
        if given is not None:
            return given
        if self._chosen is None or self._chosen[0] != trial.number:
            self._chosen = (trial.number, self._draw(study, trial))
        return self._chosen[1]

    def _draw(self, study: Study, trial: FrozenTrial) -> str:
        earlier = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        best = np.full(len(self._strategies), -np.inf)
        for index, strategy in enumerate(self._strategies):
            own = [t for t in earlier if _strategy_of(t) == strategy]
            if len(own) < _FIRST_TRIALS:
                return strategy
            values = [
                t.value for t in own if t.state == TrialState.COMPLETE and t.value is not None
            ]
            best[index] = max(values, default=-np.inf)
        if not np.isfinite(best).any():
            best[:] = 0.0
        weights = np.maximum(np.exp((best - best.max()) / _TEMPERATURE), _FLOOR)
        rng = np.random.default_rng([self._seed, trial.number])
        return str(rng.choice(self._strategies, p=weights / weights.sum()))


def _strategy_of(trial: FrozenTrial) -> str | None:
    fixed = trial.system_attrs.get("fixed_params", {})
    strategy = trial.params.get(STRATEGY, fixed.get(STRATEGY))
    return None if strategy is None else str(strategy)


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
        return [trial for trial in trials if _strategy_of(trial) == self._strategy]
