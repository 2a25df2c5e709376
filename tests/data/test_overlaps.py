"""What stands on both sides of a given split is found, with how and with what."""

from __future__ import annotations

import numpy as np
import pytest

from autotl.data import duplicate_groups
from autotl.data.overlaps import (
    LINKED,
    NEARLY_THE_SAME,
    SAME_GROUP,
    SAME_PIXELS,
    Overlap,
    find_overlaps,
)

NO_LINKS = np.empty((0, 2), dtype=np.int64)


def found(
    held_out: list[int],
    digests: list[bytes],
    groups: list[int] | None = None,
    links: list[tuple[int, int]] | None = None,
) -> list[Overlap]:
    inside = np.isin(np.arange(len(digests)), held_out)
    own = None if groups is None else np.array(groups)
    pairs = np.array(links, dtype=np.int64) if links else NO_LINKS
    linked = duplicate_groups(digests, own, pairs)
    return find_overlaps(inside, linked, digests, own, pairs)


def test_nothing_shared() -> None:
    assert found([0, 1], [b"a", b"b", b"c", b"d"], [0, 1, 2, 3], [(2, 3)]) == []
    assert found([], [b"a", b"a"]) == []


def test_same_pixels_name_the_first_like() -> None:
    assert found([2, 3], [b"a", b"b", b"a", b"a", b"a"]) == [
        Overlap(0, 2, SAME_PIXELS),
        Overlap(4, 2, SAME_PIXELS),
    ]


def test_unreadable_ones_are_nobody_s_copy() -> None:
    assert found([1], [b"", b""]) == []
    assert found([1], [b"", b""], [0, 0]) == [Overlap(0, 1, SAME_GROUP)]


@pytest.mark.parametrize("link", [(0, 3), (3, 0)])
def test_links_count_in_both_directions(link: tuple[int, int]) -> None:
    assert found([3], [b"a", b"b", b"c", b"d"], links=[link]) == [Overlap(0, 3, NEARLY_THE_SAME)]


def test_groups() -> None:
    assert found([2], [b"a", b"b", b"c"], [5, 6, 5]) == [Overlap(0, 2, SAME_GROUP)]


def test_a_copy_of_a_copy() -> None:
    assert found([2], [b"a", b"b", b"c"], links=[(0, 1), (1, 2)]) == [
        Overlap(0, 2, LINKED),
        Overlap(1, 2, NEARLY_THE_SAME),
    ]


def test_the_closest_relation_is_told() -> None:
    digests = [b"a", b"b", b"a", b"c"]
    assert found([2, 3], digests, [0, 0, 0, 0], [(0, 3), (1, 3)]) == [
        Overlap(0, 2, SAME_PIXELS),
        Overlap(1, 3, NEARLY_THE_SAME),
    ]
