"""Intrinsic dimension: on how many dimensions the features of the samples really spread.

Written here since scikit-dimension, the library that has both estimators, needs numba.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.labelled import draw_rows
from autotl.analysis.moments import Features, Matrix, check_features

MAX_SAMPLES = 2000
"""So many samples are looked at; more change the estimates little."""
MIN_SAMPLES = 10

_DISCARDED = 0.1
_N_NEIGHBOURS = 20


def two_nn(features: Features, seed: int = 0) -> float:
    """Dimension from the ratio of the distances to the second and the first neighbour.

    The slope of ``-log(1 - F(mu))`` over ``log mu``, the tenth of the samples with the greatest
    ratios left out (Facco et al. 2017, Scientific Reports 7:12140). It looks at the smallest scale
    there is, and so at noise, too; above about 20 dimensions it is too small, by more the fewer the
    samples are.

    Args:
        features: ``(n, d)``; samples that equal another one count once.
        seed: of the choice of :data:`MAX_SAMPLES` samples, where there are more.

    Returns:
        At least 0; NaN for fewer than :data:`MIN_SAMPLES` different samples.
    """
    return _two_nn(_neighbour_distances(features, 2, seed))


def _two_nn(distances: Matrix | None) -> float:
    if distances is None:
        return float("nan")
    log_ratio = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = int(len(log_ratio) * (1 - _DISCARDED))
    survival = -np.log1p(-np.arange(1, kept + 1) / len(log_ratio))
    log_ratio = log_ratio[:kept]
    norm = float(np.square(log_ratio).sum())
    return float((log_ratio * survival).sum() / norm) if norm > 0 else float("nan")


def levina_bickel(features: Features, n_neighbours: int = _N_NEIGHBOURS, seed: int = 0) -> float:
    """Maximum-likelihood dimension from the distances to the nearest neighbours.

    Levina and Bickel 2004 (NeurIPS), the inverse estimates of the samples averaged as MacKay and
    Ghahramani (2005) correct it. On a larger scale than :func:`two_nn`, less noisy.

    Args:
        features: ``(n, d)``; samples that equal another one count once.
        n_neighbours: at least 3; fewer are used where there are fewer samples.
        seed: of the choice of :data:`MAX_SAMPLES` samples, where there are more.

    Returns:
        At least 0; NaN for fewer than :data:`MIN_SAMPLES` different samples.
    """
    return _levina_bickel(_neighbour_distances(features, n_neighbours, seed))


def _levina_bickel(distances: Matrix | None) -> float:
    if distances is None:
        return float("nan")
    k = distances.shape[1]
    inverse = float(np.log(distances[:, -1:] / distances[:, :-1]).sum(axis=1).mean() / (k - 1))
    return 1 / inverse if inverse > 0 else float("nan")


def both_dimensions(features: Features, seed: int = 0) -> tuple[float, float]:
    """:func:`two_nn` and :func:`levina_bickel` of the same samples, for little more than one."""
    distances = _neighbour_distances(features, _N_NEIGHBOURS, seed)
    return _two_nn(distances), _levina_bickel(distances)


def _neighbour_distances(features: Features, n_neighbours: int, seed: int) -> Matrix | None:
    """Distances to the nearest other samples, ``(n, k)``, ascending, above 0."""
    from sklearn.neighbors import NearestNeighbors

    check_features(features)
    chosen: NDArray[np.float64] = features[draw_rows(len(features), MAX_SAMPLES, seed)].astype(
        np.float64
    )
    chosen = np.unique(chosen, axis=0)
    if len(chosen) < MIN_SAMPLES:
        return None
    chosen = chosen - chosen.mean(axis=0)
    k = min(n_neighbours, len(chosen) - 1)
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(chosen).kneighbors()[0]
    rounding = 1e-7 * float(np.abs(chosen).max())
    found = found[found[:, 0] > rounding]
    return found if len(found) >= MIN_SAMPLES else None
