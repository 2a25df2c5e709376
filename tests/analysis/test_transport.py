"""The cheapest transport, against the whole linear program and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog

from autotl.analysis import transport
from autotl.analysis.transport import least_cost


def by_all_routes(
    costs: NDArray[np.float64], source: NDArray[np.float64], target: NDArray[np.float64]
) -> float:
    """The program with every route in it."""
    n, m = costs.shape
    leaving = np.kron(np.eye(n), np.ones(m))
    arriving = np.kron(np.ones(n), np.eye(m))
    sums = np.concatenate([source, target])
    return float(linprog(costs.ravel(), A_eq=np.vstack([leaving, arriving]), b_eq=sums).fun)


def shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights / weights.sum()


@pytest.mark.parametrize(("n", "m"), [(40, 3), (3, 40), (25, 25), (1, 6), (6, 1)])
@pytest.mark.parametrize("close", [transport._CLOSE, 1e-3])
def test_as_with_all_routes(n: int, m: int, close: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if hardly a route is tried at first."""
    monkeypatch.setattr(transport, "_CLOSE", close)
    rng = np.random.default_rng(n)
    for seed in range(3):
        costs = rng.exponential(size=(n, m)) * 10.0 ** rng.integers(-3, 4)
        if seed == 1:  # ties
            costs = rng.integers(0, 3, (n, m)).astype(np.float64)
        source, target = shares(rng.exponential(size=n)), shares(rng.exponential(size=m))
        if seed == 2 and min(n, m) > 1:
            source[0] = target[0] = 0.0
            source, target = shares(source), shares(target)
        expected = by_all_routes(costs, source, target)
        assert least_cost(costs, source, target) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_nothing_costs_nothing() -> None:
    half = np.full(2, 0.5)
    assert least_cost(np.zeros((2, 2)), half, half) == 0.0
    assert least_cost(np.array([[0.0, 5.0], [5.0, 0.0]]), half, half) == pytest.approx(0.0)
    assert least_cost(np.array([[5.0, 0.0], [0.0, 5.0]]), half, half) == pytest.approx(0.0)
