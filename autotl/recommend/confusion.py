"""What is taken for what: the confusion matrix, made readable for few and for many classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.recommend import charts

MAX_LABELLED = 20
"""Up to so many classes the matrix is a table with names, beyond it a picture without."""

_N_PAIRS = 10


def confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """Counts ``(n_classes, n_classes) int64``; rows are true classes, columns predicted ones."""
    flat = np.bincount(labels * n_classes + predicted, minlength=n_classes * n_classes)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


def confusion_view(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    names: Sequence[str],
    where: str,
) -> dict[str, Any]:
    """What the report shows of a confusion matrix.

    Args:
        labels: ``(n,) int64``.
        probabilities: ``(n, n_classes)``.
        names: of the classes.
        where: what the samples are, in words.
    """
    n_classes = len(names)
    counts = confusion_matrix(labels, probabilities.argmax(axis=1), n_classes)
    per_class = counts.sum(axis=1)
    shares = counts / np.maximum(per_class, 1)[:, None]
    few = n_classes <= MAX_LABELLED
    rows = [
        {
            "name": names[i],
            "n": int(per_class[i]),
            "cells": [
                {"n": int(counts[i, j]), "share": round(float(shares[i, j]), 3), "is_right": i == j}
                for j in range(n_classes)
            ],
        }
        for i in range(n_classes if few else 0)
    ]
    return {
        "where": where,
        "names": list(names),
        "rows": rows,
        "picture": "" if few else charts.confusion_image(shares),
        "pairs": _confused_pairs(counts, per_class, names),
        "weakest": [] if few else _weakest(counts, per_class, names),
    }


def _confused_pairs(
    counts: NDArray[np.int64], per_class: NDArray[np.int64], names: Sequence[str]
) -> list[dict[str, Any]]:
    """The most frequent mistakes: true class, predicted class, how often, share of the class."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_N_PAIRS]
    return [
        {
            "true": names[i],
            "predicted": names[j],
            "n": int(wrong[i, j]),
            "share": f"{100 * wrong[i, j] / per_class[i]:.0f} %",
        }
        for i, j in (divmod(int(flat), len(names)) for flat in order)
        if wrong[i, j] > 0
    ]


def _weakest(
    counts: NDArray[np.int64], per_class: NDArray[np.int64], names: Sequence[str]
) -> list[dict[str, Any]]:
    """The classes that are recognised least often, among those that occur."""
    present = np.flatnonzero(per_class)
    recall = counts.diagonal()[present] / per_class[present]
    order = np.argsort(recall, kind="stable")[:_N_PAIRS]
    return [
        {
            "name": names[present[i]],
            "recall": f"{100 * recall[i]:.0f} %",
            "n": int(per_class[present[i]]),
        }
        for i in order
    ]
