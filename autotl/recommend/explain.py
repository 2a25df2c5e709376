"""The decision in plain sentences, and all trials as a table."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from autotl.analysis.profile import DatasetProfile
from autotl.metrics import METRICS
from autotl.recommend.decision import Decision, TestScore
from autotl.recommend.outcomes import RuleOutcome
from autotl.recommend.summary import StrategySummary
from autotl.recommend.verdict import verdict
from autotl.recommend.words import (
    UNIT,
    counted,
    describe_config,
    format_difference,
    format_interval,
    format_seconds,
    format_value,
    metric_words,
    sentence,
)
from autotl.strategies.base import TrialRecord

__all__ = ["describe_config", "describe_winner", "explain", "leaderboard"]

WIDTH = 88

_BASE_COLUMNS = (
    "rank",
    "trial",
    "strategy",
    "backbone",
    "state",
    "value",
    "accuracy",
    "balanced_accuracy",
    "seconds",
    "n_trainable",
    "images_per_s",
    "saved_seconds",
    "n_seeds",
)
_SEEN = 0.0005
"""A difference from which on figures show it."""
_OUTCOMES = (
    ("held", "Rules of thumb that held"),
    ("overturned", "Overturned by the trials"),
    ("undecided", "Within the noise, so undecided"),
    ("untested", "Not put to the test"),
)


def explain(
    decision: Decision, profile: DatasetProfile, test: TestScore | None, *, seconds: float
) -> str:
    """What to use, how good it will be, what else was tried, and which rules of thumb held.

    Args:
        decision: the verdict.
        profile: of the data set.
        test: score on the locked test set; None without one.
        seconds: that everything took.

    Returns:
        Sentences in lines of at most 88 characters. Lines of the table start with four spaces,
        findings with ``- ``, and their further lines with two spaces.
    """
    n_trials = sum(s.n_complete + s.n_pruned + s.n_other for s in decision.strategies)
    found = verdict(decision, profile)
    blocks = [
        _fill(sentence(found.headline)),
        "",
        _fill(f"Recommended: {sentence(describe_winner(decision, profile))}"),
        "",
        _fill(" ".join([_expected(decision, profile), *_tested(decision, test)])),
        "",
        f"What each strategy reached (* recommended; {counted(n_trials, 'trial')} and everything "
        f"else took {format_seconds(seconds)}):",
        *_strategy_lines(decision),
    ]
    said = [sentence(found.more_data)] if found.more_data else []
    said += [*_seed_lines(decision), *_rule_lines(decision)]
    said += [sentence(note) for note in decision.notes]
    if said:
        blocks += ["", *(_fill(f"- {line}", indent="  ") for line in said)]
    return "\n".join(blocks)


def describe_winner(decision: Decision, profile: DatasetProfile) -> str:
    """The recommended trial's config in words."""
    winner = decision.winner
    backbone = profile.backbones.get(str(winner.config.get("backbone")))
    stages = None if backbone is None else backbone.num_stages
    return describe_config(winner.strategy, winner.config, num_stages=stages)


def _fill(words: str, indent: str = "") -> str:
    """Wrapped, but not between a figure and its unit."""
    filled = textwrap.fill(
        re.sub(UNIT, "\u00a0", words),
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent=indent,
    )
    return filled.replace("\u00a0", " ")


def _expected(decision: Decision, profile: DatasetProfile) -> str:
    value = format_value(decision.metric, decision.expected)
    interval = format_interval(decision.metric, decision.interval)
    samples = counted(decision.n_validated, "image")
    if profile.n_folds > 1:
        basis = f"{profile.n_folds}-fold cross-validation on {samples}"
    else:
        basis = f"{samples} held out for validation"
    return (
        f"Expect {metric_words(decision.metric)} of {value} "
        f"(95 % interval {interval}), from {basis}{_changes(decision)}."
    )


