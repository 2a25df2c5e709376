"""From finished trials to a decision: who won, by how much, how sure, and which rules held."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.profile import DatasetProfile
from autotl.analysis.rules import triggered
from autotl.config import STRATEGY_NAMES
from autotl.errors import InputError
from autotl.metrics import Metric
from autotl.recommend.comparison import CLEAR, Comparison, holm, result_of
from autotl.recommend.cost import Cost, measured_cost, ratio
from autotl.recommend.growth import KNOWN, Growth
from autotl.recommend.outcomes import RuleOutcome, rule_outcome
from autotl.recommend.selection import selected_score
from autotl.recommend.summary import StrategySummary, mean_interval, summarise
from autotl.recommend.words import format_difference, format_seconds
from autotl.strategies.base import TrialRecord
from autotl.uncertainty import contributions, design_effect, wilson_interval

Prefer = Literal["accuracy", "balanced", "cheap"]

STANDARD_ERRORS: Mapping[Prefer, float] = {"accuracy": 0.0, "balanced": 1.0, "cheap": CLEAR}
"""How many standard errors below the best a cheaper strategy may score and still be taken: the
one-standard-error rule (Breiman et al. 1984) for ``balanced``, the noise for ``cheap``."""

CLEARLY_CHEAPER = 0.8
"""A strategy is preferred for its cost if that is less than this share of the best one's, see
:meth:`autotl.recommend.cost.Cost.by`."""

_MAX_NAMED = 8


@dataclass(frozen=True)
class Decision:
    """The verdict.

    Attributes:
        winner: the recommended trial.
        metric: name of the metric that decided.
        expected: the winner's value to expect on new samples: that on validation samples, less
            what comes of having been chosen as the best there, and with what learning from all
            samples brings.
        interval: 95 % interval of it.
        n_validated: samples that it rests on.
        optimism: what was taken off the winner's score on validation samples.
        growth: what was added to it, 0 where the model isn't trained anew.
        means: by number of a trial that was run with several seeds, the metric's mean value.
        n_seeds: by the same number, of how many.
        seed_deviation: of the score from seed to seed; None: no trial was run with several.
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
    growth: float = 0.0
    means: Mapping[int, float] = field(default_factory=dict)
    n_seeds: Mapping[int, int] = field(default_factory=dict)
    seed_deviation: float | None = None


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
    *,
    repeats: Sequence[TrialRecord] = (),
    worth: Mapping[int, float] | None = None,
    strategies: Sequence[str] = STRATEGY_NAMES,
    groups: NDArray[np.int64] | None = None,
    deliverable: Container[int] | None = None,
    costs: Mapping[int, Cost] | None = None,
) -> Decision:
    """Decide among finished trials.

    The best finished trial of each strategy stands for it; of those that were run with several
    seeds, the best on average. Of those within the noise of the best (how much that is, ``prefer``
    says) and clearly cheaper to train and to predict with, the cheapest wins.

    Args:
        records: all trials that ended.
        labels: ``(n_samples,)`` of the development samples.
        metric: what to compare by.
        profile: of the data set, for the rules of thumb and what a prediction costs.
        prefer: ``accuracy``, ``balanced`` or ``cheap``.
        seed: of the bootstrap.
        repeats: further runs of trials with other seeds. Of a trial that failed with one, another
            is taken if there is any.
        worth: by number of a trial, the score to rank it by in place of the mean over its runs.
        strategies: names of those that were to be tried.
        groups: ``(n_samples,) int64``, which group each sample is of; None: they are independent.
        deliverable: numbers of the trials that a model is there of, where none can be trained any
            more: one of these wins, if there is any. None: all.
        costs: of finished trials by rule, by number, where no clock may decide; None: as measured.

    Raises:
        InputError: if no trial finished.
    """

    def is_deliverable(record: TrialRecord) -> bool:
        return deliverable is None or record.number in deliverable

    def cost_of(record: TrialRecord) -> Cost:
        return measured_cost(record, profile) if costs is None else costs[record.number]

    finished = [record for record in records if record.result is not None]
    if not finished:
        raise InputError(f"no trial finished{_reasons(records)}")
    comparison = Comparison(finished, labels, metric, profile.n_folds, repeats, worth, seed, groups)
    finalists: dict[str, TrialRecord] = {}
    for record in sorted(
        finished, key=lambda r: (is_deliverable(r), comparison.rank(r)), reverse=True
    ):
        finalists.setdefault(record.strategy, record)
    able = [r for r in finalists.values() if is_deliverable(r)] or list(finalists.values())
    best = max(able, key=lambda r: (not comparison.failures(r), comparison.score(r)))
    winner = _cheapest(able, best, comparison, cost_of, STANDARD_ERRORS[prefer])
    chosen_among = finished if winner is best else _of(winner.strategy, finished)
    validated, interval, optimism = _expectation(winner, chosen_among, comparison)
    grown = _growth(winner, comparison, profile) if deliverable is None else Growth()
    expected, interval = grown.applied(metric, validated, interval, len(result_of(winner).samples))
    sign = 1.0 if metric.greater_is_better else -1.0
    names = list(dict.fromkeys(record.strategy for record in records))
    summaries = [
        summarise(name, records, finalists.get(name), winner, comparison, profile, cost_of)
        for name in names
    ]
    summaries.sort(key=lambda s: (s.best is None, math.isnan(s.difference), s.difference))
    rivals = [s for s in summaries if s.best not in (None, winner.number)]
    clear = holm([s.difference for s in rivals], [s.standard_error for s in rivals])
    is_clear = {s.strategy: found for s, found in zip(rivals, clear, strict=True)}
    repeated = [record for record in finished if len(comparison.runs(record)) > 1]
    return Decision(
        winner=winner,
        metric=metric.name,
        expected=expected,
        interval=interval,
        n_validated=len(result_of(winner).samples),
        optimism=optimism,
        growth=sign * (expected - validated),
        strategies=tuple(replace(s, is_clear=is_clear.get(s.strategy, False)) for s in summaries),
        rules=tuple(
            rule_outcome(rule, figures, comparison) for rule, figures in triggered(profile)
        ),
        notes=(
            *_notes_of_cost(best, winner, comparison, cost_of, by_rule=costs is not None),
            *_notes(best, winner, finalists, comparison, names, strategies),
        ),
        means={record.number: comparison.value(record) for record in repeated},
        n_seeds={record.number: len(comparison.runs(record)) for record in repeated},
        seed_deviation=comparison.seed_deviation,
    )


