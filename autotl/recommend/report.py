"""The report: one self-contained HTML file with the verdict, its evidence and what it rests on."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from autotl.analysis.profile import DatasetProfile
from autotl.metrics import METRICS
from autotl.recommend import charts
from autotl.recommend.confusion import confusion_view
from autotl.recommend.decision import Decision, StrategySummary, TestScore
from autotl.recommend.explain import describe_winner, rank_trials
from autotl.recommend.words import (
    UNKNOWN,
    describe_config,
    format_difference,
    format_interval,
    format_seconds,
    format_value,
    in_nats,
    metric_words,
    one_line,
    sentence,
    short_count,
)
from autotl.strategies.base import TrialRecord

MAX_SAMPLES = 60
MAX_LABELLED_CLASSES = 24
MAX_TRIALS = 300

_THUMBNAIL_PIXELS = 192
_HEADLINES = {
    "finetune": "Fine-tune",
    "bottleneck": "Classify the frozen features of",
    "scratch": "Train from scratch the architecture of",
}


@dataclass(frozen=True)
class SamplePicture:
    """A picture with what the model says of it.

    Attributes:
        pixels: ``(h, w, 3) uint8``.
        name: that a person finds it by.
        label: its class.
        predicted: the class predicted.
        probability: of the predicted class, in [0, 1].
    """

    pixels: NDArray[np.uint8]
    name: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class ReportContents:
    """What goes into a report.

    Attributes:
        title: of the page.
        explanation: by :func:`autotl.recommend.explain.explain`.
        decision: the verdict.
        profile: of the data set.
        records: all trials that ended.
        labels: ``(n_samples,) int64`` of the development samples.
        test: score on the locked test set, None without one.
        samples: pictures with predictions; at most :data:`MAX_SAMPLES` are shown.
        environment: versions, device, seed and the like, by name.
        seconds: that everything took.
        tracking_hint: how to open the tracked trials, e.g. a command; may be empty.
    """

    title: str
    explanation: str
    decision: Decision
    profile: DatasetProfile
    records: Sequence[TrialRecord]
    labels: NDArray[np.int64]
    test: TestScore | None
    samples: tuple[SamplePicture, ...]
    environment: Mapping[str, str]
    seconds: float
    tracking_hint: str


def write_report(file: Path, contents: ReportContents) -> Path:
    """Write the report as one HTML file that loads nothing else.

    The file is written beside its place and then moved, so that it is whole or not there.

    Args:
        file: where; its folder must exist.
        contents: what.

    Returns:
        ``file``.
    """
    page = render_report(contents)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.write(page)
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return file


def render_report(contents: ReportContents) -> str:
    """The page as a string."""
    environment = Environment(
        loader=PackageLoader("autotl.recommend", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(_view(contents))


def _view(contents: ReportContents) -> dict[str, Any]:
    """Everything that the template shows, as strings and numbers."""
    decision, profile = contents.decision, contents.profile
    metric = decision.metric
    return {
        "title": one_line(contents.title),
        "metric": metric_words(metric),
        "headline": _HEADLINES.get(decision.winner.strategy, decision.winner.strategy),
        "backbone": str(decision.winner.config.get("backbone", "")),
        "winner": decision.winner.strategy,
        "settings": sentence(describe_winner(decision, profile)),
        "tiles": _tiles(contents),
        "explanation": _paragraphs(contents.explanation),
        "notes": [sentence(note) for note in decision.notes],
        "strategies": _strategies(decision),
        "curves": Markup(charts.learning_curves(contents.records, decision)),  # noqa: S704
        "cost": Markup(charts.score_against_cost(contents.records, decision)),  # noqa: S704
        "trials": _trials(contents),
        "n_trials": len(contents.records),
        "rules": _rules(decision),
        "confusion": _confusion(contents),
        "samples": [_sample(sample) for sample in contents.samples[:MAX_SAMPLES]],
        "data": _data(profile),
        "backbones": _backbones(profile),
        "stages": Markup(  # noqa: S704
            charts.stage_distances(
                {name: b.similarity.per_stage for name, b in profile.backbones.items()}
            )
        ),
        "environment": dict(contents.environment),
        "tracking_hint": contents.tracking_hint,
        "colours": {
            record.strategy: charts.colour_of(record.strategy) for record in contents.records
        },
    }


def _tiles(contents: ReportContents) -> list[tuple[str, str, str]]:
    """Caption, figure and small print of the figures under the verdict."""
    decision, test = contents.decision, contents.test
    size = contents.profile.size
    tiles = [
        (
            f"expected {metric_words(decision.metric)}",
            format_value(decision.metric, decision.expected),
            f"95 % interval {format_interval(decision.metric, decision.interval)}",
        )
    ]
    if test is not None:
        tiles.append(
            (
                f"test {metric_words(test.metric)}",
                format_value(test.metric, test.value),
                f"{format_interval(test.metric, test.interval)}, {len(test.labels):,} images",
            )
        )
    tiles.append(("data", f"{size.n_samples:,}", f"images in {size.n_classes:,} classes"))
    n_trials = len(contents.records)
    trials = "1 trial" if n_trials == 1 else f"{n_trials:,} trials"
    tiles.append(("time", format_seconds(contents.seconds), f"for {trials} and all else"))
    return tiles


def _paragraphs(explanation: str) -> list[tuple[str, str]]:
    """The explanation as (kind, text): ``p``, ``li`` or ``pre``; see ``explain`` for its lines."""
    found: list[tuple[str, str]] = []
    previous = ""
    for line in explanation.splitlines():
        if not line.strip():
            previous = ""
        elif line.startswith("    "):
            if previous == "pre":
                line = f"{found.pop()[1]}\n{line[4:]}"
            else:
                line = line[4:]
            found.append(("pre", line))
            previous = "pre"
        elif line.startswith("- "):
            found.append(("li", line[2:]))
            previous = "li"
        elif previous in {"p", "li"}:
            kind, text = found.pop()
            found.append((kind, f"{text} {line.strip()}"))
        else:
            found.append(("p", line))
            previous = "p"
    return found


def _strategies(decision: Decision) -> list[dict[str, Any]]:
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
            "seconds": format_seconds(summary.seconds),
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


def _trials(contents: ReportContents) -> list[dict[str, Any]]:
    metric = contents.decision.metric
    sign = 1.0 if METRICS[metric].greater_is_better else -1.0
    rows = []
    for rank, record in enumerate(rank_trials(contents.records)[:MAX_TRIALS], start=1):
        result = record.result
        backbone = contents.profile.backbones.get(str(record.config.get("backbone")))
        stages = None if backbone is None else backbone.num_stages
        value = float("nan") if result is None else sign * result.score
        last = record.curve[-1] if record.curve else None
        state = record.state
        if result is None and last is not None:
            reached = format_value(metric, sign * last.score)
            state = f"{state} at {reached}" if reached != UNKNOWN else state
        rows.append(
            {
                "rank": "" if result is None else rank,
                "number": record.number,
                "strategy": record.strategy,
                "settings": describe_config(record.strategy, record.config, num_stages=stages),
                "advice": ", ".join(record.advice),
                "state": state,
                "error": record.error or "",
                "value": format_value(metric, value),
                "value_key": f"{value:.6g}",
                "seconds": format_seconds(record.seconds),
                "seconds_key": f"{record.seconds:.6g}",
                "n_trainable": UNKNOWN if result is None else short_count(result.n_trainable),
                "n_trainable_key": "nan" if result is None else result.n_trainable,
                "is_winner": record.number == contents.decision.winner.number,
            }
        )
    return rows


def _rules(decision: Decision) -> list[dict[str, str]]:
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


def _confusion(contents: ReportContents) -> dict[str, Any]:
    if contents.test is not None and len(contents.test.labels):
        labels, probabilities = contents.test.labels, contents.test.probabilities
        where = f"{len(labels):,} locked test images"
    else:
        result = contents.decision.winner.result
        if result is None:
            return {}
        labels, probabilities = contents.labels[result.samples], result.probabilities
        where = f"{len(labels):,} validation images of the recommended trial"
    names = [one_line(name) for name in contents.profile.class_names]
    return confusion_view(labels, probabilities, names, where)


def _sample(sample: SamplePicture) -> dict[str, Any]:
    picture = Image.fromarray(np.ascontiguousarray(sample.pixels))
    picture.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    known = np.isfinite(sample.probability)
    return {
        "data": base64.b64encode(buffer.getvalue()).decode("ascii"),
        "is_small": max(picture.size) < 96,
        "name": one_line(sample.name),
        "label": one_line(sample.label),
        "predicted": one_line(sample.predicted),
        "probability": f"{100 * sample.probability:.0f} %" if known else UNKNOWN,
        "is_right": sample.label == sample.predicted,
    }


def _data(profile: DatasetProfile) -> dict[str, Any]:
    size = profile.size
    width, height = size.median_size
    smallest, largest = size.size_range
    folds = f"{profile.n_folds}-fold cross-validation" if profile.n_folds > 1 else "hold-out"
    facts = [
        ("Development images", f"{size.n_samples:,}"),
        ("Locked test images", f"{size.n_test:,}"),
        ("Classes", f"{size.n_classes:,}"),
        ("Largest : smallest class", f"{size.imbalance:.1f} : 1"),
        ("Validation", folds),
        ("Median picture", f"{width:,} x {height:,} pixels"),
        ("Sides", f"{smallest:,} to {largest:,} pixels"),
        ("Without colour", f"{100 * size.grey_share:.0f} %"),
        ("Exact duplicates", f"{size.n_duplicates:,}"),
        ("Left out as unreadable", f"{profile.n_quarantined:,}"),
        ("Fingerprint", profile.fingerprint[:16]),
    ]
    counts = list(size.samples_per_class)
    names = [one_line(name) for name in profile.class_names]
    most = max([1, *counts])
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    classes = [(names[i], counts[i], round(100 * counts[i] / most, 1)) for i in order]
    many = len(classes) > MAX_LABELLED_CLASSES
    return {
        "facts": facts,
        "classes": [] if many else classes,
        "chart": Markup(charts.class_counts(counts)) if many else "",  # noqa: S704
        "extremes": [classes[:3], classes[-3:]] if many else [],
    }


def _backbones(profile: DatasetProfile) -> list[dict[str, str]]:
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
                "ratio": f"{backbone.samples_per_parameter:.2g}",
                "similarity": words,
            }
        )
    return rows


__all__ = ["ReportContents", "SamplePicture", "in_nats", "render_report", "write_report"]
