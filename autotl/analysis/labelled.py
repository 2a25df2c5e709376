"""Features with their labels, as the transferability scores take them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.moments import (
    Features,
    Labels,
    Matrix,
    check_features,
    mean_of,
    scatter_of,
    standardised,
)
from autotl.errors import InputError


@dataclass(frozen=True)
class LabelledFeatures:
    """At least two samples of at least two classes; what several scores need is computed once.

    Attributes:
        features: ``(n, d)``, finite.
        labels: ``(n,) int64``; the classes that occur, numbered from 0 without a gap.
        counts: samples per class, ``(n_classes,) float64``, none of them 0.
    """

    features: Features
    labels: Labels
    counts: Matrix

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.features)

    @property
    def num_features(self) -> int:
        """Number of columns."""
        return int(self.features.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes that occur."""
        return len(self.counts)

    @cached_property
    def mean(self) -> Matrix:
        """Of the rows, ``(d,)``."""
        return mean_of(self.features)

    @cached_property
    def scatter(self) -> Matrix:
        """About the mean, ``(d, d)`` or ``(n, n)``, see :func:`~.moments.scatter_of`."""
        return scatter_of(self.features, self.mean)

    @cached_property
    def scatter_about_zero(self) -> Matrix:
        """Likewise, of the features as they are."""
        if self.n_samples < self.num_features:
            return scatter_of(self.features, np.zeros(self.num_features))
        return self.scatter + self.n_samples * np.outer(self.mean, self.mean)

    @cached_property
    def standardised(self) -> Features:
        """The features of mean 0 and variance 1."""
        return standardised(self.features)

    def subsample(self, max_samples: int, seed: int) -> LabelledFeatures:
        """At most so many samples: two of each class as far as they go, the others at random."""
        if self.n_samples <= max_samples:
            return self
        order = np.random.default_rng(seed).permutation(self.n_samples)
        by_class = order[np.argsort(self.labels[order], kind="stable")]
        starts = np.cumsum(self.counts) - self.counts
        rank = np.empty(self.n_samples)
        rank[by_class] = np.arange(self.n_samples) - starts[self.labels[by_class]]
        chosen = np.sort(order[np.argsort(rank[order] >= 2, kind="stable")][:max_samples])
        names, labels = np.unique(self.labels[chosen], return_inverse=True)
        counts = np.bincount(labels, minlength=len(names)).astype(np.float64)
        return LabelledFeatures(self.features[chosen], labels, counts)


def labelled(features: Features, labels: Labels) -> LabelledFeatures | None:
    """Features and labels that fit together, or None where there is nothing to tell apart.

    Args:
        features: ``(n, d)``.
        labels: ``(n,) int64``, any numbers.

    Returns:
        None for fewer than two samples or two classes.

    Raises:
        InputError: shapes that don't fit, or NaN or infinite features.
    """
    check_features(features)
    if labels.shape != (len(features),):
        raise InputError(
            f"labels must be one per sample, shape ({len(features)},), got {labels.shape}"
        )
    names, renumbered = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        return None
    counts = np.bincount(renumbered).astype(np.float64)
    return LabelledFeatures(features, renumbered.astype(np.int64), counts)


def draw_rows(n_samples: int, max_samples: int, seed: int) -> NDArray[np.int64]:
    """All row numbers, or so many of them at random, ascending."""
    if n_samples <= max_samples:
        return np.arange(n_samples)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_samples, max_samples, replace=False))


def stratified_rows(
    labels: Labels, max_samples: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """All row numbers, or so many of them in which every class has its share, ascending.

    Args:
        labels: ``(n,) int64``, any numbers.
        max_samples: how many rows at most; fewer than there are classes leave some classes out.
        rng: of the choice.
    """
    if len(labels) <= max_samples:
        return np.arange(len(labels))
    order = rng.permutation(len(labels))
    _, of_class, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    by_class = np.argsort(of_class, kind="stable")
    rank = np.empty(len(labels))
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (rank + rng.random(len(counts))[of_class]) / counts[of_class]
    return np.sort(order[np.argsort(share, kind="stable")[:max_samples]])
