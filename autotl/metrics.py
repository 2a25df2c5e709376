"""Scores of predicted probabilities, and how sure they are. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.errors import unknown

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]

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
    samples have, say nothing and are left out; NaN if none is left.
    """
    from scipy.stats import rankdata

    present = np.unique(labels)
    if len(present) < 2:
        return float("nan")
    belongs = labels[:, None] == present
    ranks = rankdata(probabilities[:, present], axis=0)
    n_inside = belongs.sum(axis=0)
    n_outside = len(labels) - n_inside
    beaten = (ranks * belongs).sum(axis=0) - n_inside * (n_inside + 1) / 2
    return float(np.mean(beaten / (n_inside * n_outside)))


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


def confidence_interval(
    metric: Metric,
    labels: Labels,
    probabilities: Probabilities,
    *,
    confidence: float = 0.95,
    n_resamples: int = 500,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a metric's value over samples like these.

    Accuracy: Wilson's score interval (Wilson 1927), right at 0 and 1 and for few samples. Any
    other metric: percentile bootstrap (Efron 1979) within the classes, which stays defined when a
    class is rare but is too narrow below some twenty samples a class.
    """
    if len(labels) == 0:
        return (float("nan"), float("nan"))
    if metric.name == "accuracy":
        return wilson_interval(accuracy(labels, probabilities), len(labels), confidence)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    values = np.empty(n_resamples)
    for i in range(n_resamples):
        drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in members])
        values[i] = metric.value(labels[drawn], probabilities[drawn])
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def wilson_interval(share: float, n_samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a binomial share (Wilson 1927).

    Args:
        share: observed share in [0, 1].
        n_samples: of how many, at least 1.
        confidence: in (0, 1).
    """
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + confidence / 2.0))
    centre = (share + z * z / (2 * n_samples)) / (1 + z * z / n_samples)
    spread = share * (1 - share) / n_samples + z * z / (4 * n_samples**2)
    half = z / (1 + z * z / n_samples) * float(np.sqrt(spread))
    # At 0 and 1 the bound is the share itself, which rounding may miss.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def paired_difference(
    metric: Metric,
    labels: Labels,
    first: Probabilities,
    second: Probabilities,
    *,
    n_resamples: int = 500,
    seed: int = 0,
) -> tuple[float, float]:
    """How much better the first predictions score than the second, on the same samples.

    Args:
        metric: the score.
        labels: ``(n,) int64``.
        first: ``(n, n_classes)`` probabilities.
        second: likewise.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The difference of the scores (greater: first is better) and its standard error by paired
        bootstrap within the classes (Efron and Tibshirani 1993, chapter 6).
    """
    difference = metric.score(labels, first) - metric.score(labels, second)
    if metric.name == "accuracy":
        per_sample = (first.argmax(axis=1) == labels).astype(float)
        per_sample -= second.argmax(axis=1) == labels
        return difference, float(per_sample.std(ddof=1) / np.sqrt(len(labels)))
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    values = np.empty(n_resamples)
    for i in range(n_resamples):
        drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in members])
        values[i] = metric.score(labels[drawn], first[drawn])
        values[i] -= metric.score(labels[drawn], second[drawn])
    return difference, float(np.nanstd(values, ddof=1))
