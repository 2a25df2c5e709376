"""Linear classifiers solved on features: the support vector machine and the softmax probe."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

Head = Literal["svm", "logistic"]

_SVM_ITERATIONS = 100
"""LIBLINEAR's dual solver is as good after 100 passes as after 1,000 and up to ten times faster
(clothing10 and omniglot136, 1,000 samples, C from 1e-5 to 1: accuracy within 0.5 points)."""
_PROBE_ITERATIONS = 1000
_SERIAL_BELOW = 2e8
"""Below so many multiplications in a pass, threads cost more than they bring."""


@dataclass(frozen=True)
class LinearClassifier:
    """Logits ``((features - mean) / scale) @ weight.T + bias``.

    Attributes:
        mean: ``(n_features,) float32`` of the training features.
        scale: ``(n_features,) float32``, their standard deviation, 1 where it is 0.
        weight: ``(n_classes, n_features) float32``.
        bias: ``(n_classes,) float32``.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities ``(n, n_classes)`` of features ``(n, n_features)``."""
        logits = ((features - self.mean) / self.scale) @ self.weight.T + self.bias
        return np.asarray(softmax(logits, axis=1), dtype=np.float32)

    def on_raw_features(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias of the same function without standardisation."""
        weight = (self.weight / self.scale).astype(np.float32)
        return weight, (self.bias - weight @ self.mean).astype(np.float32)


def solve_linear(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_classes: int,
    *,
    head: Head,
    C: float,
    balanced: bool,
    seed: int,
) -> LinearClassifier:
    """Standardise features and solve for the linear classifier.

    The softmax probe is multinomial logistic regression. The support vector machine is linear,
    one class against the rest (Fan et al. 2008, LIBLINEAR); its decisions become logits by one
    temperature that is fitted on a quarter of the training samples held out (Guo et al. 2017).

    Args:
        features: ``(n_samples, n_features)``.
        labels: ``(n_samples,)``, at least two different ones.
        n_classes: rows of the result; a class without samples gets a logit far below the others.
        head: ``svm`` or ``logistic``.
        C: inverse strength of the L2 penalty, above 0.
        balanced: whether classes weigh the same however rare they are.
        seed: of the solver's and the hold-out's randomness.
    """
    # In double precision, since a constant column of float32 seems to vary otherwise.
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = features.std(axis=0, dtype=np.float64).astype(np.float32)
    scale[scale < 1e-6] = 1.0
    x = (features - mean) / scale
    solve = partial(_solve, n_classes=n_classes, head=head, C=C, balanced=balanced, seed=seed)
    weight, bias = solve(x, labels)
    if head == "svm":
        temperature = _temperature(solve, x, labels, seed)
        weight, bias = weight / temperature, bias / temperature
    bias[np.bincount(labels, minlength=n_classes) == 0] = -1e4
    return LinearClassifier(mean, scale, weight, bias)


def _solve(
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_classes: int,
    head: Head,
    C: float,
    balanced: bool,
    seed: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    class_weight = "balanced" if balanced else None
    solver: LinearSVC | LogisticRegression
    if head == "svm":
        solver = LinearSVC(
            C=C,
            class_weight=class_weight,
            dual=True,
            tol=1e-3,
            max_iter=_SVM_ITERATIONS,
            random_state=seed,
        )
    else:
        solver = LogisticRegression(C=C, class_weight=class_weight, max_iter=_PROBE_ITERATIONS)
    serial = x.size * n_classes < _SERIAL_BELOW
    with threadpool_limits(1 if serial else None), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solver.fit(x, labels)
    rows, intercepts = solver.coef_, solver.intercept_
    if len(rows) == 1:  # two classes: one decision d, whose softmax is that of (-d/2, d/2)
        rows, intercepts = np.stack([-rows[0], rows[0]]) / 2, np.array([-1, 1]) * intercepts / 2
    weight = np.zeros((n_classes, x.shape[1]), dtype=np.float32)
    bias = np.zeros(n_classes, dtype=np.float32)
    weight[solver.classes_] = rows
    bias[solver.classes_] = intercepts
    return weight, bias


def _temperature(
    solve: Callable[..., tuple[NDArray[np.float32], NDArray[np.float32]]],
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    seed: int,
) -> float:
    """The temperature that makes held-out decisions the likeliest; 1 with too few samples.

    The labels count as a little uncertain, as in Platt 1999, section 2.2: otherwise decisions
    without a mistake among the held-out ones would become certainties.
    """
    present, column = np.unique(labels, return_inverse=True)
    if np.bincount(column).min() < 4:
        return 1.0
    fitted, held_out = train_test_split(
        np.arange(len(labels)), test_size=0.25, stratify=labels, random_state=seed
    )
    weight, bias = solve(x[fitted], labels[fitted])
    decisions = (x[held_out] @ weight.T + bias)[:, present]
    rows = np.arange(len(held_out))
    doubt = 1.0 / (len(held_out) + 2.0)

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(decisions / np.exp(log_temperature), axis=1)
        right = scaled[rows, column[held_out]].mean()
        return float(-(1.0 - doubt) * right - doubt * scaled.mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 3.0), method="bounded").x))
