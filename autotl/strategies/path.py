"""The solver of linear classifiers: all classes at once, along a path of ``C``, each start warm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from autotl.strategies.blas import threads_for

Head = Literal["svm", "logistic"]

_MAX_ITERATIONS = 300

_Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
_Loss = Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float32]]]


def solve_rotated(
    values: NDArray[np.float32],
    energy: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    Cs: Sequence[float],
    head: Head,
    balanced: bool,
    tolerance: float,
    starts: Sequence[NDArray[np.float64]] | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Coefficients for one ``C`` after the other, each begun at the one before.

    ``svm`` minimises the squared hinge loss of one class against the rest, the intercept penalised,
    and ``logistic`` the multinomial log loss: as scikit-learn's ``LinearSVC`` (LIBLINEAR, Fan et
    al. 2008) and ``LogisticRegression`` do, also with two classes and with class weights. L-BFGS
    (Liu and Nocedal 1989) finds the minimum in variables scaled by the curvature that the loss has
    at zero.

    Args:
        values: ``(n, n_axes)``, see :class:`~autotl.strategies.rotated.RotatedFeatures`.
        energy: ``(n_axes,)``, about the sum of squares along each axis; matters for speed only.
        labels: ``(n,)`` in ``0 ... n_classes - 1``, each of them occurring, at least two.
        Cs: inverse strengths of the penalty, above 0; ascending ones are the fastest.
        head: ``svm`` or ``logistic``.
        balanced: whether classes weigh the same however rare they are.
        tolerance: relative change of the objective at which to stop.
        starts: for each ``C`` where to begin, instead of at the solution before.

    Yields:
        ``(n_classes, n_axes + 1)``: weights and, last, the intercept of the logits.
    """
    counts = np.bincount(labels)
    n_classes = len(counts)
    per_class = len(labels) / (n_classes * counts) if balanced else np.ones(n_classes)
    sample_weight = per_class[labels].astype(np.float32)
    binary = n_classes == 2
    # The softmax of two classes takes a penalty of w^2 / 2 on the difference w of their weights.
    penalty = np.full(len(energy) + 1, 2.0 if binary and head == "logistic" else 1.0)
    penalty[-1] = 1.0 if head == "svm" else 0.0
    curvature = np.append(energy, len(labels)) * (2.0 if head == "svm" else 1.0 / n_classes)

    def loss(margins: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        if head == "svm":
            return _squared_hinge(margins, labels, sample_weight, binary)
        return _log_loss(margins, labels, sample_weight)

    # Of two classes' machines the one is the other's negative: their difference is the decision.
    share = 0.5 if binary and head == "svm" else 1.0
    found = np.zeros((n_classes, len(energy) + 1))
    for step, C in enumerate(Cs):
        start = found if starts is None else starts[step] / share
        with threads_for(values.size * n_classes):
            found = _minimise(values, loss, C, penalty, curvature, start, tolerance)
        yield found * share


def _minimise(
    values: NDArray[np.float32],
    loss: _Loss,
    C: float,
    penalty: NDArray[np.float64],
    curvature: NDArray[np.float64],
    start: NDArray[np.float64],
    tolerance: float,
) -> NDArray[np.float64]:
    stretch = 1.0 / np.sqrt(penalty + C * curvature)

    def objective(scaled: _Vector) -> tuple[float, _Vector]:
        weight = scaled.reshape(start.shape) * stretch
        low = weight.astype(np.float32)
        total, slope = loss(values @ low[:, :-1].T + low[:, -1])
        penalised = weight * penalty
        gradient = penalised.copy()
        gradient[:, :-1] += C * (slope.T @ values)
        gradient[:, -1] += C * slope.sum(axis=0, dtype=np.float64)
        value = C * total + 0.5 * float(np.vdot(weight, penalised))
        return value / unit, (gradient * stretch).ravel() / unit

    scaled = (start / stretch).ravel()
    unit = 1.0
    unit = max(objective(scaled)[0], np.finfo(float).tiny)  # so that the tolerance is relative
    found = minimize(
        objective,
        scaled,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "ftol": tolerance, "gtol": 0.0},
    )
    return np.asarray(found.x.reshape(start.shape) * stretch)


def _squared_hinge(
    margins: NDArray[np.float32],
    labels: NDArray[np.int64],
    sample_weight: NDArray[np.float32],
    binary: bool,
) -> tuple[float, NDArray[np.float32]]:
    """The loss and its slope; overwrites the margins ``(n, n_classes)``.

    As in LIBLINEAR, a class's weight counts for its samples against the rest, not for the rest.
    """
    rows = np.arange(len(labels))
    margins[rows, labels] *= -1
    margins += 1
    missing = np.maximum(margins, 0, out=margins)
    slope = 2 * missing
    if binary:
        slope *= sample_weight[:, None]
    else:
        slope[rows, labels] *= sample_weight
    total = 0.5 * float(np.einsum("ij,ij->", slope, missing, dtype=np.float64))
    slope[rows, labels] *= -1
    return total, slope


def _log_loss(
    margins: NDArray[np.float32], labels: NDArray[np.int64], sample_weight: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    """The loss and its slope; overwrites the margins ``(n, n_classes)``."""
    rows = np.arange(len(labels))
    margins -= margins.max(axis=1, keepdims=True)
    own = margins[rows, labels]
    slope = np.exp(margins, out=margins)
    sums = slope.sum(axis=1)
    total = float(np.dot(sample_weight.astype(np.float64), np.log(sums) - own))
    slope /= sums[:, None]
    slope[rows, labels] -= 1
    slope *= sample_weight[:, None]
    return total, slope
