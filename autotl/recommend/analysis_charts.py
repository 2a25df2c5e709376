"""The charts of an analysis, in the style of the report's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from autotl.analysis.landmarks import Landmarks
from autotl.analysis.learning_curve import LearningCurve
from autotl.analysis.similarity import DomainSimilarity, distance_of
from autotl.recommend.charts import GRID, INK, MUTED, as_svg, new_figure

CLASS_COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00"),
    *("#56B4E9", "#7A5195", "#8c6d31", "#b5bd00", "#1b2430"),
)
"""Of the largest classes on a map; all others share :data:`OTHER_COLOUR`."""
OTHER_COLOUR = "#c3c9d1"

_BAR, _LINE = "#7c93ab", "#0b4f8a"
_LABEL_SIZE = 9.0


def count_histogram(counts: Sequence[int]) -> Markup:
    """How many classes have how many images: for many classes."""
    figure, axes = new_figure(height=2.6)
    values = np.asarray(counts)
    n_bins = min(30, int(np.ptp(values)) + 1)
    edges = np.linspace(values.min() - 0.5, values.max() + 0.5, n_bins + 1)
    axes.hist(values, bins=edges.tolist(), color=_BAR, rwidth=0.9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.set_xlabel("images in a class")
    axes.set_title("number of classes", loc="left", fontsize=10.5, color=MUTED)
    return as_svg(figure, "counts", "How many classes have how many images")


def distance_by_depth(
    similarity: DomainSimilarity, landmarks: Landmarks, name: str, highest: float | None = None
) -> Markup:
    """Distance from the source domain at each stage, then overall among known data sets.

    Args:
        similarity: from BatchNorm statistics.
        landmarks: known data sets.
        name: of the chart, for its ids.
        highest: upper end of the axis; None: by these distances.

    Returns:
        The chart; empty where there is no distance at any stage.
    """
    distances = np.asarray(similarity.per_stage, dtype=float)
    there = np.isfinite(distances)
    if similarity.distance is None or not there.any():
        return Markup("")
    figure, axes = new_figure(height=3.6)
    stages = np.arange(1, len(distances) + 1)
    axes.plot(stages[there], distances[there], "-o", color=_LINE, linewidth=2, zorder=3)
    overall = len(stages) + 1.6
    if similarity.interval is not None:
        ends = [distance_of(value) for value in similarity.interval]
        axes.plot([overall, overall], ends, color=_LINE, linewidth=2, zorder=3)
    axes.plot(
        overall, similarity.distance, "D", color=_LINE, markersize=9, markeredgecolor="white",
        zorder=5,
    )  # fmt: skip
    top = highest or axis_end([similarity], [landmarks])
    axes.set_ylim(min(0.0, 1.1 * float(distances[there].min()), similarity.distance), top)
    width = 0.5 * len(stages) + 1.2
    _mark(axes, landmarks, overall, width, top)
    axes.set_xlim(0.6, overall + 0.25 + width)
    axes.axvline(len(stages) + 0.8, color=GRID, linewidth=1)
    axes.set_xticks([*stages, overall], [*map(str, stages), "overall"])
    axes.set_xlabel("stage, from the input on", x=0.5 * (len(stages) - 0.2) / (overall + width))
    axes.set_title("distance from the source domain", loc="left", fontsize=10.5, color=MUTED)
    return as_svg(figure, name, "Distance from the source domain by depth")


def axis_end(similarities: Sequence[DomainSimilarity], landmarks: Sequence[Landmarks]) -> float:
    """The upper end of an axis on which all these distances can be compared."""
    seen = [value for marks in landmarks for value in marks.distances.values()]
    for similarity in similarities:
        seen += [value for value in similarity.per_stage if np.isfinite(value)]
        seen += [] if similarity.distance is None else [similarity.distance]
        if similarity.interval is not None:
            seen.append(distance_of(similarity.interval[0]))
    return 1.06 * max(seen, default=1.0)


def _mark(axes: Axes, landmarks: Landmarks, x: float, width: float, top: float) -> None:
    """Labelled marks beside the overall distance, moved apart where they would overlap."""
    values = np.array(sorted(landmarks.distances.values()))
    names = sorted(landmarks.distances, key=lambda name: landmarks.distances[name])
    places = spread(values, gap=0.062 * top, low=0.02 * top, high=0.98 * top)
    for name, value, place in zip(names, values, places, strict=True):
        axes.plot(
            [x - 0.16, x + 0.16, x + 0.34],
            [value, value, place],
            color="#98a2ae",
            linewidth=1,
            zorder=2,
        )
        axes.text(
            x + 0.4, place, name, va="center", fontsize=_LABEL_SIZE, color=MUTED, clip_on=False
        )


def spread(values: NDArray[np.float64], gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Places near ascending values, at least ``gap`` apart, from ``low`` to ``high`` if they fit.

    Least squares: values less their rank's share of the gaps are made to ascend by pooling
    neighbours (Ayer et al. 1955).
    """
    offsets = gap * np.arange(len(values))
    pools: list[list[float]] = []
    for value in np.clip(values - offsets, low, max(low, high - gap * (len(values) - 1))):
        pools.append([float(value)])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    flat = [float(np.mean(pool)) for pool in pools for _ in pool]
    placed: NDArray[np.float64] = np.array(flat) + offsets
    return placed


