"""The report's tables: rows of strings and numbers, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotl.analysis.capacity import short_ratio
from autotl.analysis.profile import DatasetProfile
from autotl.analysis.similarity import DomainSimilarity
from autotl.metrics import METRICS
from autotl.recommend import charts
from autotl.recommend.decision import Decision
from autotl.recommend.explain import rank_trials
from autotl.recommend.summary import StrategySummary
from autotl.recommend.words import (
    UNKNOWN,
    describe_config,
    format_difference,
    format_interval,
    format_seconds,
    format_value,
    one_line,
    sentence,
    short_count,
)
from autotl.strategies.base import TrialRecord

MAX_LABELLED_CLASSES = 24
MAX_TRIALS = 300


def strategies(decision: Decision) -> list[dict[str, Any]]:
    """Rows of the comparison, with the places of a bar and its mark in per cent."""
    ends = [end for s in decision.strategies for end in (*s.interval, s.value) if np.isfinite(end)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = max(0.08 * (high - low), 1e-6)
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    def row(summary: StrategySummary) -> dict[str, Any]:
        is_winner = summary.strategy == decision.winner.strategy
        bar = None
        if np.isfinite([*summary.interval, summary.value]).all():
            left, right = map(place, summary.interval)
            bar = {"left": left, "width": round(right - left, 2), "mark": place(summary.value)}
        behind = UNKNOWN
        if is_winner:
            behind = "recommended"
        elif summary.best is not None:
            behind = _behind(decision.metric, summary)
        return {
            "name": summary.strategy,
            "is_winner": is_winner,
            "bar": bar,
            "value": format_value(decision.metric, summary.value),
            "interval": format_interval(decision.metric, summary.interval),
            "behind": behind,
            "seconds": format_seconds(summary.seconds)
            + (f" x {summary.n_seeds} seeds" if summary.n_seeds > 1 else ""),
            "total": format_seconds(summary.total_seconds),
            "n_complete": summary.n_complete,
            "n_pruned": summary.n_pruned,
            "n_other": summary.n_other,
        }

    return [row(summary) for summary in decision.strategies]


def _behind(metric: str, summary: StrategySummary) -> str:
    if not np.isfinite(summary.difference):
        return UNKNOWN
    words = format_difference(metric, abs(summary.difference), summary.standard_error)
    return f"{words} {'ahead' if summary.difference < 0 else 'behind'}"


def trials(
    records: Sequence[TrialRecord], decision: Decision, profile: DatasetProfile
) -> list[dict[str, Any]]:
    """Rows of the leaderboard, the best first, at most :data:`MAX_TRIALS`."""
    metric = decision.metric
    sign = 1.0 if METRICS[metric].greater_is_better else -1.0
    rows = []
    for rank, record in enumerate(rank_trials(records, decision)[:MAX_TRIALS], start=1):
        result = record.result
        backbone = profile.backbones.get(str(record.config.get("backbone")))
        stages = None if backbone is None else backbone.num_stages
        value = float("nan") if result is None else sign * result.score
        value = decision.means.get(record.number, value)
        last = record.curve[-1] if record.curve else None
        state = "out of time" if record.state == "deadline" else record.state
        if record.number in decision.n_seeds:
            state = f"{state}, mean of {decision.n_seeds[record.number]} seeds"
        if result is None and last is not None:
            reached = format_value(metric, sign * last.score)
            state = f"{state} at {reached}" if reached != UNKNOWN else state
        rows.append(
            {
                "rank": "" if result is None else rank,
                "number": record.number,
                "strategy": record.strategy,
                "settings": describe_config(record.strategy, record.config, num_stages=stages),
                "state": state,
                "error": record.error or "",
                "value": format_value(metric, value),
                "value_key": f"{value:.6g}",
                "seconds": format_seconds(record.seconds),
                "seconds_key": f"{record.seconds:.6g}",
                "images_per_s": _whole(record.figures.get("images_per_s", 0.0)),
                "images_per_s_key": f"{record.figures.get('images_per_s', 0.0):.6g}",
                "saved": format_seconds(record.figures.get("saved_seconds", 0.0)),
                "saved_key": f"{record.figures.get('saved_seconds', 0.0):.6g}",
                "n_trainable": UNKNOWN if result is None else short_count(result.n_trainable),
                "n_trainable_key": "nan" if result is None else result.n_trainable,
                "is_winner": record.number == decision.winner.number,
            }
        )
    return rows


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value else UNKNOWN


def rules(decision: Decision) -> list[dict[str, str]]:
    """What became of each rule of thumb, the overturned ones first."""
    order = ("overturned", "held", "undecided", "untested")
    return [
        {
            "name": rule.name,
            "advice": sentence(rule.advice),
            "source": rule.source,
            "figures": rule.figures,
            "verdict": rule.verdict,
            "favoured": format_value(decision.metric, rule.favoured),
            "others": format_value(decision.metric, rule.others),
        }
        for rule in sorted(decision.rules, key=lambda rule: order.index(rule.verdict))
    ]


def data(profile: DatasetProfile) -> dict[str, Any]:
    """Facts of the data set; its classes by name if they are few, as a chart otherwise."""
    classes = class_bars(profile)
    many = len(classes) > MAX_LABELLED_CLASSES
    return {
        "facts": facts(profile),
        "classes": [] if many else classes,
        "chart": charts.class_counts(profile.size.samples_per_class) if many else "",
        "extremes": [classes[:3], classes[-3:]] if many else [],
    }


def facts(profile: DatasetProfile) -> list[tuple[str, str]]:
    """What was counted and measured, by name."""
    size = profile.size
    width, height = size.median_size
    smallest, largest = size.size_range
    folds = f"{profile.n_folds}-fold cross-validation" if profile.n_folds > 1 else "hold-out"
    return [
        ("Development images", f"{size.n_samples:,}"),
        ("Locked test images", f"{size.n_test:,}"),
        ("Classes", f"{size.n_classes:,}"),
        ("Largest : smallest class", f"{size.imbalance:.1f} : 1"),
        ("Validation", folds),
        ("Median picture", f"{width:,} x {height:,} pixels"),
        ("Sides", f"{smallest:,} to {largest:,} pixels"),
        ("Without colour", f"{100 * size.grey_share:.0f} %"),
        ("Exact duplicates", f"{size.n_duplicates:,}"),
        *_more_facts(profile),
        ("Left out as unreadable", f"{profile.n_quarantined:,}"),
        ("Fingerprint", profile.fingerprint[:16]),
    ]


def class_bars(profile: DatasetProfile) -> list[tuple[str, int, float]]:
    """Name, images, and length of a bar in per cent of each class, the largest first."""
    counts = profile.size.samples_per_class
    names = [one_line(name) for name in profile.class_names]
    most = max([1, *counts])
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    return [(names[i], counts[i], round(100 * counts[i] / most, 1)) for i in order]


def _more_facts(profile: DatasetProfile) -> list[tuple[str, str]]:
    """What was measured beyond counting, where it was."""
    facts, size = [], profile.size
    if size.side_quantiles:
        sides, aspects = size.side_quantiles, size.aspect_quantiles
        facts.append(("Shorter side, of nine in ten", f"{sides[0]:,} to {sides[-1]:,} pixels"))
        facts.append(("Width : height, of nine in ten", f"{aspects[0]:.2f} to {aspects[-1]:.2f}"))
    if size.n_distinct is not None:
        facts.append(("Different pictures to learn from", f"{size.n_distinct:,}"))
    facts += [("Near-duplicates", told) for told in profile.not_looked_for]
    if profile.sufficiency is not None:
        facts.append(("Learning curve", str(profile.sufficiency.learning_curve)))
    return facts


def backbones(profile: DatasetProfile) -> list[dict[str, str]]:
    """The candidate backbones and how close the data set is to what they know."""
    rows = []
    for name, backbone in profile.backbones.items():
        similarity = backbone.similarity
        words = f"unknown: {similarity.reason}" if similarity.reason else "unknown"
        if similarity.value is not None:
            words = f"{similarity.value:.2f}"
            if similarity.interval is not None:
                low, high = similarity.interval
                words += f" ({low:.2f} to {high:.2f})"
        rows.append(
            {
                "name": name,
                "n_parameters": short_count(backbone.n_parameters),
                "num_stages": str(backbone.num_stages),
                "image_size": f"{backbone.image_size} px",
                "ratio": short_ratio(backbone.samples_per_parameter),
                "distance": UNKNOWN
                if similarity.distance is None
                else f"{similarity.distance:.3f}",
                "similarity": words,
                "reference": _from_reference(similarity),
            }
        )
    return rows


def _from_reference(similarity: DomainSimilarity) -> str:
    """Fréchet and class distance from reference statistics, or why there is none."""
    source = similarity.source
    if source is None:
        return similarity.note or UNKNOWN
    told = f"{source.frechet:.2f}"
    return told if source.prototypes is None else f"{told} ({source.prototypes:.2f})"