def _changes(decision: Decision) -> str:
    """What was taken off the winner's score and added to it, if that is seen in the figures."""
    found = ""
    if decision.optimism >= _SEEN:
        taken = format_difference(decision.metric, decision.optimism)
        found += f", {taken} taken off for having been chosen as the best there"
    if decision.growth >= _SEEN:
        added = format_difference(decision.metric, decision.growth)
        found += (
            f"{' and' if found else ','} {added} added as the final model learns from all images"
        )
    return found


def _tested(decision: Decision, test: TestScore | None) -> list[str]:
    if test is None:
        return ["There is no test set to confirm it."]
    value = format_value(test.metric, test.value)
    interval = format_interval(test.metric, test.interval)
    said = (
        f"On {counted(len(test.labels), 'locked test image')}, looked at once after the "
        f"decision, the final model reached {value} ({interval})"
    )
    return [f"{said}{_against_expected(decision, test)}.", *_calibration(test)]


def _calibration(test: TestScore) -> list[str]:
    error = test.metrics.get("expected_calibration_error", float("nan"))
    if not np.isfinite(error):
        return []
    return [
        f"Its probabilities differ there by {100 * error:.1f} points on average from how often "
        "they are right (expected calibration error)."
    ]


def _against_expected(decision: Decision, test: TestScore) -> str:
    low, high = decision.interval
    if test.metric != decision.metric or not np.isfinite([low, high, test.value]).all():
        return ""
    if low <= test.value <= high:
        return ", inside the expected interval"
    greater_is_better = METRICS[decision.metric].greater_is_better
    better = (test.value > high) == greater_is_better
    overlap = test.interval[0] <= high and test.interval[1] >= low
    side = "above" if test.value > high else "below"
    if overlap:
        reason = "the two intervals overlap, so chance may explain it"
    elif better:
        reason = "more than chance explains: the test images may be easier than the others"
    else:
        reason = (
            "more than chance explains: the test images may differ from the others, and the "
            "best of many trials looks better than it is"
        )
    return f". That is {side} the expected interval; {reason}"


def _strategy_lines(decision: Decision) -> list[str]:
    rows = [_strategy_cells(decision, summary) for summary in decision.strategies]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f"    {'  '.join(cells)}".rstrip())
    return lines


def _strategy_cells(decision: Decision, summary: StrategySummary) -> tuple[str, str, str, str, str]:
    """Mark and name, value, interval, cost of the best trial, and of all."""
    mark = "*" if summary.strategy == decision.winner.strategy else " "
    name = f"{mark} {summary.strategy}"
    n_trials = summary.n_complete + summary.n_pruned + summary.n_other
    tried = f"{counted(n_trials, 'trial')} {format_seconds(summary.total_seconds)}"
    if summary.best is None:
        return name, "", "none finished", "", tried
    return (
        name,
        format_value(decision.metric, summary.value),
        f"({format_interval(decision.metric, summary.interval)})",
        f"best trial {format_seconds(summary.seconds)}{_seeds(summary)},",
        tried,
    )


def _seeds(summary: StrategySummary) -> str:
    return f" x {summary.n_seeds} seeds" if summary.n_seeds > 1 else ""


def _seed_lines(decision: Decision) -> list[str]:
    n_seeds = max(s.n_seeds for s in decision.strategies)
    if decision.seed_deviation is None or n_seeds < 2:
        return []
    deviation = format_difference(decision.metric, decision.seed_deviation)
    n_trials = len(decision.means)
    which = f"the {n_trials} best trained trials" if n_trials > 1 else "the best trained trial"
    return [
        sentence(
            f"{which} ran with {n_seeds} seeds, the mean of which counts; from seed to seed the "
            f"same settings differ by {deviation} (standard deviation)"
        )
    ]


def _rule_lines(decision: Decision) -> list[str]:
    lines = []
    for outcome, title in _OUTCOMES:
        outcomes = [rule for rule in decision.rules if rule.verdict == outcome]
        if outcomes:
            said = "; ".join(_rule_words(rule, decision.metric) for rule in outcomes)
            lines.append(f"{title}: {said}.")
    return lines


