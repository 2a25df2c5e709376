"""How well frozen features tell the classes apart, without training a network on them.

Pure functions of features ``(n_samples, num_features) float32`` and labels ``(n_samples,) int64``;
greater is better, among feature sets of the *same* samples: none of them compares data sets.

What they all do: labels are names only, and classes that don't occur are ignored. With fewer than
two samples or two classes there is nothing to tell apart: NaN. Features that are NaN or infinite
are refused with an :class:`~autotl.errors.InputError`. Constant features score what no information
scores, which each function names. Second moments are taken of whichever of ``(n, n)`` and
``(d, d)`` is smaller, in float64. :func:`score_all` computes once what several need, and of very
many samples looks at some.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.labelled import LabelledFeatures, labelled, stratified_rows
from autotl.analysis.moments import (
    Features,
    Labels,
    Matrix,
    check_features,
    class_sums,
    indicators,
    sampling_error,
    scatter_of,
)
from autotl.analysis.neighbours import (
    centroid_accuracy,
    centroids_of,
    k_nn_accuracy,
    k_nn_of,
    parc,
    parc_of,
)
from autotl.errors import InputError

NOISE_RATIO_RANGE = (1e-8, 1e8)
"""Where LogME looks for ``alpha / beta``, in units of the mean eigenvalue of ``F'F``."""
MAX_SAMPLES = 20_000
"""As many samples :func:`score_all` looks at."""
MAX_MIXTURE_SAMPLES = 5000
"""NLEEP fits its mixture to at most this many samples."""
MAX_MIXTURE_FEATURES = 64
"""... in at most this many principal components."""

_FIXED_POINT_STEPS = 50


def log_me(features: Features, labels: Labels) -> float:
    """Logarithm of maximum evidence, mean over the classes, per sample, in nats.

    Bayesian linear regression of each class's 0/1 indicator ``y ~ N(F w, I / beta)``,
    ``w ~ N(0, I / alpha)``, whose evidence is maximised over alpha and beta (You et al. 2021, ICML,
    arXiv 2102.11005). As in the optimised version (You et al. 2022, JMLR, arXiv 2110.10545) one
    decomposition of ``F'F`` serves all classes and MacKay's fixed point is iterated on
    ``alpha / beta`` alone; here it starts from the best of a grid, so that a local maximum or a
    slow start doesn't decide. As published, features are not centred and there is no intercept.

    Invariant to rotations and to one scale of all features. Unbounded above. Constant features:
    the evidence of the mean alone. Features that fit the labels without any noise have infinite
    evidence; the bound :data:`NOISE_RATIO_RANGE` keeps it finite.
    """
    return _of(_log_me, features, labels)


def _log_me(data: LabelledFeatures) -> float:
    values, projections = _projections(data, np.zeros(data.num_features))
    if len(values) == 0:
        values, projections = np.ones(1), np.zeros((1, data.n_classes))
    low, high = np.array(NOISE_RATIO_RANGE) * values.mean()
    grid = np.geomspace(low, high, 33)
    found = np.stack(
        [_evidence(np.full(data.n_classes, r), values, projections, data) for r in grid]
    )
    ratio = grid[found.argmax(axis=0)]
    evidence = found.max(axis=0)
    for _ in range(_FIXED_POINT_STEPS):
        ratio = np.clip(_fixed_point(ratio, values, projections, data), low, high)
        previous = evidence
        evidence = np.maximum(evidence, _evidence(ratio, values, projections, data))
        if np.all(evidence - previous < 1e-9):
            break
    return float(evidence.mean())


def _projections(data: LabelledFeatures, centre: Matrix) -> tuple[Matrix, Matrix]:
    """What the features span, and how much of each class's indicator lies in it.

    Returns:
        The non-zero eigenvalues ``(rank,)`` of the scatter about the centre, and the squared
        projections ``(rank, n_classes)`` of the class indicators on its left singular vectors.
    """
    values, vectors = np.linalg.eigh(data.scatter if centre.any() else data.scatter_about_zero)
    kept = values > values[-1] * max(data.features.shape) * np.finfo(np.float64).eps * 8
    kept &= values > 0
    values, vectors = values[kept], vectors[:, kept]
    if data.n_samples < data.num_features:
        along = (indicators(data.labels, data.n_classes) @ vectors).T
    else:
        sums = class_sums(data.features, data.labels, data.n_classes, centre)
        along = vectors.T @ sums.T / np.sqrt(values)[:, None]
    return values, np.square(along)


def _residual(projections: Matrix, data: LabelledFeatures) -> Matrix:
    """Squared length of each indicator outside of the features' span; rounding counts as none."""
    outside = data.counts - projections.sum(axis=0)
    residual: Matrix = np.where(outside > 1e-9 * data.counts, outside, 0.0)
    return residual


