"""The handwritten digits: shapes, ranges and names."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from autotl.datasets import digits


def test_scans_and_their_names() -> None:
    X, y = digits()
    assert X.shape == (1797, 8, 8)
    assert X.dtype == np.uint8
    assert (X.min(), X.max()) == (0, 16)
    assert y.shape == (1797,)
    assert sorted(set(y.tolist())) == [str(digit) for digit in range(10)]


def test_values_are_those_of_the_source() -> None:
    X, y = digits()
    source = load_digits()
    np.testing.assert_array_equal(X, source.images)
    np.testing.assert_array_equal(y.astype(int), source.target)


def test_full_range_loses_nothing() -> None:
    values, _ = digits()
    stretched, _ = digits(full_range=True)
    assert stretched.dtype == np.uint8
    assert stretched.max() == 255
    np.testing.assert_array_equal(np.rint(stretched / (255 / 16)), values)