def _reasons(records: Sequence[TrialRecord]) -> str:
    """Which trials there were and how each ended, those that ended alike together."""
    if not records:
        return ": none was run; give a larger time budget"
    alike: dict[tuple[str, str], list[int]] = {}
    for record in records:
        reason = f"{record.state}, {record.error}" if record.error else record.state
        alike.setdefault((record.strategy, reason), []).append(record.number)
    lines = [
        f"  {strategy}, {'trial' if len(numbers) == 1 else 'trials'} "
        f"{', '.join(map(str, numbers[:_MAX_NAMED]))}{' ...' * (len(numbers) > _MAX_NAMED)}: {why}"
        for (strategy, why), numbers in alike.items()
    ]
    return "\n".join([":", *lines, "Give a larger time budget, a smaller backbone or fewer folds"])


def _cheapest(
    finalists: Iterable[TrialRecord],
    best: TrialRecord,
    comparison: Comparison,
    cost_of: Callable[[TrialRecord], Cost],
    standard_errors: float,
) -> TrialRecord:
    """The cheapest that is so near the best and clearly cheaper; the best if there is none."""

    def is_near(record: TrialRecord) -> bool:
        _, error = comparison(best, record)
        near = comparison.behind(record, best) <= standard_errors * error
        return near and not comparison.failures(record)

    costs = [(cost_of(record).by(cost_of(best)), record) for record in finalists]
    cheaper = [(c, record) for c, record in costs if c < CLEARLY_CHEAPER and is_near(record)]
    return min(cheaper, key=lambda found: found[0], default=(1.0, best))[1]


def _of(strategy: str, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.strategy == strategy]


