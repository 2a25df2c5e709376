"""The search space of a strategy, found by asking it: what it may choose, and a config in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.strategies.base import Strategy, StrategyConfig


class _Answers:
    """Answers a strategy's questions with given values, as near as the ranges allow.

    Args:
        wanted: by the names of the config's fields.
    """

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._wanted = wanted
        self.params: dict[str, Any] = {}
        self.choices: dict[str, tuple[Any, ...]] = {}
        self.ranges: dict[str, tuple[int, int]] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.choices[name] = tuple(choices)
        value = self._wanted.get(_field(name))
        if value not in self.choices[name]:
            return self.choices[name][0]
        self.params[name] = value
        return value

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._clipped(name, low, high))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.ranges[name] = (low, high)
        return int(self._clipped(name, low, high))

    def _clipped(self, name: str, low: float, high: float) -> float:
        value = self._wanted.get(_field(name))
        if value is None:
            return low
        self.params[name] = min(high, max(low, value))
        return float(self.params[name])


def _field(name: str) -> str:
    """A parameter's field in the config."""
    return name.partition(".")[2]


def nearest_in_space(
    strategy: Strategy, wanted: Mapping[str, Any], profile: DatasetProfile
) -> tuple[dict[str, Any], StrategyConfig]:
    """The parameters that make a strategy suggest a config, or the nearest one that it can.

    Values outside a range are clipped. Choices that don't exist are left out, so that a sampler
    draws them. An integer that stands for a share of what the largest backbone has, as depths
    and epochs do, is the one that means the wanted number for the config's own backbone.

    Args:
        strategy: the strategy.
        wanted: values by the names of its config's fields.
        profile: of the data set; decides the ranges.

    Returns:
        The parameters by name, such as ``finetune.lr``, and the config that they make.
    """

    def ask(values: Mapping[str, Any]) -> tuple[_Answers, StrategyConfig]:
        answers = _Answers(values)
        return answers, strategy.suggest(answers, profile)

    values = dict(wanted)
    answers, config = ask(values)
    for name, (low, high) in answers.ranges.items():
        field = _field(name)
        goal = wanted.get(field)
        if goal is None or getattr(config, field) == goal:
            continue

        def miss(value: int, field: str = field, goal: int = goal) -> float:
            return abs(float(getattr(ask({**values, field: value})[1], field)) - goal)

        values[field] = min(range(low, high + 1), key=miss)
    answers, config = ask(values)
    return answers.params, config


def params_within(
    strategy: Strategy, params: Mapping[str, Any], profile: DatasetProfile
) -> dict[str, Any]:
    """Parameters of a strategy by name with values outside the ranges of now clipped."""
    answers = _Answers({_field(name): value for name, value in params.items()})
    strategy.suggest(answers, profile)
    return {name: answers.params.get(name, value) for name, value in params.items()}


def choices_of(strategy: Strategy, profile: DatasetProfile) -> dict[str, list[Any]]:
    """What a strategy chooses among, by parameter: in one study these must stay the same."""
    answers = _Answers({})
    strategy.suggest(answers, profile)
    return {name: list(choices) for name, choices in answers.choices.items()}
