"""Features on a plane, so that a person sees which classes lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotl.analysis.moments import Features, Labels, Matrix

MAX_MAPPED = 1_000
"""Samples on a map, at most."""

_N_AXES = 50
_MIN_NEIGHBOURS_SAMPLES = 30
_PERPLEXITY = 30.0
_N_ITERATIONS = 500


@dataclass(frozen=True)
class FeatureMap:
    """Samples on a plane.

    Attributes:
        points: ``(n, 2) float64``; empty: there is no map.
        labels: ``(n,) int64``.
        method: how it was made, in words; what the axes keep.
        backbone: whose features these are.
        n_all: samples of which these are a part.
        reason: why there is no map; empty otherwise.
    """

    points: Matrix
    labels: Labels
    method: str
    backbone: str
    n_all: int
    reason: str = ""


def map_features(
    features: Features,
    labels: Labels,
    backbone: str,
    n_all: int,
    *,
    neighbours: bool,
    seed: int = 0,
) -> FeatureMap:
    """A map of standardised features.

    By principal components, or by t-SNE (van der Maaten and Hinton 2008, JMLR) of the first 50,
    which keeps neighbours together and says nothing of distances; 1,000 samples take t-SNE about 2
    s, and of fewer than 30 it makes nothing better than chance does.

    Args:
        features: ``(n, d)``.
        labels: ``(n,) int64``.
        backbone: whose features.
        n_all: samples of which these are a part.
        neighbours: whether t-SNE may be used.
        seed: of t-SNE.

    Returns:
        The map; features that aren't finite or don't vary have none, and it says so.
    """

    def unknown(reason: str) -> FeatureMap:
        return FeatureMap(np.empty((0, 2)), labels[:0], "", backbone, n_all, reason)

    if len(features) < 3:
        return unknown(f"there are only {len(features)} samples to show")
    if not np.isfinite(features).all():
        return unknown("the features aren't finite")
    x = features.astype(np.float64)
    x -= x.mean(axis=0)
    deviation = x.std(axis=0)
    varies = deviation > 1e-6 * max(1e-12, float(deviation.max(initial=0.0)))
    x = x[:, varies] / deviation[varies]
    if not x.size:
        return unknown("the features don't vary")
    components, kept = _principal(x)
    if neighbours and len(x) >= _MIN_NEIGHBOURS_SAMPLES:
        points, method = _by_neighbours(components, seed), "t-SNE"
    else:
        points = components[:, :2]
        method = f"the first two principal components, {100 * kept:.0f} % of the variance"
    return FeatureMap(points, labels, method, backbone, n_all)


def _principal(x: Matrix) -> tuple[Matrix, float]:
    """The first principal components, at least two, and the share of variance of the first two."""
    from sklearn.decomposition import PCA

    pca = PCA(min(_N_AXES, *x.shape), svd_solver="full").fit(x)
    components: Matrix = pca.transform(x)
    if components.shape[1] < 2:
        components = np.hstack([components, np.zeros((len(x), 1))])
    return components, float(pca.explained_variance_ratio_[:2].sum())


def _by_neighbours(components: Matrix, seed: int) -> Matrix:
    from sklearn.manifold import TSNE

    n = len(components)
    found: Matrix = (
        TSNE(
            perplexity=min(_PERPLEXITY, n / 4),
            max_iter=_N_ITERATIONS,
            init=(1e-4 * components[:, :2] / components[:, 0].std()).astype(np.float32),
            random_state=seed,
        )
        .fit_transform(components.astype(np.float32))
        .astype(np.float64)
    )
    return found