def _evidence(ratio: Matrix, values: Matrix, projections: Matrix, data: LabelledFeatures) -> Matrix:
    """Log evidence per sample, beta at its best for the given ``alpha / beta`` of each class."""
    shrunk = ratio / (ratio + values[:, None])
    misfit = (projections * shrunk).sum(axis=0) + _residual(projections, data)
    log_det = -np.log(shrunk).sum(axis=0) / data.n_samples
    evidence: Matrix = -0.5 * (np.log(2 * np.pi * misfit / data.n_samples) + 1 + log_det)
    return evidence


def _fixed_point(
    ratio: Matrix, values: Matrix, projections: Matrix, data: LabelledFeatures
) -> Matrix:
    """MacKay's next ``alpha / beta``: gamma / m'm over (n - gamma) / |F m - y|^2."""
    shrunk = ratio / (ratio + values[:, None])
    gamma = (1 - shrunk).sum(axis=0)
    misfit = (projections * shrunk**2).sum(axis=0) + _residual(projections, data)
    weight = (projections * (1 - shrunk) ** 2 / values[:, None]).sum(axis=0)
    free = data.n_samples - len(values) + shrunk.sum(axis=0)
    with np.errstate(divide="ignore"):
        following: Matrix = gamma * misfit / (weight * free)
    return following


def h_score(features: Features, labels: Labels) -> float:
    """Shrunken H-score: how much of the features' variance lies between the classes.

    ``tr(S_a^-1 (1 - a) B)`` with ``B`` the covariance of the class means (Bao et al. 2019, ICIP)
    and ``S_a`` the features' covariance shrunk by Ledoit and Wolf's ``a`` (Ibrahim et al. 2021,
    arXiv 2110.06893), without which it means nothing for ``n < d``. All divisors are ``n``.

    Invariant to rotations, shifts and one scale of all features. In ``[0, n_classes - 1]``;
    constant features: 0.
    """
    return _of(_h_score, features, labels)


def _h_score(data: LabelledFeatures) -> float:
    scatter, projections = _projections(data, data.mean)
    values = scatter / data.n_samples
    squared_norm = float(np.square(values).sum())
    target = float(values.sum()) / data.num_features
    spread = squared_norm - data.num_features * target**2
    error = sampling_error(data.features, data.mean, squared_norm)
    # Nothing to shrink where the covariance is its target already, as with one feature.
    shrinkage = min(1.0, error / spread) if spread > 1e-12 * squared_norm else 0.0
    between = (projections / data.counts).sum(axis=1) * values
    return float(
        ((1 - shrinkage) * between / ((1 - shrinkage) * values + shrinkage * target)).sum()
    )


def trans_rate(
    features: Features, labels: Labels, distortion: float = 1e-4, seed: int = 0
) -> float:
    """TransRate above chance: how much the coding rate falls when the classes are known, in nats.

    ``R(Z) - sum_c n_c / n R(Z_c)`` with ``R(Z) = 1/2 log det(I + Z'Z / (n distortion))`` and ``Z``
    centred (Huang et al. 2022, ICML, arXiv 2106.09362), less the same for labels dealt anew at
    random. Three changes to the published code. It weighs all classes alike, which is right for
    balanced ones only; it lets the features' scale in, here the total variance is 1; and with
    fewer samples than features in a class, the rate falls by the mere loss of rank, so that pure
    noise scored above features that separate the classes. Hence the comparison with chance.

    Args:
        features: ``(n, d) float32``.
        labels: ``(n,) int64``.
        distortion: allowed squared error, as a share of the total variance.
        seed: of the dealing.

    Returns:
        Around 0 for labels that the features know nothing of; constant features: 0. Also around 0
        for two classes of equal size and spread, however far apart: they lie on either side of the
        common mean, and either has the whole set's rate. Invariant to rotations, shifts and one
        scale of all features.
    """
    return _of(lambda data: _trans_rate(data, distortion, seed), features, labels)


def _trans_rate(data: LabelledFeatures, distortion: float = 1e-4, seed: int = 0) -> float:
    unit = distortion * float(np.trace(data.scatter)) / data.n_samples
    if unit <= 0.0:
        return 0.0
    chance = np.random.default_rng(seed).permutation(data.labels)
    rate = 0.0
    for dealt, sign in ((chance, 1), (data.labels, -1)):
        by_class = np.split(np.argsort(dealt, kind="stable"), data.counts.cumsum()[:-1].astype(int))
        for rows, count in zip(by_class, data.counts, strict=True):
            scatter = scatter_of(data.features[rows], data.mean)
            rate += sign * count / data.n_samples * _coding_rate(scatter, unit * count)
    return float(rate)


def _coding_rate(scatter: Matrix, unit: float) -> float:
    from scipy.linalg import cholesky

    root = cholesky(np.eye(len(scatter)) + scatter / unit, check_finite=False)
    return float(np.log(root.diagonal()).sum())


