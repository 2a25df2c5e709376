"""Distances from reference statistics agree with closed forms, whatever the sample's size."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group, wasserstein_distance

from autotl.analysis.frechet import (
    GaussianStatistics,
    covariance_distance,
    frechet_distance,
    prototype_distance,
    prototype_similarity,
)
from autotl.errors import InputError

Matrix = NDArray[np.float64]
D = 64
SPECTRUM = 1.0 / np.arange(1, D + 1)


def sample(
    n: int, seed: int, spectrum: Matrix = SPECTRUM, turn: Matrix | None = None, shift: float = 0.0
) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(n, D)) * np.sqrt(spectrum)
    rows = rows if turn is None else rows @ turn.T
    rows[:, 0] += shift
    return rows.astype(np.float32)


def known(mean: list[float], covariance: Matrix) -> GaussianStatistics:
    return GaussianStatistics(np.array(mean), covariance, 10**15, 0.0)


@pytest.fixture(scope="module")
def reference() -> GaussianStatistics:
    return GaussianStatistics.from_features(sample(10_000, 99))


def test_statistics_are_those_of_numpy() -> None:
    features = sample(300, 0, shift=100.0)
    found = GaussianStatistics.from_features(features)
    np.testing.assert_allclose(found.mean, features.astype(float).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(float).T), rtol=1e-6)
    assert found.n_samples == 300


def test_error_is_the_covariance_s_expected_squared_error() -> None:
    found = [GaussianStatistics.from_features(sample(200, seed)) for seed in range(20)]
    errors = [np.square(one.covariance - np.diag(SPECTRUM)).sum() for one in found]
    assert np.mean([one.error for one in found]) == pytest.approx(np.mean(errors), rel=0.15)


def test_known_gaussians_in_one_dimension() -> None:
    first, second = known([1.0], np.array([[4.0]])), known([4.0], np.array([[0.25]]))
    assert frechet_distance(first, second) == pytest.approx(3.0**2 + (2.0 - 0.5) ** 2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), d=st.integers(1, 8))
def test_covariance_distance_by_the_matrix_square_root(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (m @ m.T for m in rng.normal(size=(2, d, d + 2)))
    root = sqrtm(a)
    expected = np.trace(a + b - 2 * np.real(sqrtm(root @ b @ root)))
    assert covariance_distance(a, b) == pytest.approx(expected, abs=1e-6)
    assert covariance_distance(a, b) == pytest.approx(covariance_distance(b, a))


def test_covariance_distance_of_singular_covariances() -> None:
    turn = ortho_group.rvs(6, random_state=0)
    first = turn @ np.diag([4.0, 1.0, 0, 0, 0, 0]) @ turn.T
    second = turn @ np.diag([1.0, 0, 9.0, 0, 0, 0]) @ turn.T
    assert covariance_distance(first, second) == pytest.approx(1.0 + 1.0 + 9.0)
    assert covariance_distance(first, first) == pytest.approx(0.0, abs=1e-12)
    assert covariance_distance(first, np.zeros((6, 6))) == pytest.approx(5.0)


@pytest.mark.parametrize("n", [2, 20, 1000])
def test_a_sample_is_at_no_distance_from_itself(n: int) -> None:
    own = GaussianStatistics.from_features(sample(n, 0))
    assert frechet_distance(own, own) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("n", [20, 50, 5000])
def test_samples_of_the_reference_read_near_0(reference: GaussianStatistics, n: int) -> None:
    total = np.trace(reference.covariance)
    for seed in range(5):
        own = GaussianStatistics.from_features(sample(n, seed))
        assert frechet_distance(own, reference) < 0.05 * total


@pytest.mark.parametrize("n", [30, 2000])
def test_two_samples_of_one_distribution_read_near_0(n: int) -> None:
    for seed in range(5):
        first, second = (GaussianStatistics.from_features(sample(n, seed + s)) for s in (0, 100))
        assert frechet_distance(first, second) < 0.05 * SPECTRUM.sum()
        plain = covariance_distance(first.covariance, second.covariance)
        assert frechet_distance(first, second) < 0.5 * plain


SHALLOW = SPECTRUM / 4
STEEP = SPECTRUM**2 * SPECTRUM.sum() / np.square(SPECTRUM).sum()


@pytest.mark.parametrize(
    ("spectrum", "turn", "shift"),
    [
        (SPECTRUM, None, 2.0),
        (SHALLOW, None, 0.5),
        (STEEP, None, 0.0),
        (SPECTRUM, ortho_group.rvs(D, random_state=0), 1.0),
    ],
)
def test_samples_from_elsewhere_read_the_same_at_every_size(
    reference: GaussianStatistics, spectrum: Matrix, turn: Matrix | None, shift: float
) -> None:
    covariance = np.diag(spectrum) if turn is None else turn @ np.diag(spectrum) @ turn.T
    true = shift**2 + covariance_distance(covariance, np.diag(SPECTRUM))
    total = SPECTRUM.sum()
    for n, tolerance in ((50, 0.15), (200, 0.06), (5000, 0.02)):
        found = [
            frechet_distance(
                GaussianStatistics.from_features(sample(n, seed, spectrum, turn, shift)), reference
            )
            for seed in range(8)
        ]
        assert np.mean(found) == pytest.approx(true, abs=tolerance * total), n


def test_distance_is_symmetric_and_goes_by_the_square_of_the_scale() -> None:
    features = sample(40, 0), sample(90, 1, STEEP, shift=1.0)
    first, second = (GaussianStatistics.from_features(f) for f in features)
    scaled = [GaussianStatistics.from_features(f * 10) for f in features]
    distance = frechet_distance(first, second)
    assert distance > 0.1
    assert frechet_distance(second, first) == pytest.approx(distance)
    assert frechet_distance(*scaled) == pytest.approx(100 * distance, rel=1e-4)


def test_constant_features_are_at_their_own_place() -> None:
    still = GaussianStatistics.from_features(np.full((10, D), 0.5, dtype=np.float32))
    moved = dataclasses.replace(still, mean=still.mean + 1)
    assert frechet_distance(still, moved) == pytest.approx(D)
    assert frechet_distance(still, known([0.5] * D, np.diag(SPECTRUM))) == pytest.approx(
        SPECTRUM.sum()
    )


def test_what_has_no_statistics_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 samples, got 1"):
        GaussianStatistics.from_features(sample(1, 0))
    with pytest.raises(InputError, match="nan"):
        GaussianStatistics.from_features(np.full((3, 2), np.nan, dtype=np.float32))
    with pytest.raises(InputError, match="of 1 and of 2 features"):
        frechet_distance(known([0.0], np.eye(1)), known([0.0, 0.0], np.eye(2)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_prototypes_on_a_line_by_the_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 7))
    weights = rng.integers(0, 5, size=(2, 7)) + np.eye(2, 7)
    found = prototype_distance(source[:, None], weights[0], target[:, None], weights[1])
    assert found == pytest.approx(wasserstein_distance(source, target, *weights), abs=1e-7)


def test_prototypes_of_equal_weight_by_assignment() -> None:
    source, target = np.random.default_rng(0).normal(size=(2, 12, 5)) * 1000
    costs = cdist(source, target)
    expected = costs[linear_sum_assignment(costs)].mean()
    weights = np.ones(12)
    assert prototype_distance(source, weights, target, 3 * weights) == pytest.approx(expected)


def test_the_same_prototypes_in_another_order_are_at_no_distance() -> None:
    source = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    weights = np.arange(1.0, 7.0)
    order = [3, 1, 0, 5, 4, 2]
    distance = prototype_distance(source, weights, source[order], weights[order])
    assert distance == pytest.approx(0.0, abs=1e-9)
    assert prototype_similarity(distance) == pytest.approx(1.0)
    assert prototype_distance(source[:1], weights[:1], source[:1], weights[:1]) == 0.0


def test_one_prototype_takes_all() -> None:
    source = np.array([[0.0, 0.0], [3.0, 4.0]])
    target = np.array([[0.0, 0.0]])
    distance = prototype_distance(source, np.array([3, 1]), target, np.array([2]))
    assert distance == pytest.approx(5 / 4)
    assert prototype_similarity(distance) == pytest.approx(math.exp(-0.0125))
    assert prototype_similarity(distance, gamma=2.0) == pytest.approx(math.exp(-2.5))


def test_what_cannot_be_transported_is_refused() -> None:
    points, weights = np.zeros((2, 3)), np.ones(2)
    for wrong in (np.ones(3), np.array([3.0, -1.0]), np.zeros(2), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="target_weights"):
            prototype_distance(points, weights, points, wrong)
    with pytest.raises(InputError, match="source_prototypes must be finite"):
        prototype_distance(points + np.inf, weights, points, weights)
    with pytest.raises(InputError, match="of 3 and 2 features"):
        prototype_distance(points, weights, points[:, :2], weights)
    with pytest.raises(InputError, match="1001 x 1000"):
        prototype_distance(np.zeros((1001, 1)), np.ones(1001), np.zeros((1000, 1)), np.ones(1000))
