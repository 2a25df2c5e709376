"""How the accuracy of a linear classifier on frozen features grows with the samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.moments import Features, Labels, Matrix, check_features, class_sums
from autotl.analysis.power_law import PowerLaw, fit_power_law

SHARES = (0.1, 0.2, 0.4, 0.8)
"""Of the training samples, that a classifier is fitted to."""
MAX_WIDTH = 0.1
"""A gain whose 95 % interval is wider than this is called unknown."""

_N_REPEATS = 5
_N_FITTED = 33
_MIN_TRAIN = 10
_MIN_POINTS = 3
_MAX_AXES = 256
_FITTED_SAMPLES = 4000
_MAX_SCORES = 1_000_000
_MIN_VALIDATION = 20
_PENALTIES = (0.01, 0.1, 1.0, 10.0)
_BLOCK = 8192


@dataclass(frozen=True)
class LearningCurve:
    """The measured curve, and what doubling the samples would bring.

    Attributes:
        n_samples: training samples of each point, ascending.
        accuracy: mean over repeated draws, for each point, in [0, 1].
        n_train: training samples there are.
        gain: expected gain of accuracy from ``n_train`` to twice as many; None: unknown.
        interval: its central 95 %; None where no curve could be fitted.
        reason: why the gain is unknown; empty where it is known.
        fitted: the power law from the first point to twice ``n_train``, evenly in the logarithm:
            samples, median accuracy, and its central 95 %; empty where no curve could be fitted.
        n_sampled: training samples that the points are parts of, where that isn't all; else None.
    """

    n_samples: tuple[int, ...] = ()
    accuracy: tuple[float, ...] = ()
    n_train: int = 0
    gain: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""
    fitted: tuple[tuple[float, float, float, float], ...] = ()
    n_sampled: int | None = None

    def __str__(self) -> str:
        if self.gain is None or self.interval is None:
            told = f"what more labels would bring is unknown ({self.reason})"
        else:
            low, high = (f"{100 * bound:+.1f}" for bound in self.interval)
            told = (
                f"twice as many labels would bring about {100 * self.gain:+.1f} points of accuracy "
                f"[{low}, {high}]"
            )
        if self.n_sampled is None:
            return told
        return f"{told}, by a sample of {self.n_sampled:,} of the {self.n_train:,} to learn from"


def measure_learning_curve(
    features: Features,
    labels: Labels,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    seed: int = 0,
    n_train: int | None = None,
) -> LearningCurve:
    """Fit to growing parts of the training samples, and extrapolate to twice as many.

    The classifier is ridge regression on class indicators (regularised least squares; Rifkin et al.
    2003), whose solution is exact and quick, on at most 256 principal axes of the standardised
    features. Its penalty is chosen on one half of the validation samples for the other half. Parts
    are drawn five times, class by class, each within the next larger one.

    Args:
        features: ``(n, d)``.
        labels: ``(n,) int64``.
        train: rows to learn from.
        validation: rows to be right about; none of ``train``.
        seed: of the draws.
        n_train: samples to learn from that there are, whose doubling is extrapolated to; None: as
            many as ``train`` has.

    Returns:
        The curve. Its gain is unknown, and the reason said, where there are fewer than ten training
        samples, 20 validation samples or two classes; where the parts hold fewer samples than there
        are classes; where features don't vary; where the interval is wider than
        :data:`MAX_WIDTH`, since the points don't determine the law.

    Raises:
        InputError: features that are NaN or infinite.
    """
    n = len(train) if n_train is None else n_train
    curve, law = _curve_and_law(features, labels, train, validation, seed)
    curve = replace(curve, n_train=n, n_sampled=len(train) if len(train) < n else None)
    if law is None:
        return curve
    gain, low, high = law.quantiles(law.error(float(n)) - law.error(2.0 * n))
    known = high - low <= MAX_WIDTH
    reason = "" if known else f"it may be {100 * low:+.1f} to {100 * high:+.1f} points"
    return replace(
        curve,
        gain=gain if known else None,
        interval=(low, high),
        reason=reason,
        fitted=tuple(
            (float(size), *law.quantiles(1 - law.error(float(size))))
            for size in np.geomspace(curve.n_samples[0], 2 * n, _N_FITTED)
        ),
    )


def foretell_accuracy(
    features: Features,
    labels: Labels,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    n_samples: int,
    seed: int = 0,
) -> tuple[float, float, float] | None:
    """The accuracy after training on another number of samples: median and central 95 %.

    Args:
        features: ``(n, d)``.
        labels: ``(n,) int64``.
        train: rows to learn from.
        validation: rows to be right about.
        n_samples: for how many training samples.
        seed: of the draws.

    Returns:
        None where no curve can be fitted; see :func:`measure_learning_curve`.
    """
    _, law = _curve_and_law(features, labels, train, validation, seed)
    return None if law is None else law.quantiles(1 - law.error(float(n_samples)))


def accuracies(
    features: Features,
    labels: Labels,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    sizes: NDArray[np.int64],
    seed: int = 0,
) -> Matrix:
    """Which validation samples are right after training on parts of these sizes.

    Args:
        features: ``(n, d)``.
        labels: ``(n,) int64``.
        train: rows to learn from.
        validation: rows to be right about.
        sizes: ``(n_sizes,)``, ascending.
        seed: of the draws.

    Returns:
        ``(n_repeats, n_sizes, n_validation)``, 1 where right.
    """
    rng = np.random.default_rng(seed)
    names, column = np.unique(labels, return_inverse=True)
    x, y = _on_axes(features, train, validation, rng)
    true = column[validation]
    first_half = rng.permutation(len(true)) < len(true) // 2
    right = np.empty((_N_REPEATS, len(sizes), len(true)))
    for repeat in range(_N_REPEATS):
        order = _stratified(column[train], rng)
        gram = np.zeros((x.shape[1], x.shape[1]))
        sums = np.zeros((len(names), x.shape[1]))
        start = 0
        for place, size in enumerate(sizes):
            part = order[start:size]
            rows, start = x[part], int(size)
            gram += rows.T @ rows
            sums += class_sums(rows, column[train][part], len(names), np.zeros(x.shape[1]))
            right[repeat, place] = _right(gram, sums, int(size), y, true, first_half)
    return right


def _curve_and_law(
    features: Features,
    labels: Labels,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    seed: int,
) -> tuple[LearningCurve, PowerLaw | None]:
    check_features(features)
    n_train, n_classes = len(train), len(np.unique(labels[train]))

    def unknown(reason: str) -> tuple[LearningCurve, None]:
        return LearningCurve(n_train=n_train, reason=reason), None

    if n_train < _MIN_TRAIN or len(validation) < _MIN_VALIDATION:
        return unknown(f"{n_train} samples to learn from and {len(validation)} to validate on")
    if n_classes < 2:
        return unknown("one class only")
    if not np.ptp(features[train], axis=0).any():
        return unknown("the features don't vary")
    sizes = np.unique([int(share * n_train) for share in SHARES])
    sizes = sizes[sizes >= max(n_classes, _MIN_TRAIN // 2)]
    if len(sizes) < _MIN_POINTS:
        return unknown(
            f"{n_train:,} samples of {n_classes:,} classes are too few to leave some out"
        )
    validation = _fewer(validation, n_classes, seed)
    right = accuracies(features, labels, train, validation, sizes, seed)
    error = 1 - right.mean(axis=(0, 2))
    law = fit_power_law(sizes.astype(np.float64), error, _covariance(right))
    accuracy = tuple(float(value) for value in 1 - error)
    return LearningCurve(tuple(int(size) for size in sizes), accuracy, n_train), law


def _fewer(validation: NDArray[np.int64], n_classes: int, seed: int) -> NDArray[np.int64]:
    """So many validation samples that scoring them for each class doesn't take long."""
    most = max(200, _MAX_SCORES // n_classes)
    return np.random.default_rng(seed).permutation(validation)[:most]


def _covariance(right: Matrix) -> Matrix:
    """Of the errors at each size: from the choice of samples to learn from, and to validate on."""
    n_repeats, _, n_validation = right.shape
    of_samples = np.atleast_2d(np.cov(right.mean(axis=0))) / n_validation
    of_draws = np.atleast_2d(np.cov(right.mean(axis=2).T)) / n_repeats
    return np.asarray(of_samples + of_draws)


def _on_axes(
    features: Features,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Features, Features]:
    """Standardised features on their principal axes, a constant one added, for both parts."""
    fitted = features[rng.permutation(train)[:_FITTED_SAMPLES]].astype(np.float32)
    mean, deviation = fitted.mean(axis=0, dtype=np.float64), fitted.std(axis=0, dtype=np.float64)
    varies = deviation > 1e-6 * np.abs(fitted).max(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    centre, scale = mean.astype(np.float32), scale.astype(np.float32)
    fitted = (fitted - centre) * scale
    axes = np.eye(fitted.shape[1], dtype=np.float32)
    if fitted.shape[1] > _MAX_AXES:
        axes = np.linalg.eigh(fitted.T @ fitted)[1][:, -_MAX_AXES:]
    axes = axes * scale[:, None]

    def project(rows: NDArray[np.int64]) -> Features:
        found = np.ones((len(rows), axes.shape[1] + 1), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            found[block, :-1] = (features[rows[block]] - centre) @ axes
        return found

    return project(train), project(validation)


def _stratified(column: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """An order of which every beginning holds about its share of each class, at random."""
    counts = np.bincount(column)
    shuffled = rng.permutation(len(column))
    by_class = shuffled[np.argsort(column[shuffled], kind="stable")]
    rank = np.arange(len(column)) - (np.cumsum(counts) - counts)[column[by_class]]
    return by_class[np.argsort((rank + rng.random(len(rank))) / counts[column[by_class]])]


def _right(
    gram: Matrix,
    sums: Matrix,
    n_samples: int,
    validation: Features,
    true: NDArray[np.int64],
    first_half: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which answers are right, each half's penalty chosen on the other half."""
    from scipy.linalg import cho_factor, cho_solve

    unit = np.trace(gram) / len(gram) * min(1.0, len(gram) / n_samples)
    found = np.empty((len(_PENALTIES), len(true)), dtype=bool)
    for place, penalty in enumerate(_PENALTIES):
        factor = cho_factor(gram + penalty * unit * np.eye(len(gram)), check_finite=False)
        weights = cho_solve(factor, sums.T, check_finite=False).astype(np.float32)
        found[place] = (validation @ weights).argmax(axis=1) == true
    of_first, of_second = found[:, first_half].mean(axis=1), found[:, ~first_half].mean(axis=1)
    right: NDArray[np.bool_] = np.where(
        first_half, found[of_second.argmax()], found[of_first.argmax()]
    )
    return right
