"""Linear classifiers agree with scikit-learn's, whatever classes and columns there are."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from autotl.metrics import log_loss
from autotl.strategies import linear
from autotl.strategies.linear import (
    C_GRID,
    DEFAULT_C,
    LinearClassifier,
    n_selected,
    solve_linear,
    solve_path,
    solve_selected,
)
from autotl.strategies.path import Head

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]
every_head = pytest.mark.parametrize("head", ["svm", "logistic"])


def blobs(
    n: int = 150, n_classes: int = 3, spread: float = 1.0, seed: int = 0, n_features: int = 12
) -> Sample:
    """Overlapping clouds, whose columns differ in place and scale."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = np.random.default_rng(99).normal(size=(n_classes, n_features))
    features = centres[labels] + spread * rng.normal(size=(n, n_features))
    scales = 10.0 ** np.linspace(-2, 2, n_features)
    return ((features + 5) * scales).astype(np.float32), labels


def solved(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_classes: int = 3,
    head: Head = "svm",
    C: float | Literal["auto"] = 0.01,
    balanced: bool = False,
) -> LinearClassifier:
    return solve_linear(features, labels, n_classes, head=head, C=C, balanced=balanced, seed=0)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("balanced", [False, True])
def test_svm_predicts_as_scikit_learns(n_classes: int, balanced: bool) -> None:
    features, labels = blobs(n_classes=n_classes)
    keep = (labels != 0) | (np.arange(len(labels)) < 60)  # class 0 is rarer
    features, labels = features[keep], labels[keep]
    reference = make_pipeline(
        StandardScaler(),
        LinearSVC(C=0.01, class_weight="balanced" if balanced else None, tol=1e-6, max_iter=10_000),
    ).fit(features, labels)
    new, _ = blobs(n=500, n_classes=n_classes, seed=1)
    found = solved(features, labels, n_classes, balanced=balanced).predict_proba(new)
    assert np.mean(found.argmax(1) == reference.predict(new)) > 0.99
    assert len(set(found.argmax(1).tolist())) == n_classes


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("balanced", [False, True])
def test_probe_has_the_probabilities_of_scikit_learns(n_classes: int, balanced: bool) -> None:
    features, labels = blobs(n_classes=n_classes)
    keep = (labels != 0) | (np.arange(len(labels)) < 60)
    features, labels = features[keep], labels[keep]
    reference = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=0.1, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=10_000
        ),
    ).fit(features, labels)
    new, _ = blobs(n=200, n_classes=n_classes, seed=1)
    classifier = solved(features, labels, n_classes, "logistic", 0.1, balanced)
    np.testing.assert_allclose(
        classifier.predict_proba(new), reference.predict_proba(new), atol=5e-3
    )


@every_head
def test_class_weights_matter(head: Head) -> None:
    features, labels = blobs(spread=3.0, n=300)
    keep = (labels != 0) | (np.arange(300) < 30)
    shares = [
        np.mean(
            solved(features[keep], labels[keep], head=head, balanced=balanced)
            .predict_proba(features)
            .argmax(1)
            == 0
        )
        for balanced in (False, True)
    ]
    assert shares[0] < shares[1]


