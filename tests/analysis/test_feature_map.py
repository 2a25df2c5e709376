"""Features on a plane."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.analysis.feature_map import map_features


def clouds(n: int, d: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two clouds far apart along one feature."""
    labels = np.arange(n, dtype=np.int64) % 2
    features = np.random.default_rng(0).normal(size=(n, d))
    features[:, 0] += 40 * labels
    return features.astype(np.float32), labels


@pytest.mark.parametrize("neighbours", [False, True])
@pytest.mark.parametrize(("n", "d"), [(60, 5), (40, 80)])
def test_what_lies_apart_stays_apart(neighbours: bool, n: int, d: int) -> None:
    features, labels = clouds(n, d)
    features[:, : d // 2] += 40 * labels[:, None]
    found = map_features(features, labels, "net", 99, neighbours=neighbours)
    assert found.points.shape == (n, 2)
    assert np.isfinite(found.points).all()
    assert ("t-SNE" in found.method) == neighbours
    assert (found.n_all, found.backbone, found.reason) == (99, "net", "")
    apart = np.linalg.norm(found.points[labels == 0].mean(0) - found.points[labels == 1].mean(0))
    assert apart > found.points[labels == 0].std()


@pytest.mark.parametrize("d", [6, 80])
def test_components_keep_what_they_say(d: int) -> None:
    features, labels = clouds(50, d)
    found = map_features(features, labels, "net", 50, neighbours=False)
    scaled = (features - features.mean(0)) / features.std(0)
    strength = np.linalg.svd(scaled.astype(np.float64), compute_uv=False) ** 2
    assert f"{100 * strength[:2].sum() / strength.sum():.0f} % of the variance" in found.method
    assert found.points.var(axis=0) == pytest.approx(strength[:2] / 50, rel=1e-3)


def test_it_is_the_same_each_time() -> None:
    features, labels = clouds(40, 8)
    first, second = (map_features(features, labels, "net", 40, neighbours=True) for _ in range(2))
    assert np.array_equal(first.points, second.points)


def test_few_samples_are_shown_by_components() -> None:
    features, labels = clouds(12, 300)
    found = map_features(features, labels, "net", 12, neighbours=True)
    assert "principal components" in found.method
    one = map_features(features[:, :1], labels, "net", 12, neighbours=False)
    assert one.points.shape == (12, 2)


def test_without_a_map_it_says_why() -> None:
    features, labels = clouds(40, 3)
    broken = features.copy()
    broken[3, 1] = np.nan
    for given, reason in (
        (broken, "finite"),
        (np.ones_like(features), "vary"),
        (features[:2], "only 2 samples"),
    ):
        found = map_features(given, labels[: len(given)], "net", 40, neighbours=True)
        assert reason in found.reason
        assert len(found.points) == len(found.labels) == 0
