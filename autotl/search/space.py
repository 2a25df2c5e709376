"""What a strategy may choose, found by asking it; and what of that a study leaves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from autotl.analysis.profile import BackboneProfile, DatasetProfile
from autotl.analysis.similarity import DomainSimilarity
from autotl.analysis.size import SizeProfile
from autotl.backbones.speed import Speed
from autotl.config import Override, Range
from autotl.errors import InputError, unknown
from autotl.strategies import STRATEGIES
from autotl.strategies.base import Strategy, StrategyConfig, Trial

Space = Mapping[str, Override]
"""What a study leaves of its strategies' choices, by parameter; of others everything."""
MAX_SETTINGS = 64
"""A strategy with no more settings than this is tried through, not drawn from."""


@dataclass(frozen=True)
class Parameter:
    """What a strategy asks of a trial.

    Attributes:
        kind: ``choice``, ``int`` or ``float``.
        choices: those of a choice; None: they follow from the data set.
        low: smallest number; None: it follows from the data set.
        high: greatest number; None: it follows from the data set.
    """

    kind: str
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None

    def without_limits(self) -> Parameter:
        """Of the same kind, whatever its values."""
        return Parameter(self.kind)


class _Answers:
    """Answers a strategy's questions with given values, as near as the ranges allow.

    Args:
        params: values by the names of parameters.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._given = params
        self.params: dict[str, Any] = {}
        self.asked: dict[str, Parameter] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked[name] = Parameter("choice", tuple(choices))
        if self._given.get(name) not in choices:
            return choices[0]
        self.params[name] = self._given[name]
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.asked[name] = Parameter("float", low=low, high=high)
        return float(self._clipped(name, low, high))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.asked[name] = Parameter("int", low=low, high=high)
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


def parameters_of(strategy: Strategy, profile: DatasetProfile) -> dict[str, Parameter]:
    """What a strategy asks on a data set, by the names of parameters."""
    answers = _Answers({})
    strategy.suggest(answers, profile)
    return answers.asked


def choices_of(strategy: Strategy, profile: DatasetProfile) -> dict[str, list[Any]]:
    """What a strategy chooses among, by parameter: in one study these must stay the same."""
    asked = parameters_of(strategy, profile)
    return {name: list(own.choices) for name, own in asked.items() if own.choices is not None}


def declared(strategy: Strategy) -> dict[str, Parameter]:
    """What a strategy asks on any data set; without limits where these follow from the data."""
    one, other = (parameters_of(strategy, _stand_in(size)) for size in (8, 16))
    return {name: own if own == other[name] else own.without_limits() for name, own in one.items()}


def _stand_in(size: int) -> DatasetProfile:
    """A profile of no data set, whose backbone has so many stages and may train for so long."""
    counts: dict[str, Any] = {"n_samples": size, "n_test": 0, "samples_per_class": (size,)}
    shown: dict[str, Any] = {"median_size": (1, 1), "size_range": (1, 1), "grey_share": 0.0}
    backbone = BackboneProfile(
        num_stages=size,
        n_parameters=size,
        image_size=size,
        samples_per_parameter=1.0,
        similarity=DomainSimilarity(None),
        speed=Speed("fp32", False, (0.0,), (0.0,)),
        max_epochs=size,
    )
    return DatasetProfile(
        size=SizeProfile(**counts, **shown, imbalance=1.0, n_duplicates=0),
        backbones={str(size): backbone},
        n_folds=1,
        class_names=(),
        fingerprint="",
    )


class Narrowed:
    """A strategy that chooses within a study's space.

    Args:
        strategy: the whole one.
        space: what the study leaves.
    """

    def __init__(self, strategy: Strategy, space: Space) -> None:
        self._strategy = strategy
        self._space = space

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def suggest(self, trial: Trial, profile: DatasetProfile) -> StrategyConfig:
        """Choose a config within the space."""
        return self._strategy.suggest(_NarrowTrial(trial, self._space), profile)


class _NarrowTrial:
    """Asks a trial for no more than a space leaves.

    Several numbers are a choice, unless they are whole ones in a row.
    """

    def __init__(self, trial: Trial, space: Space) -> None:
        self._trial = trial
        self._space = space

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        own = self._space.get(name)
        if own is not None:
            choices = tuple(choice for choice in choices if _contains(own, choice))
        return self._trial.suggest_categorical(name, choices)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        own = self._space.get(name)
        if isinstance(own, tuple):
            values = sorted(float(value) for value in own)
            if len(values) > 1:
                return float(self._trial.suggest_categorical(name, tuple(values)))
            low = high = values[0]
        elif own is not None:
            low, high = max(low, own.low), min(high, own.high)
        return self._trial.suggest_float(name, low, high, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        own = self._space.get(name)
        if isinstance(own, tuple):
            values = sorted(int(value) for value in own)
            low, high = values[0], values[-1]
            if len(values) <= high - low:
                return int(self._trial.suggest_categorical(name, tuple(values)))
        elif own is not None:
            low, high = max(low, math.ceil(own.low)), min(high, math.floor(own.high))
        return self._trial.suggest_int(name, low, high, log=log)


def narrow(strategy: Strategy, space: Space) -> Strategy:
    """The strategy, choosing within a study's space."""
    return Narrowed(strategy, space) if space else strategy


