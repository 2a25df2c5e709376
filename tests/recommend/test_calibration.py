"""Temperatures that undo what made predictions too sure; errors that are what they should be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.metrics import log_loss
from autotl.recommend.calibration import (
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from autotl.strategies.fitted import at_temperature


def drawn(n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels drawn from the probabilities themselves: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.5, 0.5, 0.5], n).astype(np.float32)
    labels = (probabilities.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return labels.clip(max=2), probabilities


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    labels, probabilities = drawn(20_000)
    distorted = at_temperature(probabilities, 1.0 / temperature)
    assert fit_temperature(labels, distorted) == pytest.approx(temperature, rel=0.05)


def test_scaling_lowers_loss_and_calibration_error_and_keeps_the_order() -> None:
    labels, probabilities = drawn(3000)
    too_sure = at_temperature(probabilities, 0.3)
    temperature = fit_temperature(labels[:1500], too_sure[:1500])
    rest, own = too_sure[1500:], labels[1500:]
    scaled = at_temperature(rest, temperature)
    assert log_loss(own, scaled) < log_loss(own, rest)
    assert expected_calibration_error(own, scaled) < 0.5 * expected_calibration_error(own, rest)
    np.testing.assert_array_equal(scaled.argmax(axis=1), rest.argmax(axis=1))
    np.testing.assert_allclose(scaled.sum(axis=1), 1.0, rtol=1e-5)


def test_few_predictions_leave_the_temperature_near_one() -> None:
    labels = np.zeros(4, dtype=np.int64)
    right = np.tile(np.float32([0.9, 0.1]), (4, 1))
    assert 0.5 < fit_temperature(labels, right) < 1.0
    many = fit_temperature(np.zeros(4000, dtype=np.int64), np.tile(right[:1], (4000, 1)))
    assert many < 0.3


def test_nothing_to_fit_is_one() -> None:
    nothing = np.empty((0, 3), dtype=np.float32)
    assert fit_temperature(np.empty(0, dtype=np.int64), nothing) == 1.0
    assert fit_temperature(np.zeros(2, dtype=np.int64), np.full((2, 2), np.nan, np.float32)) == 1.0
    assert np.isnan(expected_calibration_error(np.empty(0, dtype=np.int64), nothing))


def test_certain_predictions_can_be_scaled() -> None:
    certain = np.float32([[1.0, 0.0], [0.0, 1.0]])
    scaled = at_temperature(certain, 20.0)
    assert np.isfinite(scaled).all()
    assert 0.9 < scaled[0, 0] < 1.0
    np.testing.assert_array_equal(at_temperature(certain, 1.0).round(6), certain)


def test_calibration_error_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.float32([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    # three at 0.9, two of them right; one at 0.6, right
    expected = (3 * abs(0.9 - 2 / 3) + abs(0.6 - 1.0)) / 4
    assert expected_calibration_error(labels, probabilities) == pytest.approx(expected, rel=1e-5)
    mean, share, counts = reliability(labels, probabilities, 10)
    assert counts.sum() == 4
    assert share[6] == 1.0
    assert mean[9 if counts[9] else 8] == pytest.approx(0.9)


def test_calibrated_predictions_have_almost_no_error() -> None:
    assert expected_calibration_error(*drawn(50_000)) < 0.01