@every_head
@pytest.mark.parametrize(("n_classes", "absent"), [(4, 0), (4, 1), (4, 3), (3, 0), (3, 1), (3, 2)])
def test_class_without_samples_is_never_predicted(head: Head, n_classes: int, absent: int) -> None:
    """With three classes, one of them absent, the solver knows two only."""
    features, labels = blobs(n_classes=n_classes)
    present = labels != absent
    classifier = solved(features[present], labels[present], n_classes, head)
    found = classifier.predict_proba(features)
    assert found.shape == (len(features), n_classes)
    assert np.all(found[:, absent] < 1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert np.mean(found[present].argmax(1) == labels[present]) > 0.8


@every_head
def test_class_without_samples_doesnt_change_the_others(head: Head) -> None:
    features, labels = blobs(n_classes=2, spread=2.0)
    with_absent = solved(features, 2 * labels, 4, head).predict_proba(features)
    plain = solved(features, labels, 2, head).predict_proba(features)
    np.testing.assert_allclose(with_absent[:, [0, 2]], plain, atol=1e-4)


@every_head
@pytest.mark.parametrize("constant", [0.0, 3.0, 1234.567, -1e-9])
def test_constant_column_changes_nothing(head: Head, constant: float) -> None:
    features, labels = blobs()
    with_constant = np.column_stack([features, np.full(len(features), constant)])
    with_constant = with_constant.astype(np.float32)
    classifier = solved(with_constant, labels, head=head)
    plain = solved(features, labels, head=head).predict_proba(features)
    np.testing.assert_allclose(classifier.predict_proba(with_constant), plain, atol=1e-3)
    moved = with_constant.copy()
    moved[:, -1] += 0.01  # hardly anything, but more than there ever was
    np.testing.assert_allclose(classifier.predict_proba(moved), plain, atol=1e-3)


@every_head
def test_function_of_raw_features_is_the_same(head: Head) -> None:
    features, labels = blobs()
    classifier = solved(features, labels, head=head)
    weight, bias = classifier.on_raw_features()
    assert weight.dtype == bias.dtype == np.float32
    found = softmax(features.astype(np.float64) @ weight.T + bias, axis=1)
    np.testing.assert_allclose(found, classifier.predict_proba(features), atol=2e-3)


@every_head
def test_probabilities(head: Head) -> None:
    features, labels = blobs()
    found = solved(features, labels, head=head).predict_proba(features)
    assert found.dtype == np.float32
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


@every_head
def test_given_features_are_not_changed(head: Head) -> None:
    features, labels = blobs()
    before = features.copy()
    solved(features, labels, head=head)
    assert np.array_equal(features, before)


@every_head
def test_same_seed_same_classifier(head: Head) -> None:
    features, labels = blobs()
    first, second = (solved(features, labels, head=head) for _ in range(2))
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.bias, second.bias)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_temperature_makes_probabilities_of_decisions(
    monkeypatch: pytest.MonkeyPatch, n_classes: int
) -> None:
    """Where more columns than samples let the solver separate noise, decisions are too sure."""
    features, labels = blobs(n=120, spread=4.0, n_features=100, n_classes=n_classes)
    new, new_labels = blobs(n=1_000, spread=4.0, n_features=100, n_classes=n_classes, seed=1)
    tempered = solved(features, labels, n_classes, C=1.0).predict_proba(new)
    monkeypatch.setattr(linear, "_temperature", lambda *_args: 1.0)
    raw = solved(features, labels, n_classes, C=1.0).predict_proba(new)
    assert np.array_equal(tempered.argmax(1), raw.argmax(1))
    assert log_loss(new_labels, tempered) < log_loss(new_labels, raw) - 0.02