def settings_of(strategy: Strategy, profile: DatasetProfile, backbone: str) -> list[dict[str, Any]]:
    """All that a strategy may choose on a backbone; empty if that is over :data:`MAX_SETTINGS`."""
    values: dict[str, list[Any]] = {}
    for name, own in parameters_of(strategy, profile).items():
        if name == f"{strategy.name}.backbone":
            values[name] = [backbone]
        elif own.choices is not None:
            values[name] = list(own.choices)
        elif own.kind == "int":
            values[name] = list(range(int(own.low or 0), int(own.high or 0) + 1))
        elif own.low == own.high:
            values[name] = [own.low]
        else:
            return []
    if math.prod(map(len, values.values())) > MAX_SETTINGS:
        return []
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def is_inside(params: Mapping[str, Any], space: Space) -> bool:
    """Whether parameters lie within a space; one that isn't among them does."""
    return all(_contains(own, params[name]) for name, own in space.items() if name in params)


def nearest(value: Any, own: Override) -> Any:
    """The value of an override that is nearest to a number or truth value."""
    if isinstance(own, Range):
        return min(own.high, max(own.low, value))
    return min(own, key=lambda other: abs(float(other) - float(value)))


def refuse_outside(
    space: Space, names: Iterable[str], profile: DatasetProfile | None = None
) -> None:
    """See that a space is part of what strategies choose from.

    Args:
        space: what a study leaves.
        names: of its strategies.
        profile: of the data set; None: what follows from it isn't looked at yet.

    Raises:
        InputError: naming every parameter and value that isn't, with the nearest that is.
    """
    if not space:
        return
    known: dict[str, Parameter] = {}
    for name in names:
        strategy = STRATEGIES[name]
        known |= declared(strategy) if profile is None else parameters_of(strategy, profile)
    problems = []
    for name, own in space.items():
        if name in known:
            problems += [f"space: {name}: {told}" for told in _problems(name, own, known[name])]
        elif name.partition(".")[0] in STRATEGIES.keys() - set(names):
            tried = ", ".join(names)
            problems.append(f"space: {name}: of that strategy nothing is tried, only of {tried}")
        else:
            problems.append(f"space: {unknown('parameter', name, known)}")
    if problems:
        raise InputError.of(problems)


def _problems(name: str, own: Override, parameter: Parameter) -> list[str]:
    """What of an override isn't a parameter's."""
    if parameter.kind == "choice":
        if isinstance(own, Range):
            return ["must be some of its values, not a range"]
        choices = own if parameter.choices is None else parameter.choices
        return [
            str(unknown("value", value, map(str, choices)))
            for value in own
            if not any(_equals(value, choice) for choice in choices)
        ]
    values = (own.low, own.high) if isinstance(own, Range) else own
    return [told for value in values if (told := _outside(name, value, parameter))]


def _outside(name: str, value: object, parameter: Parameter) -> str:
    """What is wrong with a number; empty if nothing is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"must be a number, but got {value!r}"
    if parameter.kind == "int" and value != int(value):
        return f"must be a whole number, but got {value:g}; the nearest is {round(value)}"
    low, high = parameter.low, parameter.high
    if low is None or high is None or low <= value <= high:
        return ""
    why = " that trials can afford in this time" if name.endswith(".epochs") else ""
    return (
        f"{value:g} is outside of the {low:g} to {high:g}{why}; the nearest is "
        f"{min(high, max(low, value)):g}"
    )


def _contains(own: Override, value: Any) -> bool:
    if isinstance(own, Range):
        return bool(own.low <= value <= own.high)
    return any(_equals(value, other) for other in own)


def _equals(value: Any, other: Any) -> bool:
    """Whether two values are the same; ``0`` isn't ``False``, which to Python it is."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
