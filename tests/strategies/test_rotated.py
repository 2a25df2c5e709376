"""Rotated features are the standardised ones; the frame of equal features is found once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.strategies import rotated
from autotl.strategies.rotated import Frame, Frames, RotatedFeatures

wide_and_tall = pytest.mark.parametrize("n_features", [12, 200])


def sample(n_features: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Features of 90 samples, whose columns are correlated."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(90, n_features)) @ rng.normal(size=(n_features, n_features))
    return (mixed + 7).astype(np.float32)


def in_order(features: NDArray[np.float32]) -> RotatedFeatures:
    return RotatedFeatures.of(features, np.arange(len(features)))


@wide_and_tall
def test_rotation_keeps_standardised_features(n_features: int) -> None:
    features = sample(n_features)
    found = in_order(features)
    axes = found.frame.axes
    standardised = (features - features.mean(0)) / features.std(0)
    np.testing.assert_allclose(found.values @ axes.T, standardised, atol=1e-4)
    n_axes = min(len(features), n_features)
    assert found.values.shape == (len(features), n_axes)
    np.testing.assert_allclose(axes.T @ axes, np.eye(n_axes), atol=1e-5)
    energy = np.square(found.values).sum(0)
    np.testing.assert_allclose(energy, found.frame.energy, rtol=1e-3, atol=1e-2)


@wide_and_tall
def test_rows_come_in_the_order_asked_for(n_features: int) -> None:
    features = sample(n_features)
    rows = np.random.default_rng(1).permutation(len(features))
    found = RotatedFeatures.of(features, rows)
    np.testing.assert_allclose(found.values, in_order(features).values[rows], atol=1e-4)


@wide_and_tall
def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch, n_features: int) -> None:
    features = sample(n_features)
    whole = in_order(features)
    monkeypatch.setattr(rotated, "_BLOCK_ROWS", 32)
    monkeypatch.setattr(rotated, "_FRAMES", Frames(0))
    parts = in_order(features)
    np.testing.assert_allclose(parts.frame.scale, whole.frame.scale, rtol=1e-6)
    np.testing.assert_allclose(parts.frame.energy, whole.frame.energy, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        parts.values @ parts.frame.axes.T, whole.values @ whole.frame.axes.T, atol=1e-4
    )


class TestFrames:
    def test_equal_features_are_looked_at_once(self) -> None:
        frames, features = Frames(2**20), sample()
        assert frames.of(features.copy()) is frames.of(features)
        fresh = Frame.of(features)
        for name, array in vars(frames.of(features)).items():
            np.testing.assert_array_equal(array, getattr(fresh, name))

    def test_others_are_told_apart_by_every_value_and_by_shape(self) -> None:
        frames, features = Frames(2**20), sample()
        first = frames.of(features)
        other = features.copy()
        other[40, 3] += 1
        assert not np.array_equal(frames.of(other).mean, first.mean)
        assert frames.of(features.reshape(45, 24)).mean.shape == (24,)
        assert frames.of(features) is first

    def test_columns_may_lie_in_any_order_in_memory(self) -> None:
        frames, features = Frames(2**20), sample()
        assert frames.of(np.asfortranarray(features)) is frames.of(features)

    def test_those_that_were_asked_for_last_are_kept(self) -> None:
        samples = [sample(seed=seed) for seed in range(3)]
        frames = Frames(2 * Frame.of(samples[0]).n_bytes)
        first, second = frames.of(samples[0]), frames.of(samples[1])
        assert frames.of(samples[0]) is first
        frames.of(samples[2])
        assert frames.of(samples[0]) is first
        assert frames.of(samples[1]) is not second
