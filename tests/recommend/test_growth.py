from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit

from autotl.analysis.learning_curve import LearningCurve
from autotl.metrics import METRICS
from autotl.recommend.growth import Growth, Rise, rise_of

RISE = Rise(mean=0.9, deviation=0.4, offset=0.3, share=0.8, left=0.2)
ACCURACY, LOG_LOSS = METRICS["accuracy"], METRICS["log_loss"]


def rising(rise: float, n_train: int = 100) -> LearningCurve:
    """A curve whose logits rise by so much for ten times the samples."""
    sizes = np.geomspace(10, 2 * n_train, 33)
    accuracy = expit(1.0 + rise * np.log10(sizes / n_train))
    points = tuple((float(n), float(a), 0.0, 1.0) for n, a in zip(sizes, accuracy, strict=True))
    return LearningCurve(n_train=n_train, fitted=points)


def test_as_many_samples_bring_nothing() -> None:
    value, interval = Growth.expected(80, 80, rising(2.0), RISE).applied(
        ACCURACY, 0.7, (0.6, 0.8), 100
    )
    assert value == pytest.approx(0.7)
    assert interval == pytest.approx((0.6, 0.8))


def test_without_a_curve_it_is_what_other_data_sets_gain() -> None:
    growth = Growth.expected(50, 100, None, RISE)
    assert growth == Growth(0.9 * math.log10(2), 0.4 * math.log10(2))
    assert Growth.expected(50, 100, LearningCurve(n_train=50), RISE) == growth


def test_a_steep_curve_promises_more_than_a_flat_one() -> None:
    steep, flat = (Growth.expected(50, 100, rising(rise), RISE) for rise in (3.0, 0.0))
    assert flat.mean == pytest.approx(0.3 * math.log10(2), abs=1e-6)
    assert steep.mean - flat.mean == pytest.approx(0.8 * 3.0 * math.log10(2), abs=0.01)
    assert steep.deviation == pytest.approx(0.2 * math.log10(2))


def test_the_rise_is_read_off_the_curve() -> None:
    assert rise_of(rising(1.7)) == pytest.approx(1.7, abs=0.01)
    assert rise_of(LearningCurve(n_train=100, reason="too few")) is None


def test_the_value_moves_by_the_mean_and_the_interval_widens() -> None:
    value, (low, high) = Growth(0.3, 0.2).applied(ACCURACY, 0.7, (0.6, 0.8), 100)
    assert value == pytest.approx(expit(logit(0.7) + 0.3))
    assert logit(value) - logit(low) == pytest.approx(
        math.hypot(logit(0.7) - logit(0.6), 1.96 * 0.2), abs=1e-3
    )
    assert logit(high) - logit(value) == pytest.approx(
        math.hypot(logit(0.8) - logit(0.7), 1.96 * 0.2), abs=1e-3
    )


def test_a_loss_falls() -> None:
    value, (low, high) = Growth(0.3, 0.0).applied(LOG_LOSS, 0.7, (0.6, 0.8), 100)
    assert low < value < 0.7
    assert math.exp(-value) == pytest.approx(expit(logit(math.exp(-0.7)) + 0.3))
    assert low < 0.6
    assert high < 0.8


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_is_perfect_stays_so(value: float) -> None:
    interval = (0.9, 1.0) if value else (0.0, 0.1)
    found, (low, high) = Growth(0.3, 0.2).applied(ACCURACY, value, interval, 30)
    assert found == value
    assert 0.0 <= low <= found <= high <= 1.0


def test_nan_stays_nan() -> None:
    value, bounds = Growth(0.3, 0.2).applied(ACCURACY, math.nan, (math.nan, math.nan), 30)
    assert np.isnan([value, *bounds]).all()
