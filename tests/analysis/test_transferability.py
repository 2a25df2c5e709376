"""Each score agrees with an independent computation, and bears what real features do to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group, spearmanr
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from autotl.analysis import moments, neighbours, transferability
from autotl.analysis.transferability import (
    SCORES,
    centroid_accuracy,
    h_score,
    k_nn_accuracy,
    leep,
    log_me,
    n_leep,
    parc,
    score_all,
    trans_rate,
)
from autotl.errors import InputError

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
Score = Callable[[Features, Labels], float]

each_score = pytest.mark.parametrize("name", SCORES)
shapes = pytest.mark.parametrize(("n", "d"), [(40, 6), (24, 60), (30, 1)])


def problem(n: int, d: int, signal: float = 1.0, seed: int = 0) -> tuple[Features, Labels]:
    """Three unequal classes around centres ``signal`` apart, off the origin, unequal scales."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.concatenate([[0, 0, 1, 1, 2, 2], rng.choice(3, n - 6, p=[0.6, 0.3, 0.1])]))
    centres = signal * rng.normal(size=(3, d))
    features = centres[labels] + rng.normal(size=(n, d)) + 0.7
    return (features * np.linspace(0.5, 2, d)).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize(("n", "d"), [(25, 4), (12, 30)])
def test_log_me_is_the_greatest_evidence(n: int, d: int) -> None:
    features, labels = problem(n, d)
    x = features.astype(np.float64)

    def loss(logs: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        covariance = np.eye(n) / math.exp(logs[1]) + x @ x.T / math.exp(logs[0])
        return -float(multivariate_normal.logpdf(y, np.zeros(n), covariance)) / n

    greatest = []
    for label in range(3):
        y = (labels == label).astype(np.float64)
        starts = [(a, b) for a in (-2.0, 2.0, 6.0) for b in (0.0, 3.0)]
        options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000}
        bounds = [(-15, 15), (-10, 12)]
        found = [
            minimize(loss, s, (y,), "Nelder-Mead", bounds=bounds, options=options).fun
            for s in starts
        ]
        greatest.append(-min(found))
    assert log_me(features, labels) == pytest.approx(np.mean(greatest), abs=1e-5)


@shapes
def test_h_score_by_its_definition(n: int, d: int) -> None:
    features, labels = problem(n, d)
    x = features.astype(np.float64)
    fitted = LedoitWolf().fit(x)
    means = np.stack([x[labels == label].mean(axis=0) for label in labels])
    between = np.cov(means.T, bias=True).reshape(d, d)
    covariance = fitted.covariance_.reshape(d, d)
    expected = np.trace(np.linalg.inv(covariance) @ between) * (1 - fitted.shrinkage_)
    if d > 1:  # with one feature, shrinkage to the mean variance changes nothing
        assert fitted.shrinkage_ > 0.01
    assert h_score(features, labels) == pytest.approx(expected, rel=1e-6)


@shapes
def test_k_nn_accuracy_against_scikit_learn(n: int, d: int) -> None:
    features, labels = problem(n, d, signal=0.5)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    right = 0.0
    for i in range(n):
        others = np.arange(n) != i
        model = KNeighborsClassifier(5).fit(scaled[others], labels[others])
        shares = model.predict_proba(scaled[i : i + 1])[0]
        best = np.flatnonzero(shares == shares.max())
        right += (labels[i] in best) / len(best)
    assert 0.2 < right / n < 1.0
    assert k_nn_accuracy(features, labels) == pytest.approx(right / n)