def _rule_words(rule: RuleOutcome, metric: str) -> str:
    if rule.favoured is None or rule.others is None:
        return rule.name
    with_it, without = format_value(metric, rule.favoured), format_value(metric, rule.others)
    return f"{rule.name} ({with_it} against {without})"


def leaderboard(records: Sequence[TrialRecord], decision: Decision | None) -> pd.DataFrame:
    """All trials as a table, the best first, those that didn't finish last.

    Args:
        records: trials that ended.
        decision: names the metric; None (no trial finished): ``value`` is missing everywhere.

    Returns:
        A row per trial: ``rank`` (missing unless complete), ``trial``, ``strategy``,
        ``backbone``, ``state``, ``value`` (of the deciding metric, whose name is in
        ``attrs["metric"]``; the mean over ``n_seeds``), ``accuracy``, ``balanced_accuracy``,
        ``seconds``, ``n_trainable``, ``images_per_s`` (trained pictures by the trial's seconds),
        ``saved_seconds`` (about what reading activations instead of computing them saved),
        ``n_seeds``, and the config as ``config.*``.
    """
    metric = None if decision is None else decision.metric
    keys = sorted({key for record in records for key in record.config} - {"backbone"})
    columns = [*_BASE_COLUMNS, *(f"config.{key}" for key in keys)]
    ordered = rank_trials(records, decision)
    rows = []
    for rank, record in enumerate(ordered, start=1):
        result = record.result
        metrics = {} if result is None else result.metrics
        value = np.nan
        if result is not None and metric is not None:
            sign = 1.0 if METRICS[metric].greater_is_better else -1.0
            value = metrics.get(metric, sign * result.score)
        if decision is not None:
            value = decision.means.get(record.number, value)
        rows.append(
            {
                "rank": None if result is None else rank,
                "trial": record.number,
                "strategy": record.strategy,
                "backbone": record.config.get("backbone"),
                "state": record.state,
                "value": value,
                "accuracy": metrics.get("accuracy", np.nan),
                "balanced_accuracy": metrics.get("balanced_accuracy", np.nan),
                "seconds": record.seconds,
                "n_trainable": None if result is None else result.n_trainable,
                "images_per_s": record.figures.get("images_per_s", np.nan),
                "saved_seconds": record.figures.get("saved_seconds", np.nan),
                "n_seeds": 1 if decision is None else decision.n_seeds.get(record.number, 1),
            }
            | {f"config.{key}": record.config.get(key) for key in keys}
        )
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    types = {"rank": "Int64", "trial": "int64", "n_trainable": "Int64", "value": "float64"}
    types["n_seeds"] = "int64"
    types |= dict.fromkeys(("accuracy", "balanced_accuracy", "seconds"), "float64")
    types |= dict.fromkeys(("images_per_s", "saved_seconds"), "float64")
    for key in keys:  # numbers as numbers: a missing value would make 20 epochs an object
        kinds = {type(value) for value in frame[f"config.{key}"].dropna()}
        if kinds and kinds <= {int, float}:
            types[f"config.{key}"] = "Int64" if kinds == {int} else "float64"
    frame = frame.astype(types)
    frame.attrs["metric"] = metric
    return frame


def rank_trials(
    records: Sequence[TrialRecord], decision: Decision | None = None
) -> list[TrialRecord]:
    """The best first; a score that is NaN comes after all others, then trials without result.

    Of a trial that was run with several seeds, the mean counts.
    """
    means = {} if decision is None else decision.means
    sign = 1.0 if decision is None or METRICS[decision.metric].greater_is_better else -1.0

    def key(record: TrialRecord) -> tuple[int, float, int]:
        if record.result is None:
            return 2, 0.0, record.number
        score = record.result.score
        if record.number in means:
            score = sign * means[record.number]
        if np.isnan(score):
            return 1, 0.0, record.number
        return 0, -score, record.number

    return sorted(records, key=key)
