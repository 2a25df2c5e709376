"""The report's charts, as inline SVG, by matplotlib's object-oriented interface."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from autotl.metrics import METRICS
from autotl.recommend.decision import Decision
from autotl.recommend.words import in_nats, metric_words, one_line
from autotl.strategies.base import TrialRecord

INK = "#1b2430"
MUTED = "#66707d"
GRID = "#e6e9ee"
COLOURS: Mapping[str, str] = {"finetune": "#0072B2", "bottleneck": "#E69F00", "scratch": "#009E73"}
"""Okabe and Ito's palette, told apart by colour-blind readers too."""

FURTHER_COLOURS = ("#CC79A7", "#D55E00", "#56B4E9", "#7A5195", "#444444")
_MARKERS: Mapping[str, str] = {"finetune": "o", "bottleneck": "s", "scratch": "^"}
_SIZE_INCHES = (5.7, 3.75)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.edgecolor": "#b9c0ca",
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "text.parse_math": False,
}


def colour_of(strategy: str) -> str:
    """The strategy's colour, the same in every chart and table."""
    if strategy in COLOURS:
        return COLOURS[strategy]
    return FURTHER_COLOURS[sum(strategy.encode()) % len(FURTHER_COLOURS)]


def learning_curves(records: Sequence[TrialRecord], decision: Decision) -> Markup:
    """Validation score against the trial's seconds, a line per trial; empty without points.

    The best finished trial of each strategy is drawn strong; a trial that was cut off ends in a
    cross.
    """
    best = {summary.best for summary in decision.strategies}
    lines = [(record, _points(record, decision.metric)) for record in records]
    lines = [(record, points) for record, points in lines if len(points)]
    if not lines:
        return Markup("")
    figure, axes = new_figure()
    for record, points in sorted(lines, key=lambda line: line[0].number in best):
        strong = record.number in best
        x, y = points.T
        alpha = 1.0 if strong else 0.35
        colour = colour_of(record.strategy)
        axes.plot(
            x, y, color=colour, alpha=alpha, linewidth=2.4 if strong else 1.1, zorder=3 + strong
        )
        end = _MARKERS.get(record.strategy, "D") if record.result is not None else "x"
        axes.plot(
            x[-1:],
            y[-1:],
            end,
            color=colour,
            alpha=alpha,
            markersize=7 if strong else 4.5,
            zorder=3 + strong,
        )
    _seconds_axis(axes, "seconds since the trial began")
    _score_axis(axes, decision.metric, np.concatenate([points[:, 1] for _, points in lines]))
    _legend(axes, [record.strategy for record, _ in lines], decision.metric)
    return as_svg(figure, "curves", "Learning curves of all trials")


def score_against_cost(records: Sequence[TrialRecord], decision: Decision) -> Markup:
    """Every finished trial's value against its seconds, with 95 % intervals for the best."""
    finished = [
        (record, max(record.seconds, 1e-3), _value(record, decision))
        for record in records
        if record.result is not None
    ]
    finished = [point for point in finished if np.isfinite(point[1:]).all()]
    if not finished:
        return Markup("")
    figure, axes = new_figure()
    seen = [value for _, _, value in finished]
    for record, seconds, value in finished:
        axes.plot(
            seconds,
            value,
            _MARKERS.get(record.strategy, "D"),
            color=colour_of(record.strategy),
            alpha=0.45,
            markersize=6,
            markeredgewidth=0,
            zorder=3,
        )
    for summary in decision.strategies:
        low, high = summary.interval
        place = [summary.seconds, summary.value, low, high]
        if summary.best is None or not np.isfinite(place).all():
            continue
        colour = colour_of(summary.strategy)
        seconds = max(summary.seconds, 1e-3)
        seen += [low, high]
        axes.plot([seconds, seconds], [low, high], color=colour, linewidth=2, zorder=4)
        for end in (low, high):
            axes.plot(seconds, end, "_", color=colour, markersize=9, markeredgewidth=2, zorder=4)
        axes.plot(
            seconds,
            summary.value,
            _MARKERS.get(summary.strategy, "D"),
            color=colour,
            markersize=9,
            markeredgecolor="white",
            markeredgewidth=1.2,
            zorder=5,
        )
        if summary.strategy == decision.winner.strategy:
            axes.plot(
                seconds,
                summary.value,
                "o",
                color="none",
                markeredgecolor=INK,
                markersize=17,
                markeredgewidth=1.4,
                zorder=6,
            )
    _seconds_axis(axes, "seconds the trial took")
    _score_axis(axes, decision.metric, np.array(seen))
    _legend(axes, [record.strategy for record, _, _ in finished], decision.metric)
    return as_svg(figure, "cost", "Score against cost of all finished trials")


