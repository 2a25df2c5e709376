"""Linear classifiers solved on features: the support vector machine and the softmax probe."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from autotl.strategies.path import Head, solve_rotated
from autotl.strategies.rotated import RotatedFeatures

C_GRID = tuple(float(10.0 ** (half / 2)) for half in range(-10, 1))
"""Half decades from 1e-5 to 1: what ``auto`` chooses from."""
DEFAULT_C = {"svm": 0.003, "logistic": 0.03}
"""What ``auto`` means when there are too few samples to hold any out."""
_TOLERANCE = 1e-6
_HELD_OUT_TOLERANCE = 1e-5
_PATIENCE = 2
"""After so many worse values in a row the path isn't followed to greater ``C``."""
_QUARTERS = 4
_ALL_QUARTERS_BELOW = 2e7
"""Below so many multiplications in a pass each quarter is held out in turn, above only one."""
_MIN_HELD_OUT = 8


@dataclass(frozen=True)
class LinearClassifier:
    """Logits ``((features - mean) / scale) @ weight.T + bias``.

    Attributes:
        mean: ``(n_features,) float32`` of the training features.
        scale: ``(n_features,) float32``, their standard deviation, 1 where it is 0.
        weight: ``(n_classes, n_features) float32``.
        bias: ``(n_classes,) float32``.
        C: inverse strength of the L2 penalty that it was solved with.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    C: float

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
    C: float | Literal["auto"],
    balanced: bool,
    seed: int,
) -> LinearClassifier:
    """Standardise features and solve for the linear classifier.

    The softmax probe is multinomial logistic regression. The support vector machine is linear,
    one class against the rest (Fan et al. 2008, LIBLINEAR); its decisions become logits by one
    temperature that makes held-out training samples the likeliest (Guo et al. 2017): a quarter is
    held out while the others are solved for, and of a small problem each quarter in turn. The
    classifier itself is solved on all samples.

    With ``auto``, ``C`` is the value of :data:`C_GRID` under which the held-out samples are the
    likeliest. Classes with fewer than four samples are never held out; if fewer than eight samples
    can be, ``C`` is that of :data:`DEFAULT_C`, and the temperature 1.

    Args:
        features: ``(n_samples, n_features)``.
        labels: ``(n_samples,)``, at least two different ones.
        n_classes: rows of the result; a class without samples gets a logit far below the others.
        head: ``svm`` or ``logistic``.
        C: inverse strength of the L2 penalty, above 0, or ``auto``.
        balanced: whether classes weigh the same however rare they are.
        seed: of the choice of the held-out samples.
    """
    problem = _Problem.of(features, labels, n_classes, head, balanced, seed)
    if C != "auto":
        return problem.solve([C])[0]
    return problem.solve_best()


def solve_selected(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_classes: int,
    *,
    kept: float,
    head: Head,
    C: float | Literal["auto"],
    balanced: bool,
    seed: int,
) -> LinearClassifier:
    """Solve on all features, then once more on those that weighed most.

    A feature weighs as much as the norm of its weights for all classes, in a softmax probe on
    standardised features: one step of recursive feature elimination (Guyon et al. 2002), in place
    of the group lasso of Head2Toe (Evci et al. 2022, arXiv 2201.03529), beside which it was
    measured (``studies/head2toe``).

    Args:
        features: ``(n_samples, n_features)``.
        labels: ``(n_samples,)``, at least two different ones.
        n_classes: rows of the result.
        kept: share of the features to keep, above 0; 1: all, and it is solved once.
        head: ``svm`` or ``logistic``.
        C: inverse strength of the L2 penalty of the second, or ``auto``.
        balanced: whether classes weigh the same however rare they are.
        seed: of the choice of the held-out samples.

    Returns:
        A classifier of all features, in which those that weren't kept have no weight.
    """
    if kept == 1.0:
        return solve_linear(
            features, labels, n_classes, head=head, C=C, balanced=balanced, seed=seed
        )
    first = solve_linear(
        features, labels, n_classes, head="logistic", C="auto", balanced=balanced, seed=seed
    )
    present = first.weight[np.unique(labels)]
    weight = np.linalg.norm(present - present.mean(axis=0), axis=0)
    chosen = np.sort(np.argsort(-weight, kind="stable")[: n_selected(len(weight), kept)])
    second = solve_linear(
        features[:, chosen], labels, n_classes, head=head, C=C, balanced=balanced, seed=seed
    )
    spread = np.zeros_like(first.weight)
    spread[:, chosen] = second.weight
    return replace(second, mean=first.mean, scale=first.scale, weight=spread)


def n_selected(n_features: int, kept: float) -> int:
    """How many features a share of them is, at least one."""
    return max(1, round(kept * n_features))


def solve_path(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_classes: int,
    *,
    Cs: Sequence[float],
    head: Head,
    balanced: bool,
    seed: int,
) -> list[LinearClassifier]:
    """The classifiers of :func:`solve_linear` for several ``C``, at little more than one's cost.

    Args:
        features: ``(n_samples, n_features)``.
        labels: ``(n_samples,)``, at least two different ones.
        n_classes: rows of the result.
        Cs: ascending, above 0.
        head: ``svm`` or ``logistic``.
        balanced: whether classes weigh the same however rare they are.
        seed: of the choice of the held-out samples.

    Returns:
        One classifier for each ``C``.
    """
    return _Problem.of(features, labels, n_classes, head, balanced, seed).solve(Cs)


@dataclass(frozen=True)
class _Trial:
    """What one ``C`` is worth on the held-out samples.

    Attributes:
        C: inverse strength of the penalty.
        start: ``(n_present, n_axes + 1)``, coefficients without the last quarter of the samples.
        temperature: to divide the decisions by.
        loss: mean negative log likelihood of the held-out samples under it.
    """

    C: float
    start: NDArray[np.float64]
    temperature: float
    loss: float


@dataclass(frozen=True)
class _Problem:
    """Rotated features, ordered so that those which are held out together lie together.

    Attributes:
        rotated: the features.
        column: ``(n_samples,) int64``, each sample's class among those present.
        present: ``(n_present,) int64``, the classes that have samples.
        held_out: ranges of samples to hold out in turn, the last one first.
        n_classes: number of classes, with or without samples.
        head: ``svm`` or ``logistic``.
        balanced: whether classes weigh the same.
    """

    rotated: RotatedFeatures
    column: NDArray[np.int64]
    present: NDArray[np.int64]
    held_out: tuple[slice, ...]
    n_classes: int
    head: Head
    balanced: bool

    @classmethod
    def of(
        cls,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        n_classes: int,
        head: Head,
        balanced: bool,
        seed: int,
    ) -> _Problem:
        present, column = np.unique(labels, return_inverse=True)
        quarter = _quarters(column, seed)
        rows = np.argsort(quarter, kind="stable")
        ends = np.searchsorted(quarter[rows], np.arange(_QUARTERS + 1))
        ranges = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
        if features.size * len(present) >= _ALL_QUARTERS_BELOW:
            ranges = ranges[-1:]
        if ends[-1] - ends[0] < _MIN_HELD_OUT:
            ranges = []
        rotated = RotatedFeatures.of(features, rows)
        return cls(rotated, column[rows], present, tuple(ranges[::-1]), n_classes, head, balanced)

    def solve(self, Cs: Sequence[float]) -> list[LinearClassifier]:
        """A classifier for each ``C``."""
        if self.head == "logistic" or not self.held_out:
            solutions = self._solutions(self.rotated.values, self.column, Cs, _TOLERANCE)
            return [self._classifier(found, C) for C, found in zip(Cs, solutions, strict=True)]
        return self._finished(list(self._trials(Cs)))

    def solve_best(self) -> LinearClassifier:
        """The classifier for the ``C`` under which the held-out samples are the likeliest."""
        if not self.held_out:
            return self.solve([DEFAULT_C[self.head]])[0]
        best, n_worse = None, 0
        for trial in self._trials(C_GRID):
            if best is None or trial.loss < best.loss:
                best, n_worse = trial, 0
            else:
                n_worse += 1
            if n_worse == _PATIENCE:
                break
        assert best is not None  # the grid isn't empty
        return self._finished([best])[0]

    def _finished(self, trials: Sequence[_Trial]) -> list[LinearClassifier]:
        """Each trial's classifier, solved on all samples."""
        Cs, starts = [trial.C for trial in trials], [trial.start for trial in trials]
        solutions = self._solutions(self.rotated.values, self.column, Cs, _TOLERANCE, starts)
        return [
            self._classifier(found, trial.C, trial.temperature)
            for trial, found in zip(trials, solutions, strict=True)
        ]

    def _trials(self, Cs: Sequence[float]) -> Iterator[_Trial]:
        values, column = self.rotated.values, self.column
        true = np.concatenate([column[part] for part in self.held_out])
        paths = [
            self._solutions(*self._without(part), Cs, _HELD_OUT_TOLERANCE) for part in self.held_out
        ]
        for C, *found in zip(Cs, *paths, strict=True):
            decisions = np.concatenate(
                [
                    values[part] @ coefficients[:, :-1].T.astype(np.float32) + coefficients[:, -1]
                    for part, coefficients in zip(self.held_out, found, strict=True)
                ]
            )
            temperature = _temperature(decisions, true) if self.head == "svm" else 1.0
            yield _Trial(C, found[0], temperature, _loss(decisions / temperature, true))

    def _without(self, part: slice) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Values and classes of the other samples; a view if they are the first ones."""
        values, column = self.rotated.values, self.column
        if part.stop == len(column):
            return values[: part.start], column[: part.start]
        return np.delete(values, part, axis=0), np.delete(column, part)

    def _solutions(
        self,
        values: NDArray[np.float32],
        column: NDArray[np.int64],
        Cs: Sequence[float],
        tolerance: float,
        starts: Sequence[NDArray[np.float64]] | None = None,
    ) -> Iterator[NDArray[np.float64]]:
        return solve_rotated(
            values,
            self.rotated.frame.energy,
            column,
            Cs=Cs,
            head=self.head,
            balanced=self.balanced,
            tolerance=tolerance,
            starts=starts,
        )

    def _classifier(
        self, found: NDArray[np.float64], C: float, temperature: float = 1.0
    ) -> LinearClassifier:
        frame = self.rotated.frame
        weight = np.zeros((self.n_classes, len(frame.axes)), dtype=np.float32)
        bias = np.full(self.n_classes, -1e4, dtype=np.float32)
        weight[self.present] = (found[:, :-1] / temperature).astype(np.float32) @ frame.axes.T
        bias[self.present] = found[:, -1] / temperature
        return LinearClassifier(frame.mean, frame.scale, weight, bias, float(C))


def _quarters(column: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Each sample's quarter, 0 to 3, the same share of every class; -1 in classes of under four."""
    rng = np.random.default_rng(seed)
    quarter = np.full(len(column), -1)
    for label, count in enumerate(np.bincount(column)):
        if count >= _QUARTERS:
            own = rng.permutation(np.flatnonzero(column == label))
            quarter[own] = (np.arange(count) + label) % _QUARTERS
    return quarter


def _loss(logits: NDArray[np.float64], column: NDArray[np.int64]) -> float:
    """Mean negative log likelihood of samples whose labels count as a little uncertain.

    As in Platt 1999, section 2.2: otherwise decisions without a mistake among the held-out ones
    would become certainties.
    """
    doubt = 1.0 / (len(column) + 2.0)
    likely = log_softmax(logits, axis=1)
    right = likely[np.arange(len(column)), column].mean()
    return float(-(1.0 - doubt) * right - doubt * likely.mean())


def _temperature(decisions: NDArray[np.float64], column: NDArray[np.int64]) -> float:
    """The temperature that makes held-out decisions ``(n, n_classes)`` the likeliest."""
    best = minimize_scalar(
        lambda log_temperature: _loss(decisions / np.exp(log_temperature), column),
        bounds=(-4.0, 3.0),
        method="bounded",
    )
    return float(np.exp(best.x))
