"""The study's pictures: what is foretold against each figure, regret by policy, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from studies.similarity import foretold, truth

_TARGETS = {
    "benefit": ("benefit", "Best transfer less best scratch training (points)"),
    "depth slope": ("depth", "What freezing everything brings beyond the mean task (logits)"),
    "freezing all": ("frozen", "Best bottleneck less best fine-tuning (logits)"),
}
"""The file's first word and the axis; freezing the first stages alone brings nothing to show."""
_COLUMNS = 4


def write(
    targets: Mapping[str, Any],
    found: pd.DataFrame,
    measured: pd.DataFrame,
    lost: pd.DataFrame,
    judged: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write every picture into a folder; what has no rows is left out."""
    for backbone, by_name in targets.items():
        own = measured[measured["backbone"] == backbone].set_index(truth.TASK)
        for target, (word, title) in _TARGETS.items():
            values = by_name[target]
            if len(values):
                inputs = own.loc[values.index, list(foretold.FIGURES)].astype(float)
                file = folder / f"{word}-{backbone}.png"
                _panels(values, inputs, f"{title}, {backbone}", file)
    lead, inputs = foretold.differences(found, measured)
    _panels(
        lead,
        inputs,
        "Best transfer: embedded less ImageNet (points), by the difference of each figure",
        folder / "order.png",
    )
    _regret(lost, folder / "regret.png")
    _calibration(judged, folder / "calibration.png")


def _panels(target: pd.Series, inputs: pd.DataFrame, title: str, file: Path) -> None:
    """A panel for each figure that is known of some task."""
    shown = [name for name in inputs if inputs[name].notna().any()]
    n_rows = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(3.4 * _COLUMNS, 2.7 * n_rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    datasets = target.index.get_level_values("dataset")
    sizes = target.index.get_level_values("n_train").to_numpy()
    for place, name in enumerate(shown):
        axes = figure.add_subplot(n_rows, _COLUMNS, place + 1)
        for k, dataset in enumerate(sorted(datasets.unique())):
            here = datasets == dataset
            axes.scatter(
                inputs[name].to_numpy()[here],
                target.to_numpy()[here],
                label=dataset,
                color=f"C{k}",
                s=14 + 0.05 * sizes[here],
            )
        axes.axhline(0, color="0.8", zorder=0)
        axes.set_xlabel(name.replace("_", " "))
        if name in ("n_samples", "samples_per_class"):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.locator_params(axis="x", nbins=5)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, fontsize=9)
    figure.suptitle(f"{title}; larger marks: more samples")
    figure.savefig(file, dpi=80)


def _regret(lost: pd.DataFrame, file: Path) -> None:
    order = lost.mean().sort_values().index
    figure = Figure(figsize=(9, 0.45 * len(order) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = np.arange(len(order))[::-1]
    for place, name in zip(places, order, strict=True):
        axes.plot(lost[name], np.full(len(lost), place), "o", color="0.75", markersize=4)
        axes.plot(lost[name].mean(), place, "D", color="C0")
    axes.set_yticks(places, list(order))
    axes.set_xlabel("regret (points): mean in blue, every task in grey")
    figure.savefig(file, dpi=80)


def _calibration(judged: Mapping[str, Any], file: Path) -> None:
    """Left the shares told for left-out kinds; right the chances of benefit against what was."""
    chances = {b: c for b, c in judged["chance_of_benefit"].items() if c is not None}
    figure = Figure(figsize=(5.0 * (1 + len(chances)), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(1, 1 + len(chances), 1)
    for k, (name, label) in enumerate((("channels", "BatchNorm"), ("frechet", "Fréchet"))):
        shares = np.sort(np.concatenate(list(judged[name]["shares"].values())))
        axes.step(
            [0.0, *shares, 1.0],
            [0.0, *np.arange(1, len(shares) + 1) / len(shares), 1.0],
            where="post",
            color=f"C{k}",
            label=label,
        )
    axes.plot([0, 1], [0, 1], color="0.8", zorder=0)
    axes.set_xlabel("similarity told for a kind that took no part")
    axes.set_ylabel("share of kinds with at most that")
    axes.set_title("Similarity: even shares lie on the line", fontsize=10)
    axes.legend()
    for k, (backbone, chance) in enumerate(chances.items()):
        _reliability(figure.add_subplot(1, 1 + len(chances), 2 + k), backbone, chance)
    figure.savefig(file, dpi=80)


def _reliability(axes: Axes, backbone: str, chance: Mapping[str, Any]) -> None:
    """What was told against what happened: each task, and the means of thirds of them."""
    told = np.array(list(chance["chances"].values()))
    happened = np.array([chance["won"][task] for task in chance["chances"]], dtype=float)
    shift = np.random.default_rng(0).uniform(-0.03, 0.03, len(told))
    axes.plot(told, happened + shift, "o", color="0.7", markersize=4)
    for third in np.array_split(np.argsort(told), 3):
        axes.plot(told[third].mean(), happened[third].mean(), "D", color="C0")
    axes.plot([0, 1], [0, 1], color="0.8", zorder=0)
    axes.set_xlabel("chance of benefit told by the distance, data set left out")
    axes.set_ylabel("benefit beyond the noise")
    brier = chance["brier"]
    axes.set_title(
        f"{backbone}: Brier {brier['model']}, constant {brier['constant']}\n"
        "tasks in grey, means of thirds in blue",
        fontsize=10,
    )
