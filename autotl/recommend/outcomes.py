"""What the trials say of the rules of thumb: held, overturned, undecided or untested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from autotl.analysis.rules import Rule
from autotl.recommend.comparison import CLEAR, Comparison
from autotl.strategies.base import TrialRecord


@dataclass(frozen=True)
class RuleOutcome:
    """What became of a rule of thumb.

    Attributes:
        name: of the rule.
        advice: what it says.
        source: where it comes from.
        figures: what made it apply.
        verdict: ``held`` or ``overturned`` if the difference is clear (95 %), ``undecided`` if it
            is within the noise, ``untested`` if one side has no finished trial.
        favoured: best value of the metric among trials that followed the rule.
        others: best value among trials that went against it.
    """

    name: str
    advice: str
    source: str
    figures: str
    verdict: Literal["held", "overturned", "undecided", "untested"]
    favoured: float | None = None
    others: float | None = None


def rule_outcome(rule: Rule, figures: str, comparison: Comparison) -> RuleOutcome:
    """Set the best trial that followed a rule against the best that went against it."""

    def best_where(holds: Callable[[str, Mapping[str, object]], bool]) -> TrialRecord | None:
        chosen = [record for record in comparison.finished if holds(record.strategy, record.config)]
        return max(chosen, key=comparison.score, default=None)

    favoured, other = best_where(rule.favours), best_where(rule.against)
    verdict: Literal["held", "overturned", "undecided", "untested"] = "untested"
    if favoured is not None and other is not None:
        difference, error = comparison(favoured, other)
        verdict = "undecided"
        if abs(difference) > CLEAR * error:
            verdict = "held" if difference > 0 else "overturned"
    return RuleOutcome(
        name=rule.name,
        advice=rule.advice,
        source=rule.source,
        figures=figures,
        verdict=verdict,
        favoured=None if favoured is None else comparison.value(favoured),
        others=None if other is None else comparison.value(other),
    )
