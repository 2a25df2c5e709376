"""Pairs of samples that are each other's nearest by their features, without comparing all pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_COSINE = 0.6
"""Pairs whose standardised features have a smaller cosine aren't candidates."""

_AXES = 64
_FITTED_SAMPLES = 2000
_CLUSTER = 1000
_MAX_CLUSTER = 4000
_BLOCK = 8192
_ROWS = 1024


def feature_pairs(
    features: NDArray[np.float32], n_neighbours: int = 2, seed: int = 0
) -> NDArray[np.int64]:
    """Each sample with its nearest others, by the cosine of standardised features.

    On the principal axes, and, of more than a few thousand samples, within the two clusters
    (around samples drawn at random) that it lies nearest to; at most as many pairs as samples,
    those of the greatest cosine. A pair of near-duplicates lies so close together that this hardly
    ever parts it.

    Args:
        features: ``(n, d)``; of features that aren't finite no pair comes.
        n_neighbours: of each sample.
        seed: of the clusters.

    Returns:
        ``(m, 2) int64``, the first less than the second, no pair twice.
    """
    n = len(features)
    if n < 2 or not np.isfinite(features.sum(axis=0, dtype=np.float64)).all():
        return np.empty((0, 2), dtype=np.int64)
    rng = np.random.default_rng(seed)
    points = _on_axes(features, rng)
    ones, others, cosines = [], [], []
    for members in _clusters(points, rng):
        own = points[members]
        for start in range(0, len(members), _ROWS):
            rows = members[start : start + _ROWS]
            near = own[start : start + _ROWS] @ own.T
            each = np.arange(len(rows))
            near[each, start + each] = -1  # itself
            for _ in range(min(n_neighbours, len(members) - 1)):
                best = near.argmax(axis=1)
                cosine = near[each, best]
                near[each, best] = -1
                close = cosine >= MIN_COSINE
                ones.append(rows[close])
                others.append(members[best[close]])
                cosines.append(cosine[close])
    one, other, cosine = (np.concatenate(found) for found in (ones, others, cosines))
    low, high = np.minimum(one, other), np.maximum(one, other)
    keys, first = np.unique(low * n + high, return_index=True)
    kept = np.sort(np.argsort(-cosine[first], kind="stable")[:n])
    return np.stack([keys[kept] // n, keys[kept] % n], axis=1)


def _on_axes(features: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Directions of the standardised features on their principal axes, of length 1."""
    n = len(features)
    drawn = features[np.sort(rng.permutation(n)[:_FITTED_SAMPLES])].astype(np.float64)
    mean, deviation = drawn.mean(axis=0), drawn.std(axis=0)
    varies = deviation > 1e-6 * np.abs(drawn).max(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    drawn = (drawn - mean) * scale
    _, axes = np.linalg.eigh(drawn.T @ drawn)
    axes = (scale[:, None] * axes[:, -_AXES:]).astype(np.float32)
    centre = mean.astype(np.float32)
    points = np.empty((n, axes.shape[1]), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        points[start : start + _BLOCK] = (features[start : start + _BLOCK] - centre) @ axes
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6)
    return points


def _clusters(points: NDArray[np.float32], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Samples that lie together; each in two clusters, where there are more than two."""
    n = len(points)
    n_clusters = -(-n // _CLUSTER)
    if n_clusters < 3:
        return [np.arange(n)]
    centres = points[rng.choice(n, n_clusters, replace=False)]
    nearest = np.empty((n, 2), dtype=np.int64)
    for start in range(0, n, _BLOCK):
        near = points[start : start + _BLOCK] @ centres.T
        nearest[start : start + _BLOCK] = np.argpartition(near, n_clusters - 2, axis=1)[:, -2:]
    order = np.argsort(nearest.ravel(), kind="stable")
    bounds = np.searchsorted(nearest.ravel()[order], np.arange(n_clusters + 1))
    samples = order // 2
    found = []
    for cluster in range(n_clusters):
        members = samples[bounds[cluster] : bounds[cluster + 1]]
        for part in np.array_split(members, -(-len(members) // _MAX_CLUSTER) or 1):
            if len(part) > 1:
                found.append(part)
    return found
