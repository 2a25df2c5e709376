"""The measured learning curve, what it foretells, and where it says that it doesn't know."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.analysis.learning_curve import (
    LearningCurve,
    accuracies,
    foretell_accuracy,
    measure_learning_curve,
)
from autotl.errors import InputError

Data = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def clouds(
    n: int, n_classes: int = 5, num_features: int = 40, spread: float = 4.0, seed: int = 0
) -> Data:
    """Overlapping clouds; a quarter of the samples to validate on."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = rng.normal(size=(n_classes, num_features))
    features = centres[labels] + spread * rng.normal(size=(n, num_features))
    rows = rng.permutation(n)
    return features.astype(np.float32), labels, rows[n // 4 :], rows[: n // 4]


def test_the_curve_rises_at_its_sizes() -> None:
    curve = measure_learning_curve(*clouds(2000))
    assert curve.n_samples == (150, 300, 600, 1200)
    assert curve.n_train == 1500
    assert list(curve.accuracy) == sorted(curve.accuracy)
    assert curve.accuracy[-1] - curve.accuracy[0] > 0.05
    assert curve.gain is not None
    assert curve.interval is not None
    assert curve.interval[0] <= curve.gain <= curve.interval[1]
    assert curve.reason == ""


def test_the_fitted_law_passes_the_points_and_goes_on_to_twice_the_samples() -> None:
    features, labels, train, validation = clouds(2000)
    curve = measure_learning_curve(features, labels, train, validation)
    sizes, middle, low, high = np.array(curve.fitted).T
    assert sizes[0] == pytest.approx(150)
    assert sizes[-1] == pytest.approx(3000)
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert np.interp(curve.n_samples, sizes, middle) == pytest.approx(curve.accuracy, abs=0.02)
    twice = foretell_accuracy(features, labels, train, validation, 3000)
    assert curve.fitted[-1][1:] == pytest.approx(twice)


def test_what_is_foretold_comes_true() -> None:
    features, labels, train, validation = clouds(8000)
    found = foretell_accuracy(features, labels, train[:3000], validation, 6000)
    assert found is not None
    middle, low, high = found
    measured = accuracies(features, labels, train, validation, np.array([6000])).mean()
    assert low <= measured <= high
    assert middle == pytest.approx(measured, abs=0.015)


def test_the_gain_is_that_of_twice_the_samples() -> None:
    features, labels, train, validation = clouds(8000)
    curve = measure_learning_curve(features, labels, train[:600], validation)
    right = accuracies(features, labels, train, validation, np.array([600, 1200]))
    before, after = right.mean(axis=(0, 2))
    assert curve.interval is not None
    assert after - before > 0.01
    assert curve.interval[0] <= after - before <= curve.interval[1]


def test_the_classifier_is_as_good_as_scikit_learns() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, labels, train, validation = clouds(3000, spread=3.0)
    reference = LinearDiscriminantAnalysis().fit(features[train], labels[train])
    expected = reference.score(features[validation], labels[validation])
    sizes = np.array([400, 2000, len(train)])
    right = accuracies(features, labels, train, validation, sizes)
    assert right[:, -1].mean() == pytest.approx(expected, abs=0.01)


def test_an_offset_and_scales_do_not_matter() -> None:
    features, labels, train, validation = clouds(800)
    scaled = features * np.geomspace(1e-3, 1e3, features.shape[1]).astype(np.float32) + 5
    plain = measure_learning_curve(features, labels, train, validation)
    other = measure_learning_curve(scaled, labels, train, validation)
    np.testing.assert_allclose(plain.accuracy, other.accuracy, atol=0.01)


def test_every_part_holds_its_share_of_each_class() -> None:
    """Rare classes, each far away in a direction of its own, are known from a third on."""
    features, labels, train, validation = clouds(2000, n_classes=2, spread=1.0)
    rare = np.arange(140)
    labels = labels.copy()
    labels[rare] = 2 + rare % 20
    features[rare, rare % 20] += 300
    right = accuracies(features, labels, train, validation, np.array([1000]))
    assert right[:, 0, labels[validation] >= 2].mean() > 0.99


def test_more_features_than_axes() -> None:
    features, labels, train, validation = clouds(600, num_features=400, spread=2.0)
    assert measure_learning_curve(features, labels, train, validation).accuracy[-1] > 0.7


def test_separable_samples_leave_nothing_to_gain() -> None:
    curve = measure_learning_curve(*clouds(1000, spread=0.01))
    assert curve.accuracy == (1.0, 1.0, 1.0, 1.0)
    assert curve.gain == pytest.approx(0, abs=0.003)


def test_labels_by_chance_gain_little() -> None:
    features, labels, train, validation = clouds(2000)
    curve = measure_learning_curve(
        features, np.random.default_rng(0).permutation(labels), train, validation
    )
    assert curve.gain is None or curve.gain < 0.03


def test_the_same_seed_gives_the_same_curve() -> None:
    data = clouds(600)
    assert measure_learning_curve(*data, seed=3) == measure_learning_curve(*data, seed=3)
    assert measure_learning_curve(*data, seed=3) != measure_learning_curve(*data, seed=4)


def test_many_classes() -> None:
    curve = measure_learning_curve(*clouds(20_000, n_classes=1000, num_features=16))
    assert curve.n_samples == (1500, 3000, 6000, 12_000)
    thin = measure_learning_curve(*clouds(40_000, n_classes=10_000, num_features=16))
    assert "too few" in thin.reason


@pytest.mark.parametrize(
    ("n", "changes", "reason"),
    [
        (12, {}, "9 samples to learn from and 3"),
        (60, {"validation": 10}, "10 to validate on"),
        (200, {"classes": 1}, "one class"),
        (200, {"constant": True}, "don't vary"),
        (400, {"classes": 200}, "too few to leave some out"),
    ],
)
def test_what_cannot_be_known(n: int, changes: dict[str, int], reason: str) -> None:
    features, labels, train, validation = clouds(n, n_classes=changes.get("classes", 2))
    validation = validation[: changes.get("validation", n)]
    if changes.get("constant"):
        features = np.ones_like(features)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = measure_learning_curve(features, labels, train, validation)
    assert curve.gain is None
    assert curve.interval is None
    assert reason in curve.reason
    assert foretell_accuracy(features, labels, train, validation, 2 * n) is None
    assert f"unknown ({curve.reason})" in str(curve)


def test_a_wide_interval_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    known = measure_learning_curve(*clouds(600))
    assert known.interval is not None
    width = known.interval[1] - known.interval[0]
    monkeypatch.setattr("autotl.analysis.learning_curve.MAX_WIDTH", 0.9 * width)
    unknown = measure_learning_curve(*clouds(600))
    assert unknown.gain is None
    assert unknown.interval == known.interval
    assert "points" in unknown.reason


def test_a_constant_feature_among_others_does_no_harm() -> None:
    features, labels, train, validation = clouds(400)
    features[:, 3] = 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure_learning_curve(features, labels, train, validation).accuracy[-1] > 0.3


def test_nan_is_refused() -> None:
    features, labels, train, validation = clouds(100)
    features[3, 3] = np.nan
    with pytest.raises(InputError, match="finite"):
        measure_learning_curve(features, labels, train, validation)


def test_words() -> None:
    curve = LearningCurve((1, 2), (0.5, 0.6), 3, 0.021, (-0.001, 0.04))
    assert "about +2.1 points of accuracy [-0.1, +4.0]" in str(curve)
    assert "sample" not in str(curve)


@pytest.mark.parametrize("n", [8, 200])
def test_words_of_a_sample(n: int) -> None:
    features, labels, train, validation = clouds(n)
    curve = measure_learning_curve(features, labels, train, validation, n_train=30_000)
    assert str(curve).endswith(f", by a sample of {len(train):,} of the 30,000 to learn from")
