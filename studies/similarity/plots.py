"""The study's pictures: benefit of transfer against each figure, and regret by policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from studies.outcomes.tasks import BACKBONES
from studies.similarity import truth

_SHOWN = ("distance", "frechet", "linear_accuracy", "k_nn_accuracy", "log_me", "n_samples")


def write(found: pd.DataFrame, measured: pd.DataFrame, lost: pd.DataFrame, folder: Path) -> None:
    """Write ``benefit-BACKBONE.png`` and ``regret.png``."""
    for backbone in BACKBONES:
        _benefit(found, measured, backbone, folder / f"benefit-{backbone}.png")
    _regret(lost, folder / "regret.png")


def _benefit(found: pd.DataFrame, measured: pd.DataFrame, backbone: str, file: Path) -> None:
    gain = truth.benefit(found, backbone)
    own = measured[measured["backbone"] == backbone].set_index(truth.TASK).loc[gain.index]
    datasets = gain.index.get_level_values("dataset")
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(_SHOWN):
        axes = figure.add_subplot(2, 3, place + 1)
        for k, dataset in enumerate(datasets.unique()):
            here = datasets == dataset
            axes.scatter(
                own[name].to_numpy(dtype=float)[here],
                gain.to_numpy()[here],
                label=dataset,
                color=f"C{k}",
                s=14 + 0.05 * gain.index.get_level_values("n_train").to_numpy()[here],
            )
        axes.axhline(0, color="0.8", zorder=0)
        axes.set_xlabel(name.replace("_", " "))
        if name == "n_samples":
            axes.set_xscale("log")
    figure.axes[0].set_ylabel("best transfer less best scratch (points)")
    figure.axes[3].set_ylabel("best transfer less best scratch (points)")
    figure.axes[2].legend(fontsize=8)
    figure.suptitle(f"Benefit of transfer from {backbone}; larger marks: more samples")
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
