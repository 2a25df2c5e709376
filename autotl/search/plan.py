"""Which arm comes next: by what the storage says of earlier trials, and by its price."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from autotl.search.allocation import Allocation, Option, Seen, best
from autotl.search.knowledge import DRAWN, Arm

STRATEGY = "strategy"
"""The parameter of a trial that names its strategy."""
ARM = "autotl:arm"
"""The system attribute that names a trial's arm."""
STATE, SECONDS, COST = "state", "seconds", "cost_s"
"""User attributes of an ended trial: how it ended, what it took, and what was predicted."""
REPEATED, UNAFFORDABLE = "repeated", "unaffordable"
"""How trials end that were passed over: another did the same, or there is no time for them."""
PATIENCE = 0.1
"""A search goes on as long as this share of a score's standard error can be expected of an arm.

On the outcome table that ended it after half of the time, with a tenth of a point lost on average
(``studies/regret``)."""
_TURN = 8.0
"""A strategy that wasn't tried gets its turn when so many times its price has been spent: that all
were tried costs a ninth of the time at most."""
_SLACK_S = 1.0
_MAX_FAILURES = 3
_MOST_DRAWN = 64


@dataclass(frozen=True)
class Choice:
    """What to try next.

    Attributes:
        arm: which.
        improvement: the most that is expected of any arm that is left, in units of accuracy;
            infinite without a finished trial.
        is_worth_it: whether that is enough beside the noise of a score, or a strategy still has to
            be tried.
    """

    arm: Arm
    improvement: float
    is_worth_it: bool


@dataclass(frozen=True)
class Plan:
    """The arms of a search and what they cost.

    Attributes:
        arms: all of them.
        price: predicted seconds of an arm, before any correction.
        allocation: how arms are compared.
        params: what an arm's trial answers to which parameter; others are drawn.
        fits: whether a trial of so many seconds still fits into the time, where the best so far
            took so many; None: there is none.
        n_trials: that the study may have; None: no limit.
        is_timed: whether the search has to end in a time; if not, no clock is asked.
    """

    arms: Sequence[Arm]
    price: Callable[[Arm], float]
    allocation: Allocation
    params: Callable[[Arm], Mapping[str, Any]]
    fits: Callable[[float, float | None], bool]
    n_trials: int | None = None
    is_timed: bool = True

    @property
    def strategies(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(dict.fromkeys(arm.strategy for arm in self.arms))

    def next(self, trials: Sequence[FrozenTrial]) -> Choice | None:
        """The arm to try next; None if nothing is left that fits into the time.

        The first is what promises most for its time; if nothing fits, the cheapest. A strategy that
        wasn't tried gets its turn once several times its price has been spent, when there are only
        as many trials left, or when nothing else is worth its time, so that the verdict rests on
        trials of each.

        Args:
            trials: the study's.
        """
        begun = [trial for trial in trials if trial.state != TrialState.WAITING]
        known = [(trial, arm) for trial in begun if (arm := arm_of(trial)) is not None]
        tried = {arm for _, arm in known if arm.recipe != DRAWN}
        failures = Counter(
            (arm.strategy, arm.backbone)
            for trial, arm in known
            if trial.user_attrs.get(STATE) == "failed"
        )
        ended = [(t, arm) for t, arm in known if t.state == TrialState.COMPLETE]
        seen = _telling([Seen(arm, t.value) for t, arm in ended if t.value is not None])
        worked = {(entry.arm.strategy, entry.arm.backbone) for entry in seen}
        factors = dict.fromkeys(self.strategies, 1.0)
        if self.is_timed:
            factors = {name: correction(trials, name) for name in self.strategies}
        able = [
            Option(arm, self.price(arm) * factors[arm.strategy])
            for arm in self.arms
            if arm not in tried
            and (
                (arm.strategy, arm.backbone) in worked
                or failures[(arm.strategy, arm.backbone)] < _MAX_FAILURES
            )
        ]
        best_s = best_s_of(trials)
        options = [option for option in able if self.fits(option.seconds, best_s)]
        if able and not (options or known):
            options = [min(able, key=lambda option: option.seconds)]
        if not options:
            return None
        improvements = self.allocation.improvements(seen, options)
        enough = PATIENCE * self.allocation.noise(seen)
        untried = {option.arm.strategy for option in options} - {arm.strategy for _, arm in known}
        others = [k for k, option in enumerate(options) if option.arm.strategy not in untried]
        is_last = bool(seen) and max(improvements[others], default=0.0) < enough
        waiting = self._waiting(known, options, is_last=is_last)
        if waiting:
            chosen = max(waiting, key=lambda index: float(improvements[index]))
        else:
            chosen = best(improvements, options)
        most = float(improvements.max()) if seen else math.inf
        return Choice(options[chosen].arm, most, bool(untried) or most >= enough)

    def _waiting(
        self, known: Sequence[tuple[FrozenTrial, Arm]], options: Sequence[Option], *, is_last: bool
    ) -> list[int]:
        """The recipes of a strategy whose turn it is, as indices of the options.

        Args:
            known: the trials and their arms.
            options: what could be tried.
            is_last: whether nothing else is worth its time.
        """
        untried = set(self.strategies) - {arm.strategy for _, arm in known}
        n_begun = n_counted([trial for trial, _ in known])
        is_last |= self.n_trials is not None and self.n_trials - n_begun <= len(untried)
        if self.is_timed:
            spent_s = sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial, _ in known)
        else:
            spent_s = sum(self.price(arm) for _, arm in known if arm.backbone)
        for name in self.strategies:
            if name not in untried:
                continue
            own = [k for k, option in enumerate(options) if option.arm.strategy == name]
            own = [k for k in own if options[k].arm.recipe != DRAWN] or own
            if (
                known
                and own
                and (is_last or spent_s >= _TURN * min(options[k].seconds for k in own))
            ):
                return own
        return []


