"""How sure a score is, and a difference of two: from what each sample contributes. Pure functions.

Every metric here is a sum over samples, or nearly so. With ``w`` a sample's weight (1 / n for means
over samples, 1 / (n_classes n_k) for means over classes) and ``z`` what it contributes, the metric
is ``sum(z)``, and the variance of a metric or of a difference of two is ``sum((z - w sum(z))**2)``:
the infinitesimal jackknife (Efron 1982, chapter 6), to which the bootstrap over samples comes with
many resamples. It takes one pass for a thousand classes, and classes of a single sample don't
seem to be certain, since a sample is measured against the mean over all classes, not its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autotl.metrics import Labels, Metric, Probabilities

Vector = NDArray[np.float64]

USUAL_CORRELATION = 0.05
"""Of what samples of one group contribute, where too few groups tell it. Measured on the outcome
table: speakers 0.04 to 0.2, writers 0.01, slides of blood cells none."""
_USUAL_GROUPS = 10
"""How many groups that counts as."""

_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_COUNTED = ("accuracy", "balanced_accuracy", "macro_f1")
"""Metrics of right and wrong: where two agree on every sample, one more might tell them apart."""


def contributions(metric: Metric, labels: Labels, probabilities: Probabilities) -> Vector:
    """What each sample adds to the score, ``(n,)``; the sum is the score, greater is better.

    Where a sample also changes what others contribute (macro-F1 and AUROC), that derivative counts
    as its own: for AUROC these are the components of DeLong et al. (1988).

    Args:
        metric: one of :data:`autotl.metrics.METRICS`.
        labels: ``(n,) int64``.
        probabilities: ``(n, n_classes)``; NaN gives NaN.
    """
    found = _CONTRIBUTIONS[metric.name](labels, probabilities)
    if np.isnan(probabilities).any():
        found = np.full(len(labels), np.nan)
    return found


def sample_weights(metric: Metric, labels: Labels) -> Vector:
    """How much each sample counts, ``(n,)``; the sum is 1."""
    if metric.name in ("accuracy", "log_loss"):
        return np.full(len(labels), 1.0 / len(labels))
    return _class_weights(labels)


def difference_variance(
    metric: Metric,
    labels: Labels,
    first: Vector,
    second: Vector,
    groups: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """How much better the first scores than the second on the same samples, and its variance.

    For metrics of right and wrong one discordant sample is added to the variance, so that two that
    agree on every sample aren't equal for certain (after Agresti and Min 2005); for AUROC that is
    the least that the variance can be.

    Args:
        metric: what was maximised.
        labels: ``(n,) int64``.
        first: contributions ``(n,)``; of several runs, their mean.
        second: likewise.
        groups: ``(n,)``, which group each sample is of; None: they are independent.
    """
    apart, weights, n = first - second, sample_weights(metric, labels), len(labels)
    difference = float(apart.sum())
    residuals = apart - weights * difference
    variance = float(np.square(residuals).sum()) * n / max(1, n - 1)
    variance *= design_effect(groups, residuals)
    one_more = float((weights**3).sum())
    if metric.name in _COUNTED:
        variance += one_more
    elif metric.name == "auroc":
        variance = max(variance, one_more)  # Python's max keeps a NaN that comes first
    return difference, variance


def confidence_interval(
    metric: Metric,
    labels: Labels,
    probabilities: Probabilities,
    *,
    confidence: float = 0.95,
    n_resamples: int = 500,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """Interval of a metric's value over samples like these.

    Where samples belong to groups, it is as wide as for so many fewer samples as
    :func:`design_effect` says.

    Accuracy: Wilson's score interval (Wilson 1927), right at 0 and 1 and for few samples. Balanced
    accuracy and macro-F1: the same with as many samples as a mean over classes is worth, see
    :func:`effective_samples`. AUROC: normal in the logit, variance after DeLong et al. (1988), as
    Pepe (2003, section 5.2) has it, and Wilson's at 0 and 1. Log-loss: percentile bootstrap
    (Efron 1979). NaN where the value is.
    """
    value = metric.value(labels, probabilities) if len(labels) else float("nan")
    if not np.isfinite(value):
        return (float("nan"), float("nan"))
    shares = contributions(metric, labels, probabilities)
    effect = design_effect(groups, shares - sample_weights(metric, labels) * shares.sum())
    if metric.name in _COUNTED:
        n_samples = max(1.0, effective_samples(metric, labels) / effect)
        return wilson_interval(value, n_samples, confidence)
    if metric.name == "auroc":
        return _logit_interval(metric, labels, shares, effect, confidence)
    gains = shares * len(labels)
    rng = np.random.default_rng(seed)
    means = [gains[rng.integers(0, len(gains), len(gains))].mean() for _ in range(n_resamples)]
    tail = (1.0 - confidence) / 2.0
    quantiles = np.quantile(means, [tail, 1.0 - tail])
    low, high = gains.mean() + (quantiles - gains.mean()) * np.sqrt(effect)
    return (float(low), float(high)) if metric.greater_is_better else (float(-high), float(-low))


def effective_samples(metric: Metric, labels: Labels) -> float:
    """How many samples of equal weight would be as sure: ``1 / sum(w**2)`` (Kish 1965)."""
    return float(1.0 / np.square(sample_weights(metric, labels)).sum())


def design_effect(groups: NDArray[np.int64] | None, residuals: Vector | None = None) -> float:
    """How many times a variance is that of independent samples, as samples come in groups.

    ``1 + (m - 1) r`` with the groups' mean size as a sample sees it, ``m``, and the correlation
    within groups, ``r`` (Kish 1965, section 5.4). The correlation is estimated from the groups'
    sums, and the fewer groups there are, the more it is :data:`USUAL_CORRELATION`: a single group
    tells nothing of others.

    Args:
        groups: ``(n,)``, which group each sample is of; None: each is one by itself.
        residuals: ``(n,)``, what each contributes beyond its due; None: not known.

    Returns:
        At least 1; exactly that where every group is a single sample.
    """
    if groups is None or not len(groups):
        return 1.0
    _, own = np.unique(groups, return_inverse=True)
    sizes = np.bincount(own)
    size = float(np.square(sizes).sum() / len(groups))
    if size <= 1.0:
        return 1.0
    correlation, n_groups = USUAL_CORRELATION, len(groups) / size
    total = 0.0 if residuals is None else float(np.square(residuals).sum())
    if residuals is not None and total > 0.0 and len(sizes) > 1:
        sums = np.bincount(own, weights=residuals)
        ratio = float(np.square(sums).sum()) / total * len(sizes) / (len(sizes) - 1)
        found = min(1.0, max(0.0, (ratio - 1.0) / (size - 1.0)))
        known = (n_groups - 1.0) / (n_groups - 1.0 + _USUAL_GROUPS)
        correlation += known * (found - correlation)
    return 1.0 + (size - 1.0) * correlation


def wilson_interval(
    share: float, n_samples: float, confidence: float = 0.95
) -> tuple[float, float]:
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


def _logit_interval(
    metric: Metric, labels: Labels, shares: Vector, effect: float, confidence: float
) -> tuple[float, float]:
    from scipy.special import expit, logit
    from scipy.stats import norm

    value = min(1.0, max(0.0, float(shares.sum())))
    if value in (0.0, 1.0):
        n_samples = max(1.0, effective_samples(metric, labels) / effect)
        return wilson_interval(value, n_samples, confidence)
    variance = float(np.square(shares - _class_weights(labels) * value).sum()) * effect
    half = float(norm.ppf(0.5 + confidence / 2.0)) * np.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def _class_weights(labels: Labels) -> Vector:
    counts = np.bincount(labels)
    weights: Vector = 1.0 / (np.count_nonzero(counts) * counts[labels])
    return weights


def _accuracy(labels: Labels, probabilities: Probabilities) -> Vector:
    right: Vector = (probabilities.argmax(axis=1) == labels) / len(labels)
    return right


def _balanced_accuracy(labels: Labels, probabilities: Probabilities) -> Vector:
    right: Vector = (probabilities.argmax(axis=1) == labels) * _class_weights(labels)
    return right


def _macro_f1(labels: Labels, probabilities: Probabilities) -> Vector:
    predicted, n_classes = probabilities.argmax(axis=1), probabilities.shape[1]
    right = predicted == labels
    n_true = np.bincount(labels, minlength=n_classes)
    n_both = n_true + np.bincount(predicted, minlength=n_classes)
    n_right = np.bincount(labels[right], minlength=n_classes)
    present = n_true > 0
    f1 = np.where(present, 2 * n_right / np.maximum(1, n_both), 0.0)
    # The derivative of 2 right / (true + predicted), of classes that occur.
    slope = np.where(present, 1.0 / np.maximum(1, n_both), 0.0)
    changed = 2 * right * slope[labels] - f1[labels] * slope[labels]
    changed -= f1[predicted] * slope[predicted]
    total: Vector = changed / present.sum() + _class_weights(labels) * f1[labels]
    return total


def _log_loss(labels: Labels, probabilities: Probabilities) -> Vector:
    of_right = probabilities[np.arange(len(labels)), labels]
    gain: Vector = np.log(np.clip(of_right, 1e-7, 1.0)).astype(np.float64) / len(labels)
    return gain


def _auroc(labels: Labels, probabilities: Probabilities) -> Vector:
    present = np.unique(labels)
    if len(present) < 2:
        return np.full(len(labels), np.nan)
    weights, found = _class_weights(labels), np.zeros(len(labels))
    for own, inside, outside in _components(labels, probabilities, present):
        found[own] += weights[own] * inside
        found[~own] += (outside - outside.mean()) / (len(present) * len(outside))
    return found


def _components(
    labels: Labels, probabilities: Probabilities, present: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.bool_], Vector, Vector]]:
    """Per class, which samples are of it, and the share of the others that each is right about."""
    by_class = np.ascontiguousarray(probabilities.T)
    for label in present:
        own, scores = labels == label, by_class[label]
        order = np.argsort(scores[own])
        n_inside, n_outside = len(order), len(labels) - len(order)
        below = scores[own][order]
        # Of each other sample, how many of this class are below it, ties without and with.
        places = [np.searchsorted(below, scores[~own], side) for side in _SIDES]
        beaten = [np.bincount(p, minlength=n_inside + 1).cumsum()[:n_inside] for p in places]
        inside = np.empty(n_inside)
        inside[order] = (beaten[0] + beaten[1]) / (2 * n_outside)
        yield own, inside, 1.0 - (places[0] + places[1]) / (2 * n_inside)


_CONTRIBUTIONS: dict[str, Callable[[Labels, Probabilities], Vector]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "log_loss": _log_loss,
    "auroc": _auroc,
}
