"""Pictures that stand on both sides of a given split: which they are, and how they were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.data.table import ImageTable

SAME_PIXELS = "has the same pixels as"
NEARLY_THE_SAME = "shows nearly the same picture as"
SAME_GROUP = "is of the same group as"
LINKED = "is linked, by others, to"
"""Such as a copy of a copy."""


@dataclass(frozen=True)
class Overlap:
    """A sample that has its like in a held-out part.

    Attributes:
        sample: which one.
        held_out: the like.
        relation: what the first is to the second, as words.
    """

    sample: int
    held_out: int
    relation: str

    def reason(self, table: ImageTable) -> str:
        """Why the sample may not train, naming its like."""
        part = "test" if table.is_test(self.held_out) else "validation"
        return f"{self.relation} {table.name(self.held_out)} of the {part} part"


def find_overlaps(
    held_out: NDArray[np.bool_],
    linked: NDArray[np.int64],
    digests: Sequence[bytes],
    groups: NDArray[np.int64] | None,
    links: NDArray[np.int64],
) -> list[Overlap]:
    """The samples outside a held-out part that are linked to one inside it.

    Args:
        held_out: ``(n_samples,) bool``, the part.
        linked: ``(n_samples,) int64``, all that is linked has one number, as of
            :func:`~autotl.data.duplicates.duplicate_groups`.
        digests: ``n_samples`` digests of the decoded pixels.
        groups: ``(n_samples,) int64``, the user's groups, or None.
        links: ``(n_links, 2) int64``, pairs that show the same picture in other pixels.

    Returns:
        One for each such sample, ascending; with its closest relation, and the first held-out
        sample that it has it to.
    """
    inside = np.flatnonzero(held_out)
    outside = np.flatnonzero(~held_out & np.isin(linked, linked[inside]))
    if not len(outside):
        return []
    by_digest = _first_by([digests[i] or i for i in inside.tolist()], inside)
    by_group: dict[object, int] = (
        {} if groups is None else _first_by(groups[inside].tolist(), inside)
    )
    by_linked = _first_by(linked[inside].tolist(), inside)
    by_link: dict[int, int] = {}
    for one, other in (*links.tolist(), *links[:, ::-1].tolist()):
        if held_out[other] and not held_out[one]:
            by_link[one] = min(other, by_link.get(one, other))
    found = []
    for sample in outside.tolist():
        like = by_linked[int(linked[sample])]
        relation = LINKED
        if groups is not None and int(groups[sample]) in by_group:
            like, relation = by_group[int(groups[sample])], SAME_GROUP
        if sample in by_link:
            like, relation = by_link[sample], NEARLY_THE_SAME
        if digests[sample] in by_digest:
            like, relation = by_digest[digests[sample]], SAME_PIXELS
        found.append(Overlap(sample, like, relation))
    return found


def _first_by(keys: Sequence[object], samples: NDArray[np.int64]) -> dict[object, int]:
    """The first sample of each key."""
    first: dict[object, int] = {}
    for key, sample in zip(keys, samples.tolist(), strict=True):
        first.setdefault(key, sample)
    return first