def leep(source_probabilities: NDArray[np.float32], labels: Labels) -> float:
    """Log expected empirical prediction, mean over the samples, in nats.

    Likelihood of the labels under the classifier that looks up the label's distribution given the
    source class (Nguyen et al. 2020, ICML, arXiv 2002.12462). Published comparisons find it weaker
    than the scores from features; for where a source head is all there is.

    Args:
        source_probabilities: ``(n, n_source_classes)``, of the source head, rows sum to 1.
        labels: ``(n,) int64``.

    Returns:
        At most 0. Between minus the labels' entropy, reached by a head that says the same of all
        samples, and 0. NaN for fewer than two samples or two classes.

    Raises:
        InputError: not probabilities.
    """
    data = labelled(source_probabilities, labels)
    if data is None:
        return float("nan")
    totals = source_probabilities.sum(axis=1, dtype=np.float64)
    if (source_probabilities < 0).any() or np.abs(totals - 1).max() > 1e-3:
        raise InputError(
            "source_probabilities must be at least 0 and sum to 1 in each row, but range from "
            f"{source_probabilities.min():g} and sum to {totals.min():g} ... {totals.max():g}; "
            "apply the softmax first"
        )
    of_source = source_probabilities.astype(np.float64) / totals[:, None]
    joint = indicators(data.labels, data.n_classes) @ of_source
    occurrence = joint.sum(axis=0)
    given = np.divide(joint, occurrence, out=np.zeros_like(joint), where=occurrence > 0)
    likelihood = np.einsum("ij,ij->i", of_source, given[data.labels])
    return float(np.log(likelihood).mean())


def n_leep(features: Features, labels: Labels, seed: int = 0) -> float:
    """NLEEP: LEEP with the components of a Gaussian mixture in place of source classes.

    Principal components with 80 % of the variance, a mixture of Gaussians fitted to them without
    the labels, and :func:`leep` of its posterior (Li et al. 2021, CVPR, arXiv 2102.11856). So that
    few samples in many dimensions stay sound: diagonal covariances, at most
    :data:`MAX_MIXTURE_FEATURES` components of the variance, and five Gaussians per class as
    published but no more than one per ten samples (at least one per class). Looks at
    :data:`MAX_MIXTURE_SAMPLES` samples at most.

    Args:
        features: ``(n, d) float32``.
        labels: ``(n,) int64``.
        seed: of the choice of samples and the mixture's start.

    Returns:
        At most 0; constant features: minus the labels' entropy.
    """
    return _of(lambda data: _n_leep(data, seed), features, labels)


def _n_leep(data: LabelledFeatures, seed: int = 0) -> float:
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    data = data.subsample(MAX_MIXTURE_SAMPLES, seed)
    centred = data.features.astype(np.float64) - data.mean
    scale = np.abs(centred).max()
    if scale <= 1e-6 * np.abs(data.features).max():
        return leep(np.ones((data.n_samples, 1), dtype=np.float32), data.labels)
    width = min(MAX_MIXTURE_FEATURES, data.n_samples, data.num_features)
    pca = PCA(width, random_state=seed).fit(centred / scale)
    enough = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), 0.8)) + 1
    reduced = pca.transform(centred / scale)[:, :enough]
    reduced /= reduced[:, 0].std()
    n_components = min(5 * data.n_classes, max(data.n_classes, data.n_samples // 10))
    mixture = GaussianMixture(
        n_components, covariance_type="diag", reg_covar=1e-4, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior = mixture.fit(reduced).predict_proba(reduced)
    return leep(posterior, data.labels)


def _of(measure: Callable[[LabelledFeatures], float], features: Features, labels: Labels) -> float:
    data = labelled(features, labels)
    return float("nan") if data is None else measure(data)


_MEASURES: dict[str, Callable[[LabelledFeatures], float]] = {
    "log_me": _log_me,
    "h_score": _h_score,
    "k_nn_accuracy": k_nn_of,
    "centroid_accuracy": centroids_of,
    "parc": parc_of,
    "trans_rate": _trans_rate,
    "n_leep": _n_leep,
}


def score_all(features: Features, labels: Labels) -> dict[str, float]:
    """All of :data:`SCORES`, sooner than one by one.

    Of more than :data:`MAX_SAMPLES` samples so many are scored, of each class its share
    (``studies/analyzer`` says by how much that moves them).
    """
    if len(features) == len(labels) > MAX_SAMPLES:
        check_features(features)
        rows = stratified_rows(labels, MAX_SAMPLES, np.random.default_rng(0))
        features, labels = features[rows], labels[rows]
    data = labelled(features, labels)
    if data is None:
        return dict.fromkeys(_MEASURES, float("nan"))
    return {name: measure(data) for name, measure in _MEASURES.items()}


SCORES: dict[str, Callable[[Features, Labels], float]] = {
    "log_me": log_me,
    "h_score": h_score,
    "k_nn_accuracy": k_nn_accuracy,
    "centroid_accuracy": centroid_accuracy,
    "parc": parc,
    "trans_rate": trans_rate,
    "n_leep": n_leep,
}
"""Those that need features and labels only, by name."""
