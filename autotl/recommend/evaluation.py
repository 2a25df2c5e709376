"""A model's figures as files, called as ``mlflow.evaluate`` calls them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autotl.recommend import charts
from autotl.recommend.calibration import reliability
from autotl.recommend.confusion import MAX_LABELLED, confusion_matrix
from autotl.recommend.words import one_line


def write_evaluation(
    folder: Path,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    names: Sequence[str],
) -> Path:
    """Write tables (CSV) and pictures (PNG) of what a model predicts.

    ``per_class_metrics.csv``, ``confusion_matrix.csv`` and ``.png`` (rows are true classes),
    ``calibration_curve.csv`` and ``calibration_curve_plot.png``.

    Args:
        folder: where to; replaced if it exists.
        labels: ``(n,) int64``.
        probabilities: ``(n, n_classes)``.
        names: of the classes.

    Returns:
        The folder.
    """
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    predicted = probabilities.argmax(axis=1)
    figures = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=0.0
    )
    table = pd.DataFrame(
        dict(zip(("precision", "recall", "f1_score", "n_samples"), figures, strict=True)),
        index=pd.Index(names, name="class"),
    )
    table.to_csv(folder / "per_class_metrics.csv")
    counts = confusion_matrix(labels, predicted, len(names))
    index = pd.Index(names, name="true class")
    pd.DataFrame(counts, index=index, columns=list(names)).to_csv(folder / "confusion_matrix.csv")
    _save(_confusion(counts, names), folder / "confusion_matrix.png")
    mean, share, n = reliability(labels, probabilities)
    filled = n > 0
    pd.DataFrame(
        {"mean_probability": mean[filled], "share_right": share[filled], "n_samples": n[filled]}
    ).to_csv(folder / "calibration_curve.csv", index=False)
    _save(
        _calibration(mean[filled], share[filled], n[filled]), folder / "calibration_curve_plot.png"
    )
    return folder


def _confusion(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    few = len(names) <= MAX_LABELLED
    side = 2.5 + 0.42 * len(names) if few else 8.0
    figure, axes = charts.new_figure(width=side + 1.0, height=side)
    axes.grid(visible=False)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if few:
        ticks = np.arange(len(names))
        shown = [one_line(name) for name in names]
        axes.set_xticks(ticks, shown, rotation=90)
        axes.set_yticks(ticks, shown)
        for i, j in np.argwhere(counts):
            colour = "white" if shares[i, j] > 0.5 else charts.INK
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=9)
    return figure


def _calibration(
    mean: NDArray[np.float64], share: NDArray[np.float64], n: NDArray[np.int64]
) -> Figure:
    """Dots on the line are right as often as they say; their areas are samples."""
    figure, axes = charts.new_figure(width=5.0, height=5.0)
    axes.plot([0, 1], [0, 1], color=charts.MUTED, linewidth=1, linestyle="--")
    axes.scatter(mean, share, s=10 + 290 * n / max(1, n.max(initial=1)), alpha=0.7)
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share that is right")
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_aspect("equal")
    return figure


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, dpi=110, facecolor="white")
