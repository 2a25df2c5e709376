"""From finished trials to a decision: who won, by how much, how sure, and which rules held."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.profile import DatasetProfile
from autotl.analysis.rules import Rule, triggered
from autotl.errors import InputError
from autotl.metrics import Metric, confidence_interval, paired_difference, wilson_interval
from autotl.recommend.selection import selected_score
from autotl.recommend.words import format_difference, format_seconds
from autotl.strategies.base import TrialRecord, TrialResult

Prefer = Literal["accuracy", "balanced", "cheap"]

STANDARD_ERRORS: Mapping[Prefer, float] = {"accuracy": 0.0, "balanced": 1.0, "cheap": 2.0}
"""How many standard errors below the best a cheaper strategy may score and still be taken: the
one-standard-error rule (Breiman et al. 1984) for ``balanced``."""

CLEARLY_CHEAPER = 0.8
"""A strategy is preferred for its cost if its trial took less than this share of the best one's."""

_CLEAR = 1.96


@dataclass(frozen=True)
class StrategySummary:
    """What one strategy reached, and at what cost.

    Attributes:
        strategy: its name.
        n_complete: finished trials.
        n_pruned: trials ended early because others were better.
        n_other: failed trials and those cut off by the deadline or the user.
        best: number of the best finished trial, None without one.
        value: its value of the metric.
        interval: 95 % interval of that value.
        seconds: spent on the best trial.
        total_seconds: spent on all trials of the strategy.
        difference: score of the winner minus this one's, on the same samples.
        standard_error: of the difference.
    """

    strategy: str
    n_complete: int
    n_pruned: int
    n_other: int
    best: int | None
    value: float
    interval: tuple[float, float]
    seconds: float
    total_seconds: float
    difference: float
    standard_error: float


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


@dataclass(frozen=True)
class Decision:
    """The verdict.

    Attributes:
        winner: the recommended trial.
        metric: name of the metric that decided.
        expected: the winner's value to expect on new samples: that on validation samples, less
            what comes of having been chosen as the best there.
        interval: 95 % interval of it.
        n_validated: samples that it rests on.
        optimism: by how much the winner's score on validation samples is better than that.
        strategies: what each strategy reached, best first.
        rules: what became of each rule of thumb that applied.
        notes: further findings in plain sentences.
    """

    winner: TrialRecord
    metric: str
    expected: float
    interval: tuple[float, float]
    n_validated: int
    strategies: tuple[StrategySummary, ...]
    rules: tuple[RuleOutcome, ...]
    notes: tuple[str, ...] = ()
    optimism: float = 0.0


@dataclass(frozen=True)
class TestScore:
    """What the refitted model scored on the locked test set, read once, after the decision.

    Attributes:
        metric: name of the metric.
        value: of the metric.
        interval: 95 % interval of it.
        labels: ``(n_test,) int64``.
        probabilities: ``(n_test, n_classes) float32``.
        metrics: every metric's value by name.
    """

    __test__: ClassVar[bool] = False  # for pytest: it isn't a class of tests

    metric: str
    value: float
    interval: tuple[float, float]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    metrics: Mapping[str, float]


def decide(
    records: Sequence[TrialRecord],
    labels: NDArray[np.int64],
    metric: Metric,
    profile: DatasetProfile,
    prefer: Prefer,
    seed: int = 0,
) -> Decision:
    """Decide among finished trials.

    The best finished trial of each strategy stands for it. Of those within the noise of the best
    (how much that is, ``prefer`` says) and clearly cheaper, the one that took the least time wins.

    Args:
        records: all trials that ended.
        labels: ``(n_samples,)`` of the development samples.
        metric: what to compare by.
        profile: of the data set, for the rules of thumb.
        prefer: ``accuracy``, ``balanced`` or ``cheap``.
        seed: of the bootstrap.

    Raises:
        InputError: if no trial finished.
    """
    finished = [record for record in records if record.result is not None]
    if not finished:
        reasons = sorted({record.error or record.state for record in records}) or ["none was run"]
        raise InputError(
            f"no trial finished ({'; '.join(reasons)}); give a larger time budget or fewer folds"
        )
    finalists: dict[str, TrialRecord] = {}
    for record in sorted(finished, key=_score, reverse=True):
        finalists.setdefault(record.strategy, record)
    best = max(finalists.values(), key=_score)
    comparison = _Comparison(labels, metric, seed)
    cheaper = [
        record for record in finalists.values() if record.seconds < CLEARLY_CHEAPER * best.seconds
    ]
    winner = best
    for record in sorted(cheaper, key=lambda record: record.seconds, reverse=True):
        difference, error = comparison(best, record)
        if difference <= STANDARD_ERRORS[prefer] * error:
            winner = record
    chosen_among = finished if winner is best else _of(winner.strategy, finished)
    expected, interval, optimism = _expectation(winner, chosen_among, comparison)
    names = list(dict.fromkeys(record.strategy for record in records))
    summaries = [
        _summarise(name, records, finalists.get(name), winner, comparison) for name in names
    ]
    summaries.sort(key=lambda s: (s.best is None, math.isnan(s.difference), s.difference))
    return Decision(
        winner=winner,
        metric=metric.name,
        expected=expected,
        interval=interval,
        n_validated=len(_result(winner).samples),
        optimism=optimism,
        strategies=tuple(summaries),
        rules=tuple(
            _outcome(rule, figures, finished, comparison) for rule, figures in triggered(profile)
        ),
        notes=tuple(_notes(best, winner, finalists, comparison)),
    )