def test_k_nn_accuracy_of_drawn_queries_is_near_that_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = problem(1500, 4, signal=0.7)
    of_all = k_nn_accuracy(features, labels)
    monkeypatch.setattr(neighbours, "MAX_QUERIES", 700)
    drawn = [k_nn_accuracy(features, labels, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn == pytest.approx([of_all] * 3, abs=0.05)


@shapes
def test_centroid_accuracy_by_leaving_each_out(n: int, d: int) -> None:
    features, labels = problem(n, d, signal=0.4)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    right = []
    for i in range(n):
        others = np.arange(n) != i
        centroids = [scaled[others & (labels == label)].mean(axis=0) for label in range(3)]
        right.append(np.argmin([np.linalg.norm(scaled[i] - c) for c in centroids]) == labels[i])
    assert 0.2 < np.mean(right) < 1.0
    assert centroid_accuracy(features, labels) == pytest.approx(np.mean(right))


def test_parc_by_full_matrices() -> None:
    features, labels = problem(40, 6)
    one_hot = np.eye(3)[labels]
    upper = np.triu_indices(40, 1)
    of_features = (1 - np.corrcoef(features.astype(np.float64)))[upper]
    of_labels = (1 - np.corrcoef(one_hot))[upper]
    expected = spearmanr(of_features, of_labels.round(6)).statistic
    assert parc(features, labels) == pytest.approx(expected, abs=1e-9)


def test_parc_of_drawn_samples_keeps_the_rare_class(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(1000, dtype=np.int64)
    labels[[17, 400]] = 1
    features = (rng.normal(size=(1000, 8)) + 3 * rng.normal(size=(2, 8))[labels]).astype(np.float32)
    monkeypatch.setattr(neighbours, "MAX_PAIRED_SAMPLES", 60)
    assert parc(features, labels) > 0.05
    assert parc(features, labels, seed=1) != parc(features, labels)


@pytest.mark.parametrize(("n", "d"), [(60, 4), (24, 60)])
def test_trans_rate_by_determinants(n: int, d: int) -> None:
    features, labels = problem(n, d)
    z = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    z /= math.sqrt(np.square(z).sum() / n)

    def rate(rows: NDArray[np.float64]) -> float:
        return 0.5 * np.linalg.slogdet(np.eye(d) + rows.T @ rows / (len(rows) * 1e-4))[1]

    def gain(names: Labels) -> float:
        shares = [np.mean(names == c) * rate(z[names == c]) for c in range(3)]
        return rate(z) - sum(shares)

    expected = gain(labels) - gain(np.random.default_rng(0).permutation(labels))
    assert trans_rate(features, labels) == pytest.approx(expected, rel=1e-6)


def test_leep_by_loops() -> None:
    rng = np.random.default_rng(0)
    source = rng.dirichlet(np.ones(4), 30).astype(np.float32)
    source[:, 2] = 0
    source /= source.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 3, 30)
    total = 0.0
    for i in range(30):
        likelihood = 0.0
        for z in (0, 1, 3):
            joint = sum(source[k, z] for k in range(30) if labels[k] == labels[i])
            likelihood += source[i, z] * joint / source[:, z].sum()
        total += math.log(likelihood)
    assert leep(source, labels) == pytest.approx(total / 30, abs=1e-6)


def test_leep_of_a_perfect_and_of_a_dumb_head() -> None:
    labels = np.array([0, 0, 0, 1])
    assert leep(np.eye(2, dtype=np.float32)[labels], labels) == pytest.approx(0.0)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert leep(np.full((4, 5), 0.2, dtype=np.float32), labels) == pytest.approx(-entropy)


@pytest.mark.parametrize("first", [[2.0, -1.0], [2.0, 1.0], [0.2, 0.2]])
def test_leep_refuses_logits(first: list[float]) -> None:
    with pytest.raises(InputError, match="softmax"):
        leep(np.array([first, [0.0, 1.0]], dtype=np.float32), np.array([0, 1]))


def test_n_leep_by_its_parts() -> None:
    features, labels = problem(200, 12, signal=0.6)
    reduced = PCA(0.8, svd_solver="full").fit_transform(features.astype(np.float64))
    assert 2 < reduced.shape[1] < 12
    reduced /= reduced[:, 0].std()
    mixture = GaussianMixture(15, covariance_type="diag", reg_covar=1e-4, random_state=0)
    expected = leep(mixture.fit(reduced).predict_proba(reduced), labels)
    assert n_leep(features, labels) == pytest.approx(expected, abs=1e-4)


def test_n_leep_of_classes_apart_is_near_0() -> None:
    assert n_leep(*problem(200, 20, signal=20.0)) == pytest.approx(0.0, abs=0.01)


@each_score
@pytest.mark.parametrize("d", [8, 300])
def test_classes_apart_score_above_noisy_above_nothing(name: str, d: int) -> None:
    # The mixture looks for clusters without the labels: faint ones escape it.
    faint = 0.3 if name == "n_leep" else 0.1
    signals = (3.0, 1.0, 0.0) if d == 8 else (2.0, faint, 0.0)
    apart, noisy, nothing = (SCORES[name](*problem(150, d, signal)) for signal in signals)
    assert apart > noisy > nothing


def test_two_equal_classes_are_one_to_trans_rate() -> None:
    """As its docstring owns; a third class off their axis is seen."""
    rng, labels = np.random.default_rng(0), np.arange(300) % 3
    means = np.array([[8.0, 0.0], [-8.0, 0.0], [0.0, 16.0]])
    features = (means[labels] + rng.normal(size=(300, 2))).astype(np.float32)
    two = labels < 2
    assert h_score(features[two], labels[two]) > 0.9
    assert abs(trans_rate(features[two], labels[two])) < 0.02
    assert trans_rate(features, labels) > 1


def test_k_nn_accuracy_outvotes_classes_of_three() -> None:
    labels = np.repeat(np.arange(2), 3)
    features = (100.0 * labels[:, None] + np.arange(6)[:, None] % 3).astype(np.float32)
    assert k_nn_accuracy(features, labels) == 0.0
    assert k_nn_accuracy(features, labels, n_neighbours=2) == 1.0


@each_score
@pytest.mark.parametrize("d", [8, 300])
def test_right_labels_score_above_dealt_ones(name: str, d: int) -> None:
    features, labels = problem(150, d)
    dealt = np.random.default_rng(1).permutation(labels)
    assert SCORES[name](features, labels) > SCORES[name](features, dealt)


@each_score
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), wide=st.booleans())
def test_names_of_classes_and_order_of_features_do_not_matter(
    name: str, seed: int, wide: bool
) -> None:
    features, labels = problem(20, 30 if wide else 5, seed=seed)
    renamed = np.random.default_rng(seed).permutation([3, 11, 12])[labels]
    columns = np.random.default_rng(seed + 1).permutation(features.shape[1])
    # Dealt anew with a seed: chance is part of the score.
    close = {"abs": 1.0} if name == "trans_rate" else {"abs": 1e-3}
    expected = SCORES[name](features, labels)
    assert SCORES[name](features, renamed) == pytest.approx(expected, **close)
    if name != "n_leep":
        assert SCORES[name](features[:, columns], labels) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "name", ["log_me", "h_score", "k_nn_accuracy", "centroid_accuracy", "parc"]
)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_samples_does_not_matter(name: str, seed: int) -> None:
    features, labels = problem(30, 6, seed=seed)
    order = np.random.default_rng(seed).permutation(30)
    expected = SCORES[name](features, labels)
    assert SCORES[name](features[order], labels[order]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("score", [log_me, h_score, trans_rate])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-4, 3.0, 1e4]), wide=st.booleans())
