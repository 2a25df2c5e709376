"""The study's picture: mean and worst regret against time, a line a policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_STYLES = {"embedded": "-", "imagenet": "--"}
_LEAST = 0.1


def write(results: Mapping[str, Any], file: Path) -> None:
    """Write the plot of the policies that have all tasks.

    Args:
        results: as :func:`studies.regret.report.merge` gives them.
        file: where to.
    """
    shown = {
        name: own
        for name, own in results["policies"].items()
        if own["n_tasks"] == results["n_tasks"]
    }
    stems = list(dict.fromkeys(_stem(name) for name in shown))
    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, key, label in ((upper, "curve_mean", "mean"), (lower, "curve_worst", "worst")):
        for name, own in shown.items():
            axes.step(
                results["grid"],
                [max(value, _LEAST) for value in own[key]],
                where="post",
                label=own["label"],
                color=_color(stems.index(_stem(name))),
                linestyle=_STYLES.get(name.rpartition("-")[2], "-"),
                linewidth=1.4 if "-" in name else 2.2,
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel(f"{label} regret (points; up to {_LEAST} drawn as that)")
        axes.grid(color="0.92")
    lower.set_xlabel("time, in full fine-tunings of the embedded backbone on the task")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    upper.set_title(f"{results['n_tasks']} tasks of {results['n_datasets']} data sets")
    figure.savefig(file, dpi=80)


def _color(place: int) -> tuple[float, ...]:
    """Ten strong colours, then their ten pale ones."""
    place %= 20
    color: tuple[float, ...] = colormaps["tab20"](2 * (place % 10) + place // 10)
    return color


def _stem(name: str) -> str:
    stem, _, backbone = name.rpartition("-")
    return stem if backbone in _STYLES else name