def _telling(seen: list[Seen]) -> list[Seen]:
    """Without all but the last and the best of many drawn settings: more of them tell no more."""
    drawn = [entry for entry in seen if entry.arm.recipe == DRAWN]
    if len(drawn) <= _MOST_DRAWN:
        return seen
    best = max(drawn, key=lambda entry: entry.score)
    kept = {id(entry) for entry in [best, *drawn[-_MOST_DRAWN:]]}
    return [entry for entry in seen if entry.arm.recipe != DRAWN or id(entry) in kept]


def arm_of(trial: FrozenTrial) -> Arm | None:
    """The arm of a trial; None if it has none yet. An enqueued config counts as drawn."""
    named = trial.system_attrs.get(ARM)
    if named is not None:
        return Arm(*named)
    strategy = strategy_of(trial)
    if strategy is None:
        return None
    return Arm(strategy, DRAWN, str(trial.params.get(f"{strategy}.backbone", "")))


def strategy_of(trial: FrozenTrial) -> str | None:
    """The strategy that a trial has or was enqueued with."""
    strategy = trial.params.get(STRATEGY)
    if strategy is None:  # only then, since Optuna may have to read the attributes
        strategy = trial.system_attrs.get("fixed_params", {}).get(STRATEGY)
    return None if strategy is None else str(strategy)


def n_counted(trials: Sequence[FrozenTrial]) -> int:
    """Trials that are running or have ended, those that were passed over not counted."""
    return sum(
        trial.state != TrialState.WAITING
        and trial.user_attrs.get(STATE) not in (REPEATED, UNAFFORDABLE)
        for trial in trials
    )


def best_s_of(trials: Sequence[FrozenTrial]) -> float | None:
    """Seconds of the best finished trial; None without any."""
    scores = [
        (trial.value or 0.0, trial.user_attrs.get(SECONDS, 0.0))
        for trial in trials
        if trial.state == TrialState.COMPLETE
    ]
    return max(scores)[1] if scores else None


def correction(trials: Sequence[FrozenTrial], strategy: str) -> float:
    """By what to multiply a strategy's predicted seconds: what its trials took against them.

    The median over the complete trials, nearer to 1 the fewer they are (as if one more had taken
    what was predicted, on a log scale), and between 1/8 and 8. A second is added to both sides: the
    first trial of a process pays for imports and cold caches, which is no reason to believe that
    what takes long takes many times as long.
    """
    logs = [
        math.log((trial.user_attrs[SECONDS] + _SLACK_S) / (trial.user_attrs[COST] + _SLACK_S))
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and strategy_of(trial) == strategy
        and trial.user_attrs.get(COST, 0.0) > 0
    ]
    if not logs:
        return 1.0
    return min(8.0, max(0.125, math.exp(median(logs) * len(logs) / (len(logs) + 1))))