def _expectation(
    winner: TrialRecord, among: Sequence[TrialRecord], comparison: Comparison
) -> tuple[float, tuple[float, float], float]:
    """The winner's value on new samples, its interval, and what of its score is optimism.

    The optimism comes of being the best of those that it was chosen among.
    """
    result, metric = result_of(winner), comparison.metric
    labels = comparison.labels[result.samples]
    same = [r for r in among if np.array_equal(result_of(r).samples, result.samples)]
    predictions = [[run.probabilities for run in comparison.runs(record)] for record in same]
    score = float(np.mean([run.score for run in comparison.runs(winner)]))
    optimism = score - selected_score(metric, labels, predictions, comparison.seed)
    optimism = max(0.0, optimism) if np.isfinite(optimism) else 0.0
    value = comparison.value(winner) + (-optimism if metric.greater_is_better else optimism)
    if metric.name != "log_loss":
        value = min(1.0, max(0.0, value))
    low, high = mean_interval(winner, comparison)
    shift = value - comparison.value(winner)
    if metric.name == "accuracy":
        shares = contributions(metric, labels, result.probabilities)
        effect = design_effect(comparison.groups_of(result), shares - shares.mean())
        return value, wilson_interval(value, max(1.0, len(labels) / effect)), optimism
    return value, (max(0.0, low + shift), high + shift), optimism


def _growth(winner: TrialRecord, comparison: Comparison, profile: DatasetProfile) -> Growth:
    """What the winner's score gains once its model has learnt from all samples."""
    n_trained = comparison.n_trained(winner)
    if not n_trained:
        return Growth()
    curve = None if profile.sufficiency is None else profile.sufficiency.learning_curve
    return Growth.expected(n_trained, len(comparison.labels), curve, KNOWN)


def _notes_of_cost(
    best: TrialRecord,
    winner: TrialRecord,
    comparison: Comparison,
    cost_of: Callable[[TrialRecord], Cost],
    *,
    by_rule: bool,
) -> list[str]:
    """Why the winner isn't the one that scored best, if so."""
    if winner.number == best.number:
        return []
    difference, error = comparison(best, winner)
    words = format_difference(comparison.metric.name, difference, error)
    scored = f"{words} better, within the noise" if difference > 0 else "no better"
    slow, fast = cost_of(best), cost_of(winner)
    is_slower_to_predict = fast.predict_s < CLEARLY_CHEAPER * slow.predict_s
    if by_rule:
        dearer = f"takes {ratio(slow.train_s, fast.train_s):.2g} times as long to train"
        if is_slower_to_predict:
            dearer += (
                f" and {ratio(slow.predict_s, fast.predict_s):.2g} times as long to predict with"
            )
        dearer += ", by the size and the epochs"
    else:
        dearer = f"took {format_seconds(slow.train_s)} instead of {format_seconds(fast.train_s)}"
        if is_slower_to_predict:
            slow_ms, fast_ms = 1e3 * slow.predict_s, 1e3 * fast.predict_s
            dearer += (
                f", and takes {slow_ms:.2g} ms instead of {fast_ms:.2g} ms to predict a picture"
            )
    return [f"{best.strategy} scored {scored}, but {dearer}"]


def _notes(
    best: TrialRecord,
    winner: TrialRecord,
    finalists: Mapping[str, TrialRecord],
    comparison: Comparison,
    begun: Sequence[str],
    strategies: Sequence[str],
) -> list[str]:
    notes = []
    lucky = max(comparison.finished, key=comparison.value_rank)
    ahead, error = comparison(lucky, winner)
    if comparison.is_shrunk and lucky.number not in (best.number, winner.number) and ahead > 0:
        notes.append(
            f"trial {lucky.number} ({lucky.strategy}) validated "
            f"{format_difference(comparison.metric.name, ahead, error)} better; beside what "
            "settings like these reached elsewhere, that is taken for luck"
        )
    for record in comparison.finished:
        for failure in comparison.failures(record):
            notes.append(
                f"trial {record.number} ({record.strategy}) failed with another seed "
                f"({failure.error or failure.state}), which counts against it"
            )
    unfinished = [name for name in begun if name not in finalists]
    if unfinished:
        notes.append(f"no finished trial of: {', '.join(unfinished)}")
    untried = sorted(set(strategies) - set(begun))
    if untried:
        notes.append(
            f"not tried, as other trials promised more for their time: {', '.join(untried)}"
        )
    return notes
