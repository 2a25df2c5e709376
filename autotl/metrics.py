"""Scores of predicted probabilities. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autotl.errors import unknown

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]

_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")

IMBALANCE_FOR_BALANCED_ACCURACY = 3.0
"""From this ratio of the largest to the smallest class on, ``"auto"`` means balanced accuracy."""


@dataclass(frozen=True)
class Metric:
    """A named score.

    Attributes:
        name: the field's name of it.
        value: function of labels ``(n,) int64`` and probabilities ``(n, n_classes)``.
        greater_is_better: False for a loss.
    """

    name: str
    value: Callable[[Labels, Probabilities], float]
    greater_is_better: bool = True

    def score(self, labels: Labels, probabilities: Probabilities) -> float:
        """The value with the sign that makes greater better."""
        value = self.value(labels, probabilities)
        return value if self.greater_is_better else -value


def accuracy(labels: Labels, probabilities: Probabilities) -> float:
    """Share of samples whose most probable class is the right one, in [0, 1]."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def balanced_accuracy(labels: Labels, probabilities: Probabilities) -> float:
    """Mean recall over the classes that occur in ``labels`` (Brodersen et al. 2010), in [0, 1]."""
    correct = probabilities.argmax(axis=1) == labels
    n_per_class = np.bincount(labels)
    n_correct = np.bincount(labels, weights=correct, minlength=len(n_per_class))
    present = n_per_class > 0
    return float(np.mean(n_correct[present] / n_per_class[present]))


def macro_f1(labels: Labels, probabilities: Probabilities) -> float:
    """Mean over the occurring classes of the harmonic mean of precision and recall, in [0, 1]."""
    from sklearn.metrics import f1_score

    return float(
        f1_score(
            labels,
            probabilities.argmax(axis=1),
            average="macro",
            labels=np.unique(labels),
            zero_division=0.0,
        )
    )


def log_loss(labels: Labels, probabilities: Probabilities) -> float:
    """Mean negative log-probability of the right class, in nats; probabilities clipped at 1e-7."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.clip(right, 1e-7, 1.0))))


def auroc(labels: Labels, probabilities: Probabilities) -> float:
    """Area under the ROC curve, one class against the rest, mean over the occurring classes.

    By ranks, ties counting half (Hanley and McNeil 1982). Classes that are absent, or that all
    samples have, say nothing and are left out; NaN if none is left, or if a score is NaN.
    """
    present = np.unique(labels)
    if len(present) < 2 or np.isnan(probabilities).any():
        return float("nan")
    by_class, found = np.ascontiguousarray(probabilities.T), []
    for label in present:  # one at a time: the ranks of all together take eight times the memory
        own, scores = labels == label, by_class[label]
        inside, outside = np.sort(scores[own]), scores[~own]
        # Of each other sample, the share of this class that it is below.
        left, right = (np.searchsorted(inside, outside, side) for side in _SIDES)
        found.append(1.0 - float((left + right).mean()) / (2 * len(inside)))
    return float(np.mean(found))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy),
        Metric("balanced_accuracy", balanced_accuracy),
        Metric("macro_f1", macro_f1),
        Metric("log_loss", log_loss, greater_is_better=False),
        Metric("auroc", auroc),
    )
}


def all_metrics(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Every metric's value by name."""
    return {name: metric.value(labels, probabilities) for name, metric in METRICS.items()}


def resolve_metric(name: str, labels: Labels) -> Metric:
    """The metric of that name; ``"auto"`` is accuracy, or balanced accuracy under imbalance.

    Args:
        name: one of :data:`METRICS` or ``"auto"``.
        labels: ``(n,) int64``, to see whether the classes are imbalanced.

    Raises:
        InputError: for an unknown name.
    """
    if name == "auto":
        counts = np.bincount(labels)
        counts = counts[counts > 0]
        imbalanced = counts.max() / counts.min() >= IMBALANCE_FOR_BALANCED_ACCURACY
        return METRICS["balanced_accuracy" if imbalanced else "accuracy"]
    if name not in METRICS:
        raise unknown("metric", name, [*METRICS, "auto"])
    return METRICS[name]
