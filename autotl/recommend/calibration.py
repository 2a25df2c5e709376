"""Temperature scaling: probabilities that mean what they say, from validation predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.metrics import Labels, Probabilities, log_loss
from autotl.strategies.fitted import at_temperature

_BOUNDS = (0.1, 10.0)
_PRIOR_DEVIATION = 0.5
"""Of the logarithm of the temperature, before any prediction is seen: about a factor of 1.6."""


def fit_temperature(labels: Labels, probabilities: Probabilities) -> float:
    """The temperature that makes the labels most likely (Guo et al. 2017, arXiv 1706.04599).

    A normal prior on its logarithm about 0 keeps it near 1 where few predictions, or predictions
    that are all right, would let it run away.

    Args:
        labels: ``(n,) int64``.
        probabilities: ``(n, n_classes)``, predicted for samples that the model hadn't seen.

    Returns:
        In [0.1, 10]; above 1 where the predictions are too sure. 1 without finite predictions.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels) or not np.isfinite(probabilities).all():
        return 1.0

    def surprise(log_temperature: float) -> float:
        scaled = at_temperature(probabilities, float(np.exp(log_temperature)))
        prior = 0.5 * (log_temperature / _PRIOR_DEVIATION) ** 2
        return len(labels) * log_loss(labels, scaled) + prior

    low, high = np.log(_BOUNDS)
    found = minimize_scalar(surprise, bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def reliability(
    labels: Labels, probabilities: Probabilities, n_bins: int = 15
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """How often predictions of about the same probability are right.

    Args:
        labels: ``(n,) int64``.
        probabilities: ``(n, n_classes)``.
        n_bins: of equal width, of the predicted class's probability.

    Returns:
        Per bin: mean probability, share that is right (NaN in an empty bin), and samples;
        each ``(n_bins,)``.
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = np.minimum((sure * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(which, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(which, weights=sure, minlength=n_bins) / counts
        share = np.bincount(which, weights=right, minlength=n_bins) / counts
    return mean, share, counts


def expected_calibration_error(
    labels: Labels, probabilities: Probabilities, n_bins: int = 15
) -> float:
    """Mean distance of the predicted class's probability from how often it is right, in [0, 1].

    Over bins of equal width, by their samples (Naeini et al. 2015; Guo et al. 2017). Biased upwards
    for few samples: a perfectly calibrated model reads about ``sqrt(n_bins / n) / 4``.
    """
    if not len(labels):
        return float("nan")
    mean, share, counts = reliability(labels, probabilities, n_bins)
    filled = counts > 0
    gaps = np.abs(mean[filled] - share[filled])
    return float(np.average(gaps, weights=counts[filled]))
