"""Optuna's TPE as a policy: its proposals are mapped to the nearest config not run yet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.samplers import TPESampler
from optuna.trial import Trial, TrialState, create_trial

from studies.regret.problems import Candidate, View
from studies.regret.replay import History, Policy, Search

Distribution = FloatDistribution | CategoricalDistribution
_LOG_FROM = 10.0
_OTHER_STRATEGY, _OTHER_BACKBONE = 100.0, 10.0


@dataclass(frozen=True)
class Space:
    """The space that a task's candidates span: what varies among the configs of each strategy.

    Attributes:
        strategies, backbones: of the candidates.
        parameters: distributions by strategy, then by name. Numbers lie between the least and the
            greatest, on a log scale where these are ten times apart; all else is categorical.
    """

    strategies: tuple[str, ...]
    backbones: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Distribution]]

    @classmethod
    def of(cls, candidates: tuple[Candidate, ...]) -> Space:
        """The space of these candidates."""
        strategies = tuple(sorted({c.strategy for c in candidates}))
        parameters = {}
        for strategy in strategies:
            own = [c.settings for c in candidates if c.strategy == strategy]
            ranges = {name: _distribution([s[name] for s in own]) for name in own[0]}
            parameters[strategy] = {n: d for n, d in ranges.items() if d is not None}
        return cls(strategies, tuple(sorted({c.backbone for c in candidates})), parameters)

    def suggest(self, trial: Trial) -> tuple[str, str, dict[str, Any]]:
        """Strategy, backbone and the strategy's parameters, as a sampler proposes them."""
        strategy = trial.suggest_categorical("strategy", self.strategies)
        backbone = trial.suggest_categorical("backbone", self.backbones)
        values = {
            name: _suggest(trial, f"{strategy}.{name}", distribution)
            for name, distribution in self.parameters[strategy].items()
        }
        return strategy, backbone, values

    def values_of(self, candidate: Candidate) -> dict[str, Any]:
        """A candidate's parameters, within their distributions."""
        found = {}
        for name, distribution in self.parameters[candidate.strategy].items():
            value = candidate.settings[name]
            if isinstance(distribution, FloatDistribution):
                high = distribution.high
                value = high if value is None else min(max(value, distribution.low), high)
            found[name] = value
        return found

    def distance(
        self, candidate: Candidate, strategy: str, backbone: str, values: Mapping[str, Any]
    ) -> float:
        """Strategy first, then the backbone, then the mean distance of normalised parameters."""
        found = _OTHER_BACKBONE * (candidate.backbone != backbone)
        if candidate.strategy != strategy:
            return found + _OTHER_STRATEGY
        own = self.values_of(candidate)
        ranges = self.parameters[strategy]
        apart = [_apart(ranges[name], own[name], values[name]) for name in ranges]
        return found + (sum(apart) / len(apart) if apart else 0.0)


def _distribution(values: list[Any]) -> Distribution | None:
    """Of a parameter; None if it doesn't vary. Among numbers, None is one above the greatest."""
    present = [value for value in values if value is not None]
    distinct = sorted(set(present), key=str)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in present) and present:
        high = float(max(present)) + (1.0 if len(present) < len(values) else 0.0)
        positive = min((float(v) for v in present if v > 0), default=0.0)
        is_log = positive > 0 and high / positive >= _LOG_FROM
        low = positive if is_log else float(min(present))
        return FloatDistribution(low, high, log=is_log) if high > low else None
    if len(present) < len(values):
        distinct.append(None)
    return CategoricalDistribution(distinct) if len(distinct) > 1 else None


def _suggest(trial: Trial, name: str, distribution: Distribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _apart(distribution: Distribution, a: Any, b: Any) -> float:
    if not isinstance(distribution, FloatDistribution):
        return float(a != b)
    low, high = distribution.low, distribution.high
    if distribution.log:
        return float(abs(np.log(a / b)) / np.log(high / low))
    return float(abs(a - b) / (high - low))


class TPE(Search):
    """Optuna's sampler over strategy, backbone and what belongs to the strategy.

    It is told the parameters of what was really run, not of what it proposed. Once a strategy's
    configs are used up, a proposal in it becomes any other config, of its backbone where possible.

    Args:
        view: the task.
        rng: seeds the sampler, breaks ties.
        is_grouped: ``multivariate=True, group=True`` in place of the defaults.
    """

    def __init__(self, view: View, rng: np.random.Generator, is_grouped: bool) -> None:
        super().__init__(view, rng)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = TPESampler(
                multivariate=is_grouped,
                group=is_grouped,
                seed=int(rng.integers(2**31)),
            )
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space = Space.of(view.candidates)
        self._rest = {candidate.arm: candidate for candidate in view.candidates}

    def next(self, history: History) -> Candidate | None:
        """Tell the last run, then take what is nearest to the proposal."""
        if history:
            self._tell(history[-1].candidate, history[-1].validation)
        if not self._rest:
            return None
        trial = self._study.ask()
        strategy, backbone, values = self._space.suggest(trial)
        self._study.tell(trial, state=TrialState.FAIL)
        rest = list(self._rest.values())
        far = np.array([self._space.distance(c, strategy, backbone, values) for c in rest])
        nearest = rest[int(self.rng.choice(np.flatnonzero(far <= far.min() + 1e-12)))]
        return self._rest.pop(nearest.arm)

    def _tell(self, candidate: Candidate, validation: float) -> None:
        distributions: dict[str, BaseDistribution] = {
            "strategy": CategoricalDistribution(self._space.strategies),
            "backbone": CategoricalDistribution(self._space.backbones),
        }
        params: dict[str, Any] = {"strategy": candidate.strategy, "backbone": candidate.backbone}
        for name, value in self._space.values_of(candidate).items():
            full = f"{candidate.strategy}.{name}"
            params[full] = value
            distributions[full] = self._space.parameters[candidate.strategy][name]
        told = create_trial(params=params, distributions=distributions, value=validation)
        self._study.add_trial(told)


POLICIES: tuple[Policy, ...] = (
    Policy(
        "tpe-flat",
        "TPE, flat categoricals",
        lambda view, rng: TPE(view, rng, is_grouped=False),
        is_random=True,
    ),
    Policy(
        "tpe-grouped",
        "TPE, multivariate, grouped",
        lambda view, rng: TPE(view, rng, is_grouped=True),
        is_random=True,
    ),
)
