"""Samples with equal pixels, or linked through the user's groups, are one group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.data.duplicates import conflicting_labels, duplicate_groups, first_appearance
from autotl.errors import InputError


def test_equal_pixels_are_one_group() -> None:
    assert duplicate_groups([b"a", b"b", b"a", b"c"]).tolist() == [0, 1, 0, 2]


def test_links_chain_through_the_users_groups() -> None:
    groups = np.array([7, 7, 9, 3, 9])
    # 1 and 2 show the same: group 7 and group 9 become one
    assert duplicate_groups([b"a", b"b", b"b", b"c", b"d"], groups).tolist() == [0, 0, 0, 1, 0]


def test_unreadable_ones_equal_no_other() -> None:
    assert duplicate_groups([b"", b"", b"x"]).tolist() == [0, 1, 2]


def test_no_samples() -> None:
    assert duplicate_groups([]).shape == (0,)


def test_lengths_must_fit() -> None:
    with pytest.raises(InputError, match="as many as"):
        duplicate_groups([b"a"], np.array([1, 2]))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(-5, 5)), max_size=30))
def test_groups_are_the_connected_components(samples: list[tuple[int, int]]) -> None:
    digests = [bytes([pixels + 1]) for pixels, _ in samples]
    groups = np.array([group for _, group in samples], dtype=np.int64)
    found = duplicate_groups(digests, groups)
    component = list(range(len(samples)))  # the slow way: spread the least number until it rests
    changed = True
    while changed:
        changed = False
        for i, a in enumerate(samples):
            for j, b in enumerate(samples):
                if (a[0] == b[0] or a[1] == b[1]) and component[i] != component[j]:
                    component[i] = component[j] = min(component[i], component[j])
                    changed = True
    assert found.tolist() == first_appearance(np.array(component, dtype=np.int64)).tolist()
    assert found.dtype == np.int64


def test_conflicting_labels() -> None:
    digests = [b"a", b"b", b"a", b"b", b"", b"", b"a"]
    labels = np.array([0, 1, 2, 1, 0, 1, 0])
    assert [found.tolist() for found in conflicting_labels(digests, labels)] == [[0, 2, 6]]
