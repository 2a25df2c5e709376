"""The handwritten digits: shapes, ranges and names."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from autotl.datasets import digits


def test_scans_and_their_names() -> None:
    X, y = digits()
    assert X.shape == (1797, 8, 8)
    assert X.dtype == np.uint8
    assert (X.min(), X.max()) == (0, 255)
    assert y.shape == (1797,)
    assert sorted(set(y.tolist())) == [str(digit) for digit in range(10)]


def test_values_are_those_of_the_source_stretched_to_a_pictures_range() -> None:
    X, y = digits()
    source = load_digits()
    np.testing.assert_array_equal(np.rint(X / (255 / 16)), source.images)
    np.testing.assert_array_equal(y.astype(int), source.target)
