"""What a strategy may choose, found by asking it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.strategies.base import Strategy, StrategyConfig


class _Answers:
    """Answers a strategy's questions with given values, as near as the ranges allow.

    Args:
        params: values by the names of parameters.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._given = params
        self.params: dict[str, Any] = {}
        self.choices: dict[str, list[Any]] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.choices[name] = list(choices)
        if self._given.get(name) not in self.choices[name]:
            return self.choices[name][0]
        self.params[name] = self._given[name]
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._clipped(name, low, high))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._clipped(name, low, high))

    def _clipped(self, name: str, low: float, high: float) -> float:
        if self._given.get(name) is None:
            return low
        self.params[name] = min(high, max(low, self._given[name]))
        return float(self.params[name])


def within(
    strategy: Strategy, params: Mapping[str, Any], profile: DatasetProfile
) -> tuple[dict[str, Any], StrategyConfig]:
    """Parameters within a strategy's ranges for a data set, and the config that they make.

    Args:
        strategy: the strategy.
        params: values by the names of parameters; those outside a range are clipped, and choices
            that don't exist are left out, so that a sampler draws them.
        profile: of the data set; decides the ranges.
    """
    answers = _Answers(params)
    config = strategy.suggest(answers, profile)
    return answers.params, config


def choices_of(strategy: Strategy, profile: DatasetProfile) -> dict[str, list[Any]]:
    """What a strategy chooses among, by parameter: in one study these must stay the same."""
    answers = _Answers({})
    strategy.suggest(answers, profile)
    return answers.choices