def test_rotation_and_scale_do_not_matter(
    score: Score, seed: int, scale: float, wide: bool
) -> None:
    d = 30 if wide else 5
    features, labels = problem(20, d, seed=seed)
    turned = features @ ortho_group.rvs(d, random_state=seed) * scale
    expected = score(features, labels)
    assert score(turned.astype(np.float32), labels) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("score", [k_nn_accuracy, centroid_accuracy, h_score, trans_rate])
def test_a_shift_does_not_matter(score: Score) -> None:
    features, labels = problem(40, 6)
    assert score(features + 50, labels) == pytest.approx(score(features, labels), rel=1e-3)


@each_score
@pytest.mark.parametrize("labels", [[], [0], [1, 1, 1]])
def test_nothing_to_tell_apart(name: str, labels: list[int]) -> None:
    features = np.ones((len(labels), 3), dtype=np.float32)
    assert math.isnan(SCORES[name](features, np.array(labels, dtype=np.int64)))


@each_score
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_named(name: str, value: float) -> None:
    features, labels = problem(20, 5)
    features[7, 3] = value
    with pytest.raises(InputError, match=f"sample 7 has {value} in feature 3"):
        SCORES[name](features, labels)


@each_score
@pytest.mark.parametrize("shape", [(20,), (20, 0), (19, 3), (20, 2, 2)])
def test_shapes_that_do_not_fit(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shape"):
        SCORES[name](np.zeros(shape, dtype=np.float32), np.arange(20) % 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h_score", 0.0),
        ("k_nn_accuracy", 0.75),
        ("centroid_accuracy", 0.5),
        ("parc", 0.0),
        ("trans_rate", 0.0),
        ("n_leep", 0.75 * math.log(0.75) + 0.25 * math.log(0.25)),
    ],
)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("d", [3, 50])
def test_constant_features_score_no_information(
    name: str, expected: float, value: float, d: int
) -> None:
    labels = (np.arange(40) < 10).astype(np.int64)
    features = np.full((40, d), value, dtype=np.float32)
    assert SCORES[name](features, labels) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (k_nn_accuracy, 0.75),
        (centroid_accuracy, 0.5),
        (n_leep, 0.75 * math.log(0.75) + 0.25 * math.log(0.25)),
    ],
)
def test_rounding_is_no_information(score: Score, expected: float) -> None:
    labels = (np.arange(40) < 10).astype(np.int64)
    features = (5 + 4e-7 * labels[:, None] * np.ones(3)).astype(np.float32)
    assert np.ptp(features) > 0
    assert score(features, labels) == pytest.approx(expected)


