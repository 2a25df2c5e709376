"""Predictions of samples that were left out, against fits that really leave them out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.analysis import left_out
from autotl.analysis.left_out import left_out_right
from autotl.analysis.moments import standardised
from autotl.errors import InputError


@pytest.fixture
def problem() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Three classes that overlap, more features than samples, groups of one to four."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.standard_normal((60, 80)) + rng.standard_normal((3, 80))[labels] * 0.3
    return features.astype(np.float32), labels, np.sort(rng.integers(0, 30, 60))


def refitted(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    penalty: float,
) -> tuple[NDArray[np.bool_], float]:
    """The same by a fit for each group: ridge with an intercept, on features scaled beforehand.

    Then every class's answers are given the mean and scale that its share among all would give.
    """
    x = standardised(features).astype(np.float64)
    targets = np.eye(labels.max() + 1)[labels]
    unit = penalty * np.square(x).sum() / len(x)
    right, error = np.zeros(len(x), dtype=bool), 0.0
    for group in np.unique(groups):
        out, kept = groups == group, groups != group
        mean_x, mean_y = x[kept].mean(axis=0), targets[kept].mean(axis=0)
        centred = x[kept] - mean_x
        weight = np.linalg.solve(
            centred.T @ centred + unit * np.eye(x.shape[1]), centred.T @ (targets[kept] - mean_y)
        )
        share = targets.mean(axis=0)
        scale = np.sqrt(share * (1 - share) / (mean_y * (1 - mean_y)))
        said = (x[out] - mean_x) @ weight * scale + share
        right[out] = said.argmax(axis=1) == labels[out]
        error += float(np.square(said - targets[out]).sum())
    return right, error


@pytest.mark.parametrize("grouped", [False, True])
def test_as_if_fitted_without_them(
    grouped: bool, problem: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]
) -> None:
    features, labels, groups = problem
    own = groups if grouped else np.arange(len(labels))
    fits = [refitted(features, labels, own, penalty) for penalty in left_out.PENALTIES]
    expected = min(fits, key=lambda fit: fit[1])[0]
    assert 0.4 < expected.mean() < 0.95  # neither guessing nor easy
    found = left_out_right(features, labels * 7 - 3, groups if grouped else None)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("penalty", left_out.PENALTIES)
def test_each_penalty(
    penalty: float,
    problem: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels, groups = problem
    monkeypatch.setattr(left_out, "PENALTIES", (penalty,))
    expected, _ = refitted(features, labels, groups, penalty)
    np.testing.assert_array_equal(left_out_right(features, labels, groups), expected)


def test_what_only_tells_the_group_helps_nobody() -> None:
    """Ten groups of one class each: alone a sample is told by its group, without it it isn't."""
    rng = np.random.default_rng(1)
    groups = np.arange(100) // 10
    labels = groups % 2
    features = (10 * np.eye(10)[groups] + rng.standard_normal((100, 10))).astype(np.float32)
    assert left_out_right(features, labels).mean() == 1.0
    assert abs(left_out_right(features, labels, groups).mean() - 0.5) < 0.15


@pytest.mark.parametrize(
    ("n_classes", "n_each", "size"), [(2, 20, 1), (10, 5, 1), (20, 5, 1), (5, 20, 4)]
)
def test_noise_is_right_by_chance(n_classes: int, n_each: int, size: int) -> None:
    """Leaving a sample out makes its class rarer: that must not argue against the class."""
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(n_classes), n_each)
    groups = np.arange(len(labels)) // size
    found = []
    for _ in range(40):
        alike = rng.standard_normal((len(labels), 60))[groups] * (size > 1)
        features = alike + rng.standard_normal((len(labels), 60))
        found.append(left_out_right(features.astype(np.float32), labels, groups).mean())
    error = np.std(found) / np.sqrt(len(found))
    assert error < 0.03
    assert abs(np.mean(found) - 1 / n_classes) < 3 * error


def test_a_class_of_a_single_group_is_never_told() -> None:
    rng = np.random.default_rng(3)
    labels = np.array([0] * 4 + [1] * 20 + [2] * 20)
    groups = np.array([0] * 4 + list(range(1, 41)))
    features = (10 * np.eye(3)[labels] + rng.standard_normal((44, 3))).astype(np.float32)
    np.testing.assert_array_equal(left_out_right(features, labels, groups), labels > 0)
    two = labels < 2
    np.testing.assert_array_equal(
        left_out_right(features[two], labels[two], groups[two]), labels[two] == 1
    )


def test_a_single_group_is_none(
    problem: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    features, labels, groups = problem
    np.testing.assert_array_equal(
        left_out_right(features, labels, np.full_like(groups, 5)), left_out_right(features, labels)
    )


@pytest.mark.parametrize("counts", [(30, 10), (20, 20), (10, 10, 10)])
def test_constant_features_tell_the_commonest_class(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    found = left_out_right(np.ones((len(labels), 3), dtype=np.float32), labels)
    np.testing.assert_array_equal(found, labels == 0)


def test_copies_under_both_labels_are_told_by_chance() -> None:
    """Two pictures twenty times each, half of the copies of either under either label."""
    features = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0).astype(np.float32)
    picture, labels = np.arange(40) // 20, np.arange(40) % 2
    assert left_out_right(features, labels, picture).mean() == 0.5


def test_features_that_are_not_finite_are_refused() -> None:
    features = np.zeros((4, 2), dtype=np.float32)
    features[1, 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        left_out_right(features, np.array([0, 1, 0, 1]))
