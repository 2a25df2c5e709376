"""The estimated dimension of manifolds whose dimension is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.analysis.intrinsic import levina_bickel, two_nn
from autotl.errors import InputError

Estimator = Callable[..., float]
both = pytest.mark.parametrize("estimate", [two_nn, levina_bickel])


def embedded(points: NDArray[np.float64], num_features: int = 40) -> NDArray[np.float32]:
    """The points on a flat sheet of as many features, turned at random."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(num_features, points.shape[1])))[0]
    return (points @ turn.T).astype(np.float32)


@both
@pytest.mark.parametrize("dimension", [1, 2, 5, 10])
def test_a_cube(estimate: Estimator, dimension: int) -> None:
    points = np.random.default_rng(0).random((2000, dimension))
    tolerance = 0.3 if dimension == 10 else 0.2  # most of ten dimensions is near the surface
    assert estimate(embedded(points)) == pytest.approx(dimension, rel=tolerance)


def test_few_neighbours_do_not_bias() -> None:
    features = embedded(np.random.default_rng(0).random((2000, 2)))
    assert levina_bickel(features, n_neighbours=4) == pytest.approx(2, rel=0.1)


@both
def test_a_sphere(estimate: Estimator) -> None:
    points = np.random.default_rng(0).normal(size=(2000, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert estimate(embedded(points)) == pytest.approx(3, rel=0.15)


@both
def test_a_rolled_sheet(estimate: Estimator) -> None:
    u, v = np.random.default_rng(0).random((2, 2000))
    t = 1.5 * np.pi * (1 + 2 * u)
    points = np.stack([t * np.cos(t), 20 * v, t * np.sin(t)], axis=1)
    assert estimate(embedded(points)) == pytest.approx(2, rel=0.15)


@both
def test_scale_and_place_do_not_matter(estimate: Estimator) -> None:
    features = embedded(np.random.default_rng(0).random((500, 3)))
    assert estimate(1000 * features + 7) == pytest.approx(estimate(features), rel=0.02)


@both
def test_equal_samples_count_once(estimate: Estimator) -> None:
    features = embedded(np.random.default_rng(0).random((500, 3)))
    assert estimate(np.concatenate([features, features])) == pytest.approx(estimate(features))


@both
@pytest.mark.parametrize("n", [0, 1, 9])
def test_few_samples(estimate: Estimator, n: int) -> None:
    assert np.isnan(estimate(np.random.default_rng(0).random((n, 3)).astype(np.float32)))


@both
def test_constant_features(estimate: Estimator) -> None:
    assert np.isnan(estimate(np.ones((100, 3), dtype=np.float32)))


@both
def test_ten_samples_are_enough(estimate: Estimator) -> None:
    assert np.isfinite(estimate(np.random.default_rng(0).random((10, 3)).astype(np.float32)))


@both
def test_many_samples_are_drawn_from(estimate: Estimator) -> None:
    features = embedded(np.random.default_rng(0).random((30_000, 2)), 5)
    assert estimate(features) == pytest.approx(2, rel=0.15)
    assert estimate(features, seed=1) != estimate(features, seed=2)


@both
def test_nan_is_refused(estimate: Estimator) -> None:
    with pytest.raises(InputError, match="finite"):
        estimate(np.full((20, 3), np.nan, dtype=np.float32))
