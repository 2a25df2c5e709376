"""The power law of learning curves, with what the measured points leave open about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotl.analysis.moments import Matrix

_N_FLOORS = 41
_EXPONENTS = np.linspace(0.1, 1.2, 45)
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_MODEL_ERROR, _RELATIVE_MODEL_ERROR = 0.002, 0.01
"""What a true curve may stray from a power law: standard deviation, in shares and of the error."""


@dataclass(frozen=True)
class PowerLaw:
    """Laws ``error = floor + scale * (n / unit) ** -exponent``, each with its probability.

    Attributes:
        floor: ``(n_laws,)``, in [0, 1].
        scale: ``(n_laws,)``, at least 0.
        exponent: ``(n_laws,)``.
        weight: ``(n_laws,)``, sums to 1.
        unit: number of samples.
    """

    floor: Matrix
    scale: Matrix
    exponent: Matrix
    weight: Matrix
    unit: float

    def error(self, n_samples: float) -> Matrix:
        """What each law says of so many samples, ``(n_laws,)``."""
        error: Matrix = self.floor + self.scale * (n_samples / self.unit) ** -self.exponent
        return np.clip(error, 0.0, 1.0)

    def quantiles(self, values: Matrix) -> tuple[float, float, float]:
        """Median, and the bounds of the central 95 %, of one value per law."""
        order = np.argsort(values)
        reached = np.cumsum(self.weight[order])
        places = np.minimum(np.searchsorted(reached, (0.5, 0.025, 0.975)), len(order) - 1)
        middle, low, high = values[order[places]].tolist()
        return middle, low, high


def fit_power_law(sizes: Matrix, errors: Matrix, covariance: Matrix) -> PowerLaw:
    """The laws that agree with measured errors, by Bayes' rule on a grid.

    ``a + b n^-c`` (Cortes et al. 1993, NeurIPS; Hestness et al. 2017, arXiv 1712.00409) with every
    floor between 0 and the last error, every exponent between 0.1 and 1.2 and every scale as likely
    beforehand: no optimiser that may fail, and no asymptotic errors. What the points don't
    determine stays open.

    Args:
        sizes: ``(n_points,)`` samples, ascending; at least two.
        errors: ``(n_points,)`` shares of wrong answers.
        covariance: ``(n_points, n_points)`` of the errors' errors.
    """
    stray = _MODEL_ERROR**2 + np.square(_RELATIVE_MODEL_ERROR * errors)
    precision = np.linalg.inv(covariance + np.diag(stray))
    unit = float(sizes[-1])
    floors = np.linspace(0.0, float(errors[-1]), _N_FLOORS)
    floor, exponent = (grid.ravel() for grid in np.meshgrid(floors, _EXPONENTS, indexing="ij"))
    shape = (sizes / unit)[None, :] ** -exponent[:, None]
    missing = errors[None, :] - floor[:, None]
    curvature = np.einsum("ij,jk,ik->i", shape, precision, shape)
    best = np.einsum("ij,jk,ik->i", shape, precision, missing) / curvature
    left = missing - best[:, None] * shape
    misfit = np.einsum("ij,jk,ik->i", left, precision, left)
    likelihood = np.exp(-0.5 * (misfit - misfit.min())) / np.sqrt(curvature)
    scale = best[:, None] + _NODES / np.sqrt(curvature)[:, None]
    weight = (likelihood[:, None] * _NODE_WEIGHTS).ravel()
    n_nodes = len(_NODES)
    return PowerLaw(
        floor=np.repeat(floor, n_nodes),
        scale=np.maximum(scale, 0.0).ravel(),
        exponent=np.repeat(exponent, n_nodes),
        weight=weight / weight.sum(),
        unit=unit,
    )