def test_temperature_makes_timid_decisions_surer(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(spread=0.3)
    new, new_labels = blobs(n=300, spread=0.3, seed=1)
    tempered = solved(features, labels, C=1e-3).predict_proba(new)
    monkeypatch.setattr(linear, "_temperature", lambda *_args: 1.0)
    raw = solved(features, labels, C=1e-3).predict_proba(new)
    assert log_loss(new_labels, tempered) < log_loss(new_labels, raw) - 0.1


@every_head
@pytest.mark.parametrize("per_class", [1, 2, 3, 4])
def test_very_few_samples(head: Head, per_class: int) -> None:
    features, labels = blobs(n=3 * per_class, spread=0.1)
    found = solved(features, labels, head=head, C=1.0).predict_proba(features)
    assert np.array_equal(found.argmax(1), labels)


@every_head
def test_path_is_what_is_solved_one_by_one(head: Head) -> None:
    features, labels = blobs(spread=3.0)
    Cs = [1e-3, 1e-2, 1e-1]
    path = solve_path(features, labels, 3, Cs=Cs, head=head, balanced=False, seed=0)
    assert [classifier.C for classifier in path] == Cs
    for classifier in path:
        alone = solved(features, labels, head=head, C=classifier.C)
        np.testing.assert_allclose(
            classifier.predict_proba(features), alone.predict_proba(features), atol=1e-2
        )
    first, last = path[0].predict_proba(features), path[-1].predict_proba(features)
    assert np.abs(first - last).max() > 0.03


@every_head
@pytest.mark.parametrize("n_classes", [2, 5])
def test_auto_is_the_classifier_of_a_c_on_the_grid(head: Head, n_classes: int) -> None:
    features, labels = blobs(n_classes=n_classes, spread=3.0)
    auto = solved(features, labels, n_classes, head, "auto")
    assert auto.C in C_GRID
    same = solved(features, labels, n_classes, head, auto.C).predict_proba(features)
    np.testing.assert_allclose(auto.predict_proba(features), same, atol=1e-2)


@every_head
def test_auto_penalises_noise_more_than_signal(head: Head) -> None:
    noisy, labels = blobs(n=300, spread=6.0)
    clean, _ = blobs(n=300, spread=0.5)
    for_noise = solved(noisy, labels, head=head, C="auto").C
    assert 20 * for_noise < solved(clean, labels, head=head, C="auto").C


@every_head
@pytest.mark.parametrize("spread", [3.0, 6.0])
@pytest.mark.parametrize("limit", [0, 1e9])
def test_auto_is_nearly_the_best_on_new_samples(
    monkeypatch: pytest.MonkeyPatch, head: Head, spread: float, limit: float
) -> None:
    """With one quarter held out, and with each of them in turn."""
    monkeypatch.setattr(linear, "_ALL_QUARTERS_BELOW", limit)
    features, labels = blobs(n=200, spread=spread, n_features=100)
    new, new_labels = blobs(n=1_000, spread=spread, n_features=100, seed=1)
    path = solve_path(features, labels, 3, Cs=C_GRID, head=head, balanced=False, seed=0)
    losses = [log_loss(new_labels, one.predict_proba(new)) for one in path]
    auto = solved(features, labels, head=head, C="auto")
    found = log_loss(new_labels, auto.predict_proba(new))
    assert found < min(losses) + 0.05
    assert max(losses) > min(losses) + 0.1


@every_head
def test_auto_with_too_few_samples_to_hold_out(head: Head) -> None:
    features, labels = blobs(n=9, spread=0.1)
    assert DEFAULT_C[head] == solved(features, labels, head=head, C="auto").C


@every_head
def test_auto_with_a_class_of_one_sample(head: Head) -> None:
    """It is never held out, hence always known."""
    features, labels = blobs(n=150, spread=0.3)
    keep = (labels != 2) | (np.arange(150) == 2)
    auto = solved(features[keep], labels[keep], head=head, C="auto")
    assert auto.predict_proba(features)[2].argmax() == 2


@every_head
def test_auto_depends_on_nothing_but_the_seed(head: Head) -> None:
    features, labels = blobs(spread=4.0)
    first, second = (solved(features, labels, head=head, C="auto") for _ in range(2))
    assert first.C == second.C
    assert np.array_equal(first.weight, second.weight)


def with_noise(n_noise: int, spread: float = 0.5) -> Sample:
    """The clouds, every other column among columns that tell nothing."""
    features, labels = blobs(spread=spread)
    noise = np.random.default_rng(7).normal(size=(len(labels), n_noise))
    return np.concatenate([noise, features], axis=1).astype(np.float32), labels


@every_head
@pytest.mark.parametrize("C", [0.1, "auto"])
def test_selected_features_are_solved_as_if_alone(head: Head, C: float | Literal["auto"]) -> None:
    features, labels = with_noise(12)
    found = solve_selected(features, labels, 3, kept=0.25, head=head, C=C, balanced=False, seed=0)
    kept = np.flatnonzero(found.weight.any(axis=0))
    assert len(kept) == 6
    assert kept.min() >= 12  # none of the noise
    alone = solved(features[:, kept], labels, head=head, C=C)
    assert found.C == alone.C
    np.testing.assert_allclose(
        found.predict_proba(features), alone.predict_proba(features[:, kept]), atol=1e-5
    )


@every_head
def test_all_features_kept_is_the_plain_classifier(head: Head) -> None:
    features, labels = blobs()
    found = solve_selected(features, labels, 3, kept=1.0, head=head, C=0.1, balanced=True, seed=0)
    expected = solved(features, labels, head=head, C=0.1, balanced=True)
    assert np.array_equal(found.weight, expected.weight)


def test_selection_helps_among_much_noise() -> None:
    features, labels = with_noise(600, spread=1.0)
    new = np.arange(len(labels)) >= 100
    right = []
    for kept in (1.0, 0.05):
        model = solve_selected(
            features[~new], labels[~new], 3, kept=kept, head="svm", C="auto", balanced=False, seed=0
        )
        right.append((model.predict_proba(features[new]).argmax(1) == labels[new]).mean())
    assert right[1] > right[0] + 0.05, right


@every_head
def test_selection_with_a_class_without_samples(head: Head) -> None:
    features, labels = with_noise(12)
    three, four = (
        solve_selected(features, labels, n, kept=0.25, head=head, C=0.1, balanced=False, seed=0)
        for n in (3, 4)
    )
    assert four.weight.shape == (4, 24)
    assert not four.weight[3].any()
    assert np.array_equal(four.weight[:3], three.weight)


@pytest.mark.parametrize(
    ("n_features", "kept", "n"), [(10, 0.3, 3), (10, 1.0, 10), (10, 0.001, 1), (7, 0.5, 4)]
)
def test_at_least_one_feature_is_selected(n_features: int, kept: float, n: int) -> None:
    assert n_selected(n_features, kept) == n
