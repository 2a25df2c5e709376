"""Neighbours by features, found without comparing all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from autotl.data.nearest import feature_pairs


@pytest.mark.parametrize("n", [300, 12_000])
def test_planted_neighbours_are_found(n: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 20)).astype(np.float32)
    copies = features[:100] + rng.normal(scale=0.1, size=(100, 20)).astype(np.float32)
    pairs = feature_pairs(np.concatenate([features, copies]))
    found = {tuple(pair) for pair in pairs.tolist()}
    hit = np.mean([(i, n + i) in found for i in range(100)])
    assert hit >= (1.0 if n == 300 else 0.95)
    assert len(found) == len(pairs) <= n + 100
    assert (pairs[:, 0] < pairs[:, 1]).all()


def test_the_second_nearest_is_found_too() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 20)).astype(np.float32)
    near = features + rng.normal(scale=0.05, size=(100, 20)).astype(np.float32)
    less_near = features + rng.normal(scale=0.3, size=(100, 20)).astype(np.float32)
    pairs = feature_pairs(np.concatenate([features, near, less_near]))
    assert np.mean([[i, 100 + i] in pairs.tolist() for i in range(100)]) > 0.95
    assert np.mean([[i, 200 + i] in pairs.tolist() for i in range(100)]) > 0.4


def test_far_samples_are_no_pairs() -> None:
    assert len(feature_pairs(np.eye(50, dtype=np.float32))) == 0


def test_the_scale_of_a_feature_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 10)).astype(np.float32)
    features[100:] = features[:100] + rng.normal(scale=0.05, size=(100, 10))
    scaled = features.copy()
    scaled[:, 3] = scaled[:, 3] * 1e4 + 7
    expected = {tuple(pair) for pair in feature_pairs(features).tolist()}
    found = {tuple(pair) for pair in feature_pairs(scaled).tolist()}
    assert len(expected & found) > 0.95 * len(expected | found)


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((1, 4)),
        np.zeros((0, 4)),
        np.ones((30, 4)),
        np.full((30, 4), np.nan),
        np.diag([np.inf, 1.0, -np.inf, 1.0]),
    ],
)
def test_nothing_to_find(features: np.ndarray) -> None:
    assert feature_pairs(features.astype(np.float32)).shape == (0, 2)


def test_equal_samples_in_numbers_stay_in_bounds() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([np.zeros((9000, 8)), rng.normal(size=(1000, 8))]).astype(np.float32)
    assert len(feature_pairs(features)) <= 10_000
