"""The report: one self-contained HTML file with the verdict, its evidence and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.profile import DatasetProfile
from autotl.recommend import charts, views
from autotl.recommend.confusion import confusion_view
from autotl.recommend.decision import Decision, TestScore
from autotl.recommend.explain import describe_winner
from autotl.recommend.page import file_name, render_page, thumbnail, write_page
from autotl.recommend.words import (
    UNKNOWN,
    format_interval,
    format_seconds,
    format_value,
    metric_words,
    one_line,
    sentence,
)
from autotl.recommend.work import Work
from autotl.strategies.base import TrialRecord

MAX_SAMPLES = 60

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
        work: what the trials' work came to; None: not shown.
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
    work: Work | None = None


def write_report(file: Path, contents: ReportContents) -> Path:
    """Write the report as one HTML file that loads nothing else.

    Args:
        file: where; its folder must exist.
        contents: what.

    Returns:
        ``file``.
    """
    return write_page(file, render_report(contents))


def render_report(contents: ReportContents) -> str:
    """The page as a string."""
    return render_page("report.html.jinja", _view(contents))


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
        "explanation": [
            (kind, [text for _, text in lines])
            for kind, lines in groupby(_paragraphs(contents.explanation), key=itemgetter(0))
        ],
        "plain_text": contents.explanation,
        "strategies": views.strategies(decision),
        "curves": charts.learning_curves(contents.records, decision),
        "cost": charts.score_against_cost(contents.records, decision),
        "trials": views.trials(contents.records, decision, profile),
        "n_trials": len(contents.records),
        "rules": views.rules(decision),
        "confusion": _confusion(contents),
        "samples": [_sample(sample) for sample in contents.samples[:MAX_SAMPLES]],
        "data": views.data(profile),
        "backbones": views.backbones(profile),
        "stages": charts.stage_distances(
            {name: b.similarity.per_stage for name, b in profile.backbones.items()}
        ),
        "environment": dict(contents.environment),
        "tracking_hint": contents.tracking_hint,
        "work": [] if contents.work is None else contents.work.facts(),
        "colours": {
            name: charts.colour_of(name)
            for name in (
                *(record.strategy for record in contents.records),
                *(summary.strategy for summary in decision.strategies),
            )
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
    """The explanation's sentences as (``p`` or ``li``, text).

    Left out is what the page shows otherwise: the recommended settings, and the table of
    strategies with the line before it. See ``explain`` for the meaning of the indents.
    """
    found: list[tuple[str, str]] = []
    for block in explanation.split("\n\n"):
        lines = block.splitlines()
        if block.startswith("Recommended: ") or any(line.startswith("    ") for line in lines):
            continue
        start = len(found)
        for line in lines:
            if line.startswith("- "):
                found.append(("li", line[2:]))
            elif len(found) == start:
                found.append(("p", line))
            else:
                kind, text = found[-1]
                found[-1] = (kind, f"{text} {line.strip()}")
    return found


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
    known = np.isfinite(sample.probability)
    return {
        **thumbnail(sample.pixels, _THUMBNAIL_PIXELS),
        "name": one_line(sample.name),
        "short_name": file_name(sample.name),
        "label": one_line(sample.label),
        "predicted": one_line(sample.predicted),
        "probability": f"{100 * sample.probability:.0f} %" if known else UNKNOWN,
        "is_right": sample.label == sample.predicted,
    }