@each_score
def test_blocks_of_rows_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = problem(50, 6)
    expected = SCORES[name](features, labels)
    monkeypatch.setattr(moments, "_BLOCK", 7)
    monkeypatch.setattr(neighbours, "_BLOCK", 11)
    assert SCORES[name](features, labels) == pytest.approx(expected, abs=1e-6)
    features[45, 3] = np.nan
    with pytest.raises(InputError, match="sample 45 has nan in feature 3"):
        SCORES[name](features, labels)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_log_me_of_constant_features(value: float) -> None:
    labels = (np.arange(40) % 2).astype(np.int64)
    empty = -0.5 * (math.log(2 * math.pi * 0.5) + 1)  # variance 1/2 about 0
    found = log_me(np.full((40, 3), value, dtype=np.float32), labels)
    assert found == pytest.approx(empty, abs=1e-6) if value == 0 else empty < found < 0


def dead_units(features: Features, labels: Labels) -> tuple[Features, Labels]:
    return np.concatenate([features, np.full_like(features, 3.3)], axis=1), labels


def copies(features: Features, labels: Labels) -> tuple[Features, Labels]:
    return np.repeat(features, 3, axis=0), np.repeat(labels, 3)


def one_alone(features: Features, labels: Labels) -> tuple[Features, Labels]:
    return features, np.where(np.arange(len(labels)) == 0, 9, labels)


def all_alone(features: Features, labels: Labels) -> tuple[Features, Labels]:
    return features, np.arange(len(labels))


def one_heavy(features: Features, labels: Labels) -> tuple[Features, Labels]:
    return features, (np.arange(len(labels)) < 2).astype(np.int64)


def two_only(features: Features, labels: Labels) -> tuple[Features, Labels]:
    return features[[0, -1]], labels[[0, -1]]


@each_score
@pytest.mark.parametrize("change", [dead_units, copies, one_alone, all_alone, one_heavy, two_only])
@pytest.mark.parametrize("d", [1, 6, 80])
@pytest.mark.filterwarnings("error")
def test_hard_cases_give_numbers(
    name: str, change: Callable[..., tuple[Features, Labels]], d: int
) -> None:
    assert math.isfinite(SCORES[name](*change(*problem(30, d))))


@pytest.mark.parametrize("score", [k_nn_accuracy, centroid_accuracy])
def test_a_class_s_only_sample_is_wrong(score: Score) -> None:
    features = np.array([[0.0], [0.1], [0.2], [9.0]], dtype=np.float32)
    assert score(features, np.array([0, 0, 0, 1])) == 0.75


@pytest.mark.parametrize(("n", "d"), [(400, 30), (40, 90)])
def test_all_at_once(n: int, d: int) -> None:
    features, labels = problem(n, d)
    alone = {name: score(features, labels) for name, score in SCORES.items()}
    assert score_all(features, labels) == alone
    nothing = score_all(features, np.zeros_like(labels))
    assert nothing.keys() == SCORES.keys()
    assert all(math.isnan(value) for value in nothing.values())


def test_of_very_many_samples_a_share_of_each_class_is_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = problem(900, 8)
    everything = score_all(features, labels)
    monkeypatch.setattr(transferability, "MAX_SAMPLES", 300)
    some = score_all(features, labels)
    assert some != everything
    assert some["log_me"] == pytest.approx(everything["log_me"], abs=0.1)
    assert some["centroid_accuracy"] == pytest.approx(everything["centroid_accuracy"], abs=0.1)
    features[np.flatnonzero(labels == 0)[0], 3] = np.nan
    with pytest.raises(InputError, match="in feature 3"):
        score_all(features, labels)
