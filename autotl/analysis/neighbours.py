"""Transferability from distances between samples: neighbours, centroids, correlation of pairs.

What all scores keep to is said in :mod:`autotl.analysis.transferability`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.labelled import LabelledFeatures, labelled, stratified_rows
from autotl.analysis.moments import Features, Labels, Matrix, class_sums

MAX_QUERIES = 1000
"""k-NN asks the neighbours of at most this many samples, in which every class has its share, among
all samples; standard error 1.6 % or less."""
MAX_PAIRED_SAMPLES = 2000
"""PARC looks at the pairs of at most this many samples."""

_BLOCK = 256


def k_nn_accuracy(
    features: Features, labels: Labels, n_neighbours: int = 5, seed: int = 0
) -> float:
    """Leave-one-out accuracy of the majority among the nearest neighbours (Cover and Hart 1967).

    Euclidean distance between features scaled to mean 0 and variance 1 (over all samples; no label
    is looked at): unlike the cosine it is sound for one feature, and it does no worse. A tie
    between classes counts as the chance of guessing right among them; neighbours at equal distance
    at the edge are taken in no particular order.

    Args:
        features: ``(n, d) float32``.
        labels: ``(n,) int64``.
        n_neighbours: at most ``n - 1`` are used.
        seed: of the choice of :data:`MAX_QUERIES` queries, where there are more samples.

    Returns:
        In ``[0, 1]``. A class's only sample is always wrong; so are those of a class of three, by
        five neighbours, where the other three are of one class, however far. Constant features:
        the share of the commonest class.
    """
    data = labelled(features, labels)
    return float("nan") if data is None else k_nn_of(data, n_neighbours, seed)


def k_nn_of(data: LabelledFeatures, n_neighbours: int = 5, seed: int = 0) -> float:
    """See :func:`k_nn_accuracy`."""
    scaled = data.standardised
    if not scaled.any():
        return float(data.counts.max()) / data.n_samples
    n_neighbours = min(n_neighbours, data.n_samples - 1)
    squares = np.einsum("ij,ij->i", scaled, scaled)
    queries = stratified_rows(data.labels, MAX_QUERIES, np.random.default_rng(seed))
    right = 0.0
    for start in range(0, len(queries), _BLOCK):
        rows = queries[start : start + _BLOCK]
        distances = scaled[rows] @ scaled.T
        distances *= -2
        distances += squares
        distances[np.arange(len(rows)), rows] = np.inf
        nearest = np.argpartition(distances, n_neighbours - 1, axis=1)[:, :n_neighbours]
        votes = np.zeros((len(rows), data.n_classes))
        np.add.at(votes, (np.arange(len(rows))[:, None], data.labels[nearest]), 1)
        right += _credit(votes, data.labels[rows])
    return right / len(queries)


def _credit(votes: Matrix, labels: Labels) -> float:
    """Sum over rows of the chance that a guess among the greatest votes is the label."""
    best = votes == votes.max(axis=1, keepdims=True)
    chance = best[np.arange(len(labels)), labels] / best.sum(axis=1)
    return float(chance.sum())


def centroid_accuracy(features: Features, labels: Labels) -> float:
    """Leave-one-out accuracy of the nearest class centroid (Tibshirani et al. 2002, unshrunken).

    Features are scaled to mean 0 and variance 1. Each sample is left out of its own class's
    centroid exactly: that moves it to ``n_c / (n_c - 1)`` times the distance.

    Returns:
        In ``[0, 1]``. A class's only sample has no centroid left and is always wrong. Centroids at
        equal distance count as the chance of guessing right among them; constant features: the
        chance of guessing right among the classes.
    """
    data = labelled(features, labels)
    return float("nan") if data is None else centroids_of(data)


def centroids_of(data: LabelledFeatures) -> float:
    """See :func:`centroid_accuracy`."""
    scaled = data.standardised
    sums = class_sums(scaled, data.labels, data.n_classes, np.zeros(data.num_features))
    centroids = sums / data.counts[:, None]
    squares = np.square(centroids).sum(axis=1)
    with np.errstate(divide="ignore"):
        stretch = np.square(data.counts / (data.counts - 1))
    right = 0.0
    for start in range(0, data.n_samples, _BLOCK):
        own = data.labels[start : start + _BLOCK]
        rows = scaled[start : start + _BLOCK].astype(np.float64)
        distances = squares - 2 * (rows @ centroids.T) + np.square(rows).sum(axis=1)[:, None]
        distances = np.maximum(distances, 0.0)
        alone = data.counts[own] == 1
        each = np.arange(len(own))
        distances[each, own] *= np.where(alone, 1.0, stretch[own])
        distances[each[alone], own[alone]] = np.inf
        right += _credit(-distances, own)
    return right / data.n_samples


def parc(features: Features, labels: Labels, seed: int = 0) -> float:
    """PARC: do samples of one class lie nearer to each other than samples of different classes?

    Spearman's correlation, over the pairs of samples, of the distance between their features
    (1 - Pearson's correlation of the two rows) with the distance between their one-hot labels,
    equal or not (Bolya et al. 2021, NeurIPS, arXiv 2111.06977, there times 100). Above
    :data:`MAX_PAIRED_SAMPLES` samples, two of each class and others at random are looked at.

    Args:
        features: ``(n, d) float32``.
        labels: ``(n,) int64``.
        seed: of the choice of samples.

    Returns:
        In ``[-1, 1]``; 0 where either distance is the same for all pairs: constant features, one
        feature only, no two samples of one class. A row whose features are all alike correlates
        with none. Invariant to shifts and scales of single samples, not of features.
    """
    data = labelled(features, labels)
    return float("nan") if data is None else parc_of(data, seed)


def parc_of(data: LabelledFeatures, seed: int = 0) -> float:
    """See :func:`parc`."""
    from scipy.stats import rankdata

    data = data.subsample(MAX_PAIRED_SAMPLES, seed)
    upper = np.triu_indices(data.n_samples, 1)
    # Rounding makes pairs that are equally far but for the arithmetic tie.
    distance = np.round(1 - _correlations(data)[upper], 12)
    differ = (data.labels[:, None] != data.labels)[upper]
    if differ.all() or not differ.any() or np.ptp(distance) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(distance), differ)[0, 1])


def _correlations(data: LabelledFeatures) -> NDArray[np.float64]:
    """Pearson's correlation of each row with each, ``(n, n)``; 0 for a row without variance."""
    rows = data.features.astype(np.float64)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    size = np.abs(data.features).max(axis=1, keepdims=True)
    flat = norms <= 1e-6 * size
    rows = np.divide(rows, norms, out=np.zeros_like(rows), where=~flat)
    correlations: NDArray[np.float64] = rows @ rows.T
    return correlations