def stage_distances(per_backbone: Mapping[str, Sequence[float]]) -> Markup:
    """Distance to the source domain at each stage, a line per backbone; empty without any."""
    known = {
        name: np.asarray(distances, dtype=float)
        for name, distances in per_backbone.items()
        if np.isfinite(np.asarray(distances, dtype=float)).any()
    }
    if not known:
        return Markup("")
    figure, axes = new_figure(height=2.9)
    styles = ("-", "--", "-.", ":")
    for index, distances in enumerate(known.values()):
        stages = np.arange(1, len(distances) + 1)
        there = np.isfinite(distances)
        axes.plot(
            stages[there],
            distances[there],
            styles[index % len(styles)],
            marker="o",
            color=FURTHER_COLOURS[index % len(FURTHER_COLOURS)],
            linewidth=2,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("stage, from the input on")
    axes.set_ylim(bottom=0.0)
    axes.set_title("distance to the source domain", loc="left", fontsize=10.5, color=MUTED)
    axes.legend(axes.lines, [one_line(name) for name in known], frameon=False, fontsize=9.5)
    return as_svg(figure, "stages", "Distance to the source domain per stage")


def class_counts(counts: Sequence[int]) -> Markup:
    """Images per class, the largest class first, without names: for many classes."""
    figure, axes = new_figure(height=2.4)
    ordered = np.sort(np.asarray(counts))[::-1]
    axes.bar(np.arange(1, len(ordered) + 1), ordered, width=1.0, color="#7c93ab", linewidth=0)
    axes.set_xlim(0.5, len(ordered) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.set_xlabel("classes, the largest first")
    axes.set_title("images per class", loc="left", fontsize=10.5, color=MUTED)
    return as_svg(figure, "classes", "Images per class")


def confusion_image(shares: NDArray[np.float64]) -> Markup:
    """The confusion matrix as a picture, without names: for many classes.

    Args:
        shares: ``(n_classes, n_classes)`` in [0, 1], rows are true classes.
    """
    figure, axes = new_figure(width=4.8, height=4.6)
    axes.grid(visible=False)
    axes.imshow(
        np.sqrt(shares), cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest", aspect="equal"
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axis.set_major_formatter(FuncFormatter(lambda index, _: f"{index + 1:.0f}"))
    return as_svg(figure, "confusion", "Confusion matrix")


def _points(record: TrialRecord, metric: str) -> NDArray[np.float64]:
    """``(n, 2)``: seconds and value of the metric, the trial's last word included."""
    sign = 1.0 if METRICS[metric].greater_is_better else -1.0
    points = [(point.seconds, sign * point.score) for point in record.curve]
    if record.result is not None:
        points.append((record.seconds, sign * record.result.score))
    array: NDArray[np.float64] = np.array(points, dtype=float).reshape(-1, 2)
    array[:, 0] = np.maximum(array[:, 0], 1e-3)
    finite: NDArray[np.float64] = array[np.isfinite(array).all(axis=1)]
    return finite


def _value(record: TrialRecord, decision: Decision) -> float:
    """The metric's value, the mean over the seeds."""
    if record.result is None:
        return float("nan")
    sign = 1.0 if METRICS[decision.metric].greater_is_better else -1.0
    return decision.means.get(record.number, sign * record.result.score)


def new_figure(
    width: float = _SIZE_INCHES[0], height: float = _SIZE_INCHES[1]
) -> tuple[Figure, Axes]:
    """An empty chart in the pages' style, sides in inches."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0.0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0.0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", color=GRID, linewidth=1)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, pad=5)
        axes.tick_params(axis="x", length=3)
    return figure, axes


def _seconds_axis(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high / low < 10:  # at least one decade, so that ticks exist
        middle = np.sqrt(low * high)
        axes.set_xlim(middle / 4, middle * 4)
    decades = np.log10(axes.get_xlim()[1] / axes.get_xlim()[0])
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if decades < 3 else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick_seconds))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)


def _tick_seconds(value: float, _position: int | None = None) -> str:
    return f"{value:,.0f} s" if value >= 1 else f"{value:g} s"


def _score_axis(axes: Axes, metric: str, values: NDArray[np.float64]) -> None:
    low, high = float(values.min()), float(values.max())
    margin = max(0.06 * (high - low), 0.01)
    low, high = low - margin, high + margin
    if not in_nats(metric):
        high = min(high, 1.0 + 0.4 * margin)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.set_ylim(max(0.0, low), high)


def _legend(axes: Axes, strategies: Sequence[str], metric: str) -> None:
    unit = " (nats, less is better)" if in_nats(metric) else ""
    axes.set_title(
        f"validation {metric_words(metric)}{unit}", loc="left", fontsize=10.5, color=MUTED
    )
    names = sorted(set(strategies))
    marks = [axes.plot([], [], _MARKERS.get(name, "D"), color=colour_of(name))[0] for name in names]
    axes.legend(
        marks,
        [one_line(name) for name in names],
        frameon=False,
        fontsize=9.5,
        loc="lower center",
        bbox_to_anchor=(0.5, -0.36),
        ncols=3,
        handletextpad=0.2,
        columnspacing=1.4,
    )


def as_svg(figure: Figure, name: str, title: str) -> Markup:
    """The figure as an ``<svg>`` element, scaled by the page, with ids of its own."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has them
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    return Markup(f'{head} role="img" aria-label="{title}">{rest.strip()}')  # noqa: S704 (matplotlib escapes the text in it)
