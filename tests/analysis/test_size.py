"""Counts of samples, classes and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotl.analysis.size import SizeProfile, measure_size


def measured(**changed: Any) -> SizeProfile:
    """The size of six samples of two classes, some figures changed."""
    given: dict[str, Any] = {
        "labels": np.array([0, 0, 0, 0, 1, 1]),
        "n_classes": 2,
        "original_sizes": np.array(
            [[10, 20], [10, 20], [30, 20], [30, 20], [50, 90], [11, 5]], dtype=np.int32
        ),
        "is_grey": np.array([True, False, False, True, True, False]),
        "digests": np.array([b"a", b"b", b"a", b"c", b"a", b"b"]),
        "n_test": 7,
    }
    return measure_size(**given | changed)


def test_figures() -> None:
    assert measured() == SizeProfile(
        n_samples=6,
        n_test=7,
        samples_per_class=(4, 2),
        imbalance=2.0,
        median_size=(20, 20),
        size_range=(5, 90),
        grey_share=0.5,
        n_duplicates=3,
        side_quantiles=(6, 10, 15, 20, 42),
        aspect_quantiles=pytest.approx((0.5, 0.5139, 1.0278, 1.5, 2.025), abs=1e-3),
    )


def test_one_picture_in_several_versions_counts_once() -> None:
    assert measured(pictures=np.array([7, 7, 2, 3, 3, 3])).n_distinct == 3
    assert measured().n_distinct is None


def test_classes_without_samples_are_counted() -> None:
    size = measured(n_classes=4)
    assert size.samples_per_class == (4, 2, 0, 0)
    assert size.n_classes == 4
    assert np.isfinite(size.imbalance)


@pytest.mark.parametrize(("rare", "imbalanced"), [(11, False), (10, True)])
def test_imbalance_counts_from_three_on(rare: int, imbalanced: bool) -> None:
    labels = np.repeat([0, 1], [30, rare])
    n = len(labels)
    size = measured(
        labels=labels,
        original_sizes=np.ones((n, 2), dtype=np.int32),
        is_grey=np.zeros(n, dtype=bool),
        digests=np.arange(n).astype("S16"),
    )
    assert size.is_imbalanced == imbalanced
    assert size.n_duplicates == 0


def test_values_are_plain() -> None:
    size = measured()
    assert type(size.n_duplicates) is int
    assert type(size.grey_share) is float
    assert {type(n) for n in (*size.samples_per_class, *size.median_size, *size.size_range)} == {
        int
    }
