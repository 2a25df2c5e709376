"""The rotated problem's solution is that of the features themselves, and scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from autotl.strategies import rotated as rotated_features
from autotl.strategies.path import Head, solve_rotated
from autotl.strategies.rotated import Frames, RotatedFeatures

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]
every_head = pytest.mark.parametrize("head", ["svm", "logistic"])
wide_and_tall = pytest.mark.parametrize("n_features", [12, 200])


def sample(n: int = 90, n_features: int = 12, n_classes: int = 3) -> Sample:
    """Overlapping clouds of unequal sizes, whose columns are correlated."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.permutation(np.minimum(np.arange(n) % (n_classes + 2), n_classes - 1)))
    mixed = rng.normal(size=(n, n_features)) @ rng.normal(size=(n_features, n_features))
    centres = rng.normal(size=(n_classes, n_features))
    return (mixed + 2 * centres[labels] + 7).astype(np.float32), labels


def rotated(features: NDArray[np.float32]) -> RotatedFeatures:
    return RotatedFeatures.of(features, np.arange(len(features)))


def solve(
    features: RotatedFeatures,
    labels: NDArray[np.int64],
    Cs: list[float],
    head: Head,
    balanced: bool = False,
    **more: Any,
) -> list[NDArray[np.float64]]:
    found = solve_rotated(
        features.values,
        features.frame.energy,
        labels,
        Cs=Cs,
        head=head,
        balanced=balanced,
        tolerance=1e-12,
        **more,
    )
    return list(found)


@every_head
def test_axes_of_a_part_of_the_samples_do(monkeypatch: pytest.MonkeyPatch, head: Head) -> None:
    features, labels = sample(n=300)
    exact = rotated(features)
    monkeypatch.setattr(rotated_features, "_GRAM_ROWS_PER_FEATURE", 5)
    monkeypatch.setattr(rotated_features, "_FRAMES", Frames(0))
    rough = rotated(features)
    ratio = np.square(rough.values).sum(0) / rough.frame.energy
    assert not np.allclose(ratio, 1.0, atol=1e-3)
    assert np.all((ratio > 0.5) & (ratio < 2.0))
    found, expected = (
        solve(one, labels, [0.1], head)[0][:, :-1] @ one.frame.axes.T for one in (rough, exact)
    )
    np.testing.assert_allclose(found, expected, atol=2e-3)


@wide_and_tall
@every_head
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_coefficients_are_scikit_learns(
    n_features: int, head: Head, n_classes: int, balanced: bool
) -> None:
    features, labels = sample(n_features=n_features, n_classes=n_classes)
    found = rotated(features)
    standardised = (features - found.frame.mean) / found.frame.scale
    weighting = "balanced" if balanced else None
    for C, coefficients in zip(
        [0.003, 0.1], solve(found, labels, [0.003, 0.1], head, balanced), strict=True
    ):
        reference = (
            LinearSVC(C=C, class_weight=weighting, tol=1e-9, max_iter=100_000)
            if head == "svm"
            else LogisticRegression(C=C, class_weight=weighting, tol=1e-9, max_iter=10_000)
        ).fit(standardised.astype(np.float64), labels)
        weight = coefficients[:, :-1] @ found.frame.axes.T
        if n_classes == 2:
            np.testing.assert_allclose(weight[0], -weight[1], atol=1e-4)
            weight = weight[1:] - weight[:1]
            coefficients = coefficients[1:] - coefficients[:1]
        np.testing.assert_allclose(weight, reference.coef_, atol=2e-3)
        np.testing.assert_allclose(coefficients[:, -1], reference.intercept_, atol=2e-3)


@every_head
@pytest.mark.parametrize("n_classes", [2, 3])
def test_start_matters_for_speed_only(head: Head, n_classes: int) -> None:
    features, labels = sample(n_classes=n_classes)
    found = rotated(features)
    path_of_three = solve(found, labels, [0.001, 0.03, 0.3], head)
    alone = solve(found, labels, [0.3], head)[0]
    start = np.random.default_rng(0).normal(size=alone.shape)
    start -= start.mean(axis=0)  # the log loss doesn't notice what all logits have in common
    elsewhere = solve(found, labels, [0.3], head, starts=[start])[0]
    np.testing.assert_allclose(path_of_three[2], alone, atol=2e-3)
    np.testing.assert_allclose(elsewhere, alone, atol=2e-3)
    assert not np.allclose(path_of_three[0], alone, atol=2e-2)


@every_head
@pytest.mark.parametrize("n_classes", [2, 3])
def test_beginning_at_the_solution_ends_there(head: Head, n_classes: int) -> None:
    features, labels = sample(n_classes=n_classes)
    found = rotated(features)
    alone = solve(found, labels, [0.3], head)[0]
    loose = solve_rotated(
        found.values,
        found.frame.energy,
        labels,
        Cs=[0.3],
        head=head,
        balanced=False,
        tolerance=0.5,
        starts=[alone],
    )
    np.testing.assert_allclose(next(loose), alone, atol=1e-3)
