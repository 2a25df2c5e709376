"""The verdict in a sentence: who is better, who is equal within the noise, and what would help."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autotl.analysis.profile import DatasetProfile
from autotl.recommend.decision import Decision
from autotl.recommend.summary import StrategySummary
from autotl.recommend.words import counted, format_difference, joined, strategy_words

_COARSE = 0.1
"""Beyond such a bound, in the metric's unit, two aren't called equal but not told apart."""

Kind = Literal["only_one", "overruled", "negative_transfer", "all_equal", "some_equal", "clear"]


@dataclass(frozen=True)
class Verdict:
    """What the trials say.

    Attributes:
        kind: ``only_one`` (nothing to compare with), ``overruled`` (another validated clearly
            better than the winner, and isn't taken all the same), ``negative_transfer`` (training
            from scratch is clearly better than every use of pretrained weights), ``all_equal`` or
            ``some_equal`` (within the noise of the winner), ``clear`` (the winner is clearly
            better than all others).
        headline: that in one sentence.
        more_data: the sentence that more labels would help more than any strategy; empty where
            they wouldn't, or it isn't known.
    """

    kind: Kind
    headline: str
    more_data: str = ""


def verdict(decision: Decision, profile: DatasetProfile) -> Verdict:
    """Put a decision into words."""
    finished = [s for s in decision.strategies if s.best is not None]
    winner = next(s for s in finished if s.best == decision.winner.number)
    others = [s for s in finished if s is not winner]
    more_data = _more_data(finished, profile)
    if not others:
        return Verdict("only_one", _only_one(decision, winner))
    equal = [s for s in others if not s.is_clear]
    ahead = [s for s in others if s.is_clear and s.difference < 0.0]
    behind = [s for s in others if s.is_clear and s not in ahead]
    if ahead:
        return Verdict("overruled", _overruled(decision, winner, ahead, behind), more_data)
    if winner.strategy == "scratch" and not [s for s in equal if s.strategy != "scratch"]:
        return Verdict("negative_transfer", _negative_transfer(decision, others), more_data)
    if not equal:
        name = strategy_words(winner.strategy)
        gaps = joined([f"{strategy_words(s.strategy)} by {_gap(decision, s)}" for s in behind])
        return Verdict("clear", f"within this budget, {name} is better than {gaps}", more_data)
    kind: Kind = "some_equal" if behind else "all_equal"
    words = [_equal(decision, winner, equal, all_of_them=not behind)]
    words += _behind(decision, behind)
    return Verdict(kind, f"{'; '.join(words)}; {_taken(winner, equal)}", more_data)


def _only_one(decision: Decision, winner: StrategySummary) -> str:
    tried = len(decision.strategies)
    what = "finished a trial" if tried > 1 else "was tried"
    return f"only {strategy_words(winner.strategy)} {what}, so there is nothing to compare it with"


def _overruled(
    decision: Decision,
    winner: StrategySummary,
    ahead: Sequence[StrategySummary],
    behind: Sequence[StrategySummary],
) -> str:
    """That validation says otherwise; why it isn't followed is among the decision's notes."""
    gaps = [
        f"{strategy_words(s.strategy)} validated "
        f"{format_difference(decision.metric, -s.difference, s.standard_error)} better"
        for s in ahead
    ]
    taken = f"{strategy_words(winner.strategy)} is taken although {joined(gaps)} (see the notes)"
    return "; ".join([taken, *_behind(decision, behind)])


def _behind(decision: Decision, behind: Sequence[StrategySummary]) -> list[str]:
    return [f"{strategy_words(s.strategy)} is {_gap(decision, s)} behind" for s in behind]


def _negative_transfer(decision: Decision, others: Sequence[StrategySummary]) -> str:
    nearest = min(others, key=lambda s: s.difference)
    return (
        "negative transfer: within this budget training from scratch is "
        f"{_gap(decision, nearest)} better than the best use of pretrained weights, "
        f"{strategy_words(nearest.strategy)}"
    )


def _gap(decision: Decision, summary: StrategySummary) -> str:
    return format_difference(decision.metric, summary.difference, summary.standard_error)


def _equal(
    decision: Decision,
    winner: StrategySummary,
    equal: Sequence[StrategySummary],
    *,
    all_of_them: bool,
) -> str:
    bound = max(s.noise for s in equal)
    most = format_difference(decision.metric, bound)
    names = joined([strategy_words(s.strategy) for s in (winner, *equal)])
    if all_of_them and len(equal) == 2:
        names = f"all three, {names},"
    if bound > _COARSE:
        samples = counted(decision.n_validated, "validation image")
        return f"{names} can't be told apart by {samples} (they may be {most} apart)"
    return f"{names} are equal within the noise (at most {most} apart)"


def _taken(winner: StrategySummary, equal: Sequence[StrategySummary]) -> str:
    """Why the winner is taken from among its equals."""
    name = strategy_words(winner.strategy)
    if all(s.cost >= 1.0 for s in equal):
        return f"{name} is the cheapest of them" if len(equal) > 1 else f"{name} is the cheaper"
    if all(s.difference >= 0.0 for s in equal):
        return f"{name} scored best of them" if len(equal) > 1 else f"{name} scored better"
    if all(s.cost >= 1.0 for s in equal if s.difference < 0.0):
        return f"{name} is nearly as good as the best of them, and cheaper"
    return f"{name} is taken, as such settings were better on other data"


def _more_data(finished: Sequence[StrategySummary], profile: DatasetProfile) -> str:
    if profile.sufficiency is None or len(finished) < 2:
        return ""
    curve = profile.sufficiency.learning_curve
    known = sorted((s.accuracy for s in finished if math.isfinite(s.accuracy)), reverse=True)
    if curve.gain is None or curve.interval is None or len(known) < 2:
        return ""
    lead = known[0] - known[1]
    if curve.interval[0] <= 0.0 or not lead < curve.gain <= 1.0 - known[0]:
        return ""
    low, high = curve.interval
    return (
        f"twice as many labels would bring about {100 * curve.gain:.1f} points of accuracy "
        f"({100 * low:.1f} to {100 * high:.1f}, from the learning curve on frozen features), more "
        f"than the best strategy's lead ({100 * lead:.1f})"
    )
