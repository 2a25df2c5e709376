"""First and second moments of features, in float64, by blocks of rows.

Shared by the scores that need them; see :mod:`autotl.analysis.transferability` and
:mod:`autotl.analysis.frechet`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from autotl.errors import InputError

Features = NDArray[np.float32]
Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]

_BLOCK = 2048


def check_features(features: Features) -> None:
    """Refuses what has no moments.

    Raises:
        InputError: not ``(n_samples, num_features)`` with a feature, or NaN or infinite anywhere.
    """
    if features.ndim != 2 or features.shape[1] == 0:
        raise InputError(
            f"features must be (n_samples, num_features), got shape {features.shape}; pool them"
        )
    for start in range(0, len(features), _BLOCK):
        wrong = ~np.isfinite(features[start : start + _BLOCK])
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            value = features[start + row, column]
            raise InputError(
                f"features must be finite, but sample {start + row} has {value} in feature "
                f"{column}; leave the sample out or mend the network that made it"
            )


def blocks(features: Features, centre: Matrix) -> Iterator[Matrix]:
    """The centred rows in float64, some at a time."""
    for start in range(0, len(features), _BLOCK):
        yield features[start : start + _BLOCK].astype(np.float64) - centre


def mean_of(features: Features) -> Matrix:
    """Mean of the rows, ``(d,) float64``."""
    mean: Matrix = features.mean(axis=0, dtype=np.float64)
    return mean


def scatter_of(features: Features, centre: Matrix) -> Matrix:
    """Sum over the rows of ``(x - centre)(x - centre)'``, ``(d, d)``; of few rows its Gram matrix.

    Args:
        features: ``(n, d)``.
        centre: ``(d,)``.

    Returns:
        ``(d, d)`` for ``n >= d``, else the ``(n, n)`` inner products, which have the same non-zero
        eigenvalues.
    """
    if len(features) < features.shape[1]:
        rows = features.astype(np.float64) - centre
        gram: Matrix = rows @ rows.T
        return gram
    total = np.zeros((features.shape[1], features.shape[1]))
    for rows in blocks(features, centre):
        total += rows.T @ rows
    return total


def class_sums(features: Features, labels: Labels, n_classes: int, centre: Matrix) -> Matrix:
    """Sum of the centred rows of each class, ``(n_classes, d)``."""
    total = np.zeros((n_classes, features.shape[1]))
    start = 0
    for rows in blocks(features, centre):
        total += indicators(labels[start : start + len(rows)], n_classes) @ rows
        start += len(rows)
    return total


def indicators(labels: Labels, n_classes: int) -> csr_array:
    """One row per class with ones where its samples are, ``(n_classes, n_samples)``."""
    ones = np.ones(len(labels))
    return csr_array((ones, (labels, np.arange(len(labels)))), shape=(n_classes, len(labels)))


def sampling_error(features: Features, mean: Matrix, squared_norm: float) -> float:
    """Expected squared Frobenius distance of the sample covariance from the true one.

    The ``b^2`` of Ledoit and Wolf 2004 (Journal of Multivariate Analysis 88), times ``d``.

    Args:
        features: ``(n, d)``.
        mean: ``(d,)`` of the features.
        squared_norm: squared Frobenius norm of their covariance with divisor ``n``.
    """
    n_samples = len(features)
    fourth = sum(float((np.square(x).sum(axis=1) ** 2).sum()) for x in blocks(features, mean))
    return max(0.0, (fourth / n_samples - squared_norm) / n_samples)


def standardised(features: Features) -> Features:
    """Features of mean 0 and variance 1, ``(n, d) float32``; constant ones become 0.

    A feature whose standard deviation is within float32 rounding of its size counts as constant.
    """
    mean = mean_of(features)
    variance = sum((np.square(x).sum(axis=0) for x in blocks(features, mean)), np.zeros(len(mean)))
    deviation = np.sqrt(variance / max(1, len(features)))
    size = np.maximum(features.max(axis=0, initial=0.0), -features.min(axis=0, initial=0.0))
    varies = deviation > 1e-6 * size
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    scaled = np.empty(features.shape, dtype=np.float32)
    start = 0
    for rows in blocks(features, mean):
        scaled[start : start + len(rows)] = rows * scale
        start += len(rows)
    return scaled