def _score(record: TrialRecord) -> float:
    """The score to rank by; one that is not a number ranks last."""
    score = _result(record).score
    return -math.inf if math.isnan(score) else score


def _result(record: TrialRecord) -> TrialResult:
    if record.result is None:
        raise ValueError(f"trial {record.number} has no result")
    return record.result


class _Comparison:
    """Difference of two trials' scores and its standard error, on the samples of both."""

    def __init__(self, labels: NDArray[np.int64], metric: Metric, seed: int) -> None:
        self.labels = labels
        self.metric = metric
        self.seed = seed

    def __call__(self, first: TrialRecord, second: TrialRecord) -> tuple[float, float]:
        a, b = _result(first), _result(second)
        if first.number == second.number:
            return 0.0, 0.0
        return paired_difference(
            self.metric, self.labels[a.samples], a.probabilities, b.probabilities, seed=self.seed
        )

    def value(self, record: TrialRecord) -> float:
        result = _result(record)
        return self.metric.value(self.labels[result.samples], result.probabilities)


def _of(strategy: str, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.strategy == strategy]


def _expectation(
    winner: TrialRecord, among: Sequence[TrialRecord], comparison: _Comparison
) -> tuple[float, tuple[float, float], float]:
    """The winner's value on new samples, its interval, and what of its score is optimism.

    The optimism comes of being the best of those that it was chosen among.
    """
    result, metric = _result(winner), comparison.metric
    labels = comparison.labels[result.samples]
    results = [_result(record) for record in among]
    predictions = [r.probabilities for r in results if np.array_equal(r.samples, result.samples)]
    score = metric.score(labels, result.probabilities)
    optimism = score - selected_score(metric, labels, predictions, comparison.seed)
    optimism = max(0.0, optimism) if np.isfinite(optimism) else 0.0
    shift = -optimism if metric.greater_is_better else optimism
    value = comparison.value(winner) + shift
    if metric.name == "accuracy":
        return value, wilson_interval(value, len(labels)), optimism
    low, high = confidence_interval(metric, labels, result.probabilities, seed=comparison.seed)
    return value, (max(0.0, low + shift), high + shift), optimism


def _summarise(
    strategy: str,
    records: Sequence[TrialRecord],
    best: TrialRecord | None,
    winner: TrialRecord,
    comparison: _Comparison,
) -> StrategySummary:
    own = _of(strategy, records)
    states = [record.state for record in own]
    n_complete, n_pruned = states.count("complete"), states.count("pruned")
    nan = float("nan")
    value, interval, difference, error = nan, (nan, nan), nan, nan
    if best is not None:
        result = _result(best)
        value = comparison.value(best)
        interval = confidence_interval(
            comparison.metric,
            comparison.labels[result.samples],
            result.probabilities,
            seed=comparison.seed,
        )
        difference, error = comparison(winner, best)
    return StrategySummary(
        strategy=strategy,
        n_complete=n_complete,
        n_pruned=n_pruned,
        n_other=len(own) - n_complete - n_pruned,
        best=None if best is None else best.number,
        value=value,
        interval=interval,
        seconds=nan if best is None else best.seconds,
        total_seconds=sum(record.seconds for record in own),
        difference=difference,
        standard_error=error,
    )


def _outcome(
    rule: Rule, figures: str, finished: Sequence[TrialRecord], comparison: _Comparison
) -> RuleOutcome:
    def best_where(holds: Callable[[str, Mapping[str, object]], bool]) -> TrialRecord | None:
        chosen = [record for record in finished if holds(record.strategy, record.config)]
        return max(chosen, key=_score, default=None)

    favoured, other = best_where(rule.favours), best_where(rule.against)
    verdict: Literal["held", "overturned", "undecided", "untested"] = "untested"
    if favoured is not None and other is not None:
        difference, error = comparison(favoured, other)
        verdict = "undecided"
        if abs(difference) > _CLEAR * error:
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


def _notes(
    best: TrialRecord,
    winner: TrialRecord,
    finalists: Mapping[str, TrialRecord],
    comparison: _Comparison,
) -> list[str]:
    notes = []
    metric = comparison.metric.name
    if winner.number != best.number:
        difference, error = comparison(best, winner)
        notes.append(
            f"{best.strategy} scored {format_difference(metric, difference, error)} better, within "
            f"the noise, but took {format_seconds(best.seconds)} instead of "
            f"{format_seconds(winner.seconds)}"
        )
    transfer = [record for name, record in finalists.items() if name != "scratch"]
    if "scratch" in finalists and transfer:
        difference, error = comparison(finalists["scratch"], max(transfer, key=_score))
        if difference > _CLEAR * error:
            notes.append(
                "negative transfer: training from scratch is "
                f"{format_difference(metric, difference, error)} better than the best use of "
                "pretrained weights"
            )
    missing = {"scratch", "bottleneck", "finetune"} - set(finalists)
    if missing:
        notes.append(f"no finished trial of: {', '.join(sorted(missing))}")
    return notes
