"""The cheapest way to move one distribution onto another, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.moments import Matrix

_SOFTNESS = np.geomspace(0.1, 0.0015, 7)
"""Of the minimum in the prices' updates, in units of the greatest cost; each for ten updates."""
_N_UPDATES = 10
_CLOSE = 4.0
"""A route is tried if a sample's best route is cheaper by no more than so many softnesses."""
_TOLERANCE = 1e-9


def least_cost(costs: Matrix, source: Matrix, target: Matrix) -> float:
    """The optimal transport problem's solution (Kantorovich 1942), by linear programming.

    Only routes that may be used are put into the program: those that nearly are the cheapest at the
    targets' approximate prices (Sinkhorn's iteration with falling softness; Cuturi 2013, NeurIPS).
    The program's own prices then tell whether a route that was left out would be cheaper; as long
    as one is, it is taken in. So the result is exact, and comes 15 to 20 times sooner than with all
    routes.

    Args:
        costs: ``(n_source, n_target)``, at least 0.
        source: ``(n_source,)``, at least 0, sum 1.
        target: ``(n_target,)``, likewise.

    Returns:
        At least 0, in units of the costs.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    scale = float(costs.max())
    if scale == 0.0:
        return 0.0
    costs = costs / scale
    n_source = len(source)
    lead = costs - _prices(costs, source, target)
    lead -= lead.min(axis=1, keepdims=True)
    close = _CLOSE * float(_SOFTNESS[-1])
    used: NDArray[np.bool_] = lead <= close
    while True:
        start, end = np.nonzero(used)
        each = np.arange(len(start))
        places = np.concatenate([start, n_source + end]), np.concatenate([each, each])
        shape = (n_source + costs.shape[1], len(start))
        moved = linprog(  # type: ignore[call-overload]  # the stubs know no sparse matrices
            costs[start, end],
            A_eq=csr_array((np.ones(2 * len(start)), places), shape=shape),
            b_eq=np.concatenate([source, target]),
            method="highs",
        )
        if moved.fun is not None:
            prices = moved.eqlin.marginals
            cheaper = costs - prices[:n_source, None] - prices[n_source:] < -_TOLERANCE
            if not (cheaper & ~used).any():
                return max(0.0, float(moved.fun)) * scale
            used |= cheaper
        elif used.all():
            raise ArithmeticError(f"the transport problem wasn't solved: {moved.message}")
        else:  # these routes can't carry all of it
            close *= 2
            used |= lead <= close


def _prices(costs: Matrix, source: Matrix, target: Matrix) -> Matrix:
    """Prices of the targets at which about as much arrives as is wanted, ``(n_target,)``."""
    prices = np.zeros(len(target))
    wanted = np.log(np.maximum(target, 1e-300))
    for softness in _SOFTNESS:
        for _ in range(_N_UPDATES):
            gain = (prices - costs) / softness
            shares = np.exp(gain - gain.max(axis=1, keepdims=True))
            arriving = (source / shares.sum(axis=1)) @ shares
            prices += softness * (wanted - np.log(np.maximum(arriving, 1e-300)))
    return prices
