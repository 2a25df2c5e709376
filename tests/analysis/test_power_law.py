"""Laws fitted to points of known curves."""

from __future__ import annotations

import numpy as np
import pytest

from autotl.analysis.power_law import fit_power_law

SIZES = np.array([100.0, 200.0, 400.0, 800.0])


def test_a_known_law_is_found() -> None:
    errors = 0.1 + 0.3 * (SIZES / 100) ** -0.5
    law = fit_power_law(SIZES, errors, 1e-8 * np.eye(4))
    assert law.weight.sum() == pytest.approx(1)
    middle, low, high = law.quantiles(law.error(1600))
    true = 0.1 + 0.3 * 16**-0.5
    assert low <= true <= high
    assert middle == pytest.approx(true, abs=0.005)
    assert high - low < 0.03


def test_further_ahead_and_noisier_is_less_certain() -> None:
    errors = 0.1 + 0.3 * (SIZES / 100) ** -0.5

    def width(noise: float, n: float) -> float:
        law = fit_power_law(SIZES, errors, noise**2 * np.eye(4))
        _, low, high = law.quantiles(law.error(n))
        return high - low

    assert width(0.002, 800) < width(0.002, 1600) < width(0.002, 8000)
    assert width(0.001, 1600) < width(0.02, 1600)


def test_what_is_common_to_all_points_does_not_blur_the_gain() -> None:
    """The same validation samples shift all points alike."""
    errors = 0.1 + 0.3 * (SIZES / 100) ** -0.5
    alike = fit_power_law(SIZES, errors, 1e-4 * np.ones((4, 4)) + 1e-7 * np.eye(4))
    apart = fit_power_law(SIZES, errors, 1e-4 * np.eye(4))

    def width(law: object) -> float:
        _, low, high = law.quantiles(law.error(800) - law.error(1600))  # type: ignore[attr-defined]
        return float(high - low)

    assert width(alike) < width(apart)


def test_a_flat_curve_gains_nothing() -> None:
    law = fit_power_law(SIZES, np.full(4, 0.3), 1e-6 * np.eye(4))
    middle, low, _ = law.quantiles(law.error(800) - law.error(1600))
    assert middle < 0.004
    assert low >= 0


def test_no_error_left() -> None:
    law = fit_power_law(SIZES, np.zeros(4), np.zeros((4, 4)))
    assert law.quantiles(law.error(1600))[0] == pytest.approx(0, abs=0.003)


def test_errors_stay_shares() -> None:
    law = fit_power_law(SIZES, np.array([0.9, 0.7, 0.4, 0.01]), 1e-5 * np.eye(4))
    for n in (1.0, 1e9):
        assert ((law.error(n) >= 0) & (law.error(n) <= 1)).all()