def feature_map(
    points: NDArray[np.float64], labels: NDArray[np.int64], coloured: Sequence[int]
) -> Markup:
    """Samples on a plane.

    Args:
        points: ``(n, 2)``.
        labels: ``(n,)``.
        coloured: the classes that have a colour, at most as many as :data:`CLASS_COLOURS`.
    """
    figure, axes = new_figure(width=7.2, height=5.4)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    size = float(np.clip(6000 / len(points), 9, 40))
    grey = ~np.isin(labels, coloured)
    axes.scatter(
        points[grey, 0], points[grey, 1], s=size, color=OTHER_COLOUR, alpha=0.7, linewidths=0
    )
    colours = dict(zip(coloured, CLASS_COLOURS, strict=False))
    order = np.random.default_rng(0).permutation(np.flatnonzero(~grey))  # no class lies on top
    axes.scatter(
        points[order, 0],
        points[order, 1],
        s=size,
        c=[colours[int(label)] for label in labels[order]],
        alpha=0.75,
        linewidths=0,
    )
    axes.margins(0.02)
    return as_svg(figure, "map", "Features of the samples on a plane")


def samples_and_accuracy(curve: LearningCurve) -> Markup:
    """The measured learning curve and its power law, to twice the samples; empty without points."""
    if not curve.n_samples:
        return Markup("")
    figure, axes = new_figure(height=3.5)
    if curve.fitted:
        n, middle, low, high = np.array(curve.fitted).T
        known = n <= curve.n_train
        axes.fill_between(n, low, high, color=_LINE, alpha=0.14, linewidth=0, zorder=2)
        axes.plot(n[known], middle[known], color=_LINE, linewidth=2, zorder=3)
        beyond = slice(max(0, int(known.sum()) - 1), None)
        axes.plot(n[beyond], middle[beyond], "--", color=_LINE, linewidth=2, zorder=3)
        axes.axvline(curve.n_train, color="#98a2ae", linewidth=1, linestyle=":")
    axes.plot(
        curve.n_samples, curve.accuracy, "o", color=INK, markersize=6, markeredgecolor="white",
        zorder=4,
    )  # fmt: skip
    axes.set_xscale("log")
    low_n, high_n = curve.n_samples[0] / 1.1, 2.2 * max(curve.n_train, curve.n_samples[-1])
    axes.set_xlim(low_n, high_n)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    axes.set_ylim(*_share_limits(axes))
    axes.set_xlabel("images to learn from")
    axes.set_title("validation accuracy", loc="left", fontsize=10.5, color=MUTED)
    return as_svg(figure, "samples", "Learning curve, to twice the samples")


def _share_limits(axes: Axes) -> tuple[float, float]:
    low, high = axes.get_ylim()
    return max(0.0, low), min(1.005, high)
