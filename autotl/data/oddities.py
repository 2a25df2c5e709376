"""What is odd about a data set, in words: pictures left out, found twice, or named differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autotl.data.duplicates import conflicting_labels
from autotl.data.overlaps import Overlap, find_overlaps
from autotl.data.records import summary_of_reasons
from autotl.data.table import ImageTable, Part

N_NAMED = 3
"""So many pictures that occur in two parts are named in a note."""


def tell_of_oddities(
    table: ImageTable,
    digests: Sequence[bytes],
    links: NDArray[np.int64],
    note: Callable[[str], None],
) -> None:
    """Tell of pictures left out, and of those that occur under different labels.

    Args:
        table: the pictures that are left.
        digests: of their decoded pixels.
        links: ``(n_links, 2) int64``, pairs that show the same picture in other pixels.
        note: takes a sentence.
    """
    if table.quarantine:
        note(
            f"{len(table.quarantine)} unreadable pictures are left out: "
            f"{summary_of_reasons(table.quarantine)}"
        )
    conflicts = conflicting_labels(digests, table.labels, links)
    if conflicts:
        label = table.labels[conflicts[0]]
        pair = (conflicts[0][0], conflicts[0][np.flatnonzero(label != label[0])[0]])
        names = " and ".join(table.name(int(sample)) for sample in pair)
        note(
            f"{len(conflicts)} {'picture occurs' if len(conflicts) == 1 else 'pictures occur'} "
            f"under different labels, the same or nearly so (first: {names}); look at their labels"
        )


def tell_of_overlaps(
    table: ImageTable,
    digests: Sequence[bytes],
    linked: NDArray[np.int64],
    links: NDArray[np.int64],
    note: Callable[[str], None],
) -> list[Overlap]:
    """Tell of pictures that occur in two of the parts that the data set came in.

    Args:
        table: the pictures.
        digests: of their decoded pixels.
        linked: ``(n_samples,) int64``, all that may not stand on two sides has one number.
        links: ``(n_links, 2) int64``, pairs that show the same picture in other pixels.
        note: takes a sentence.

    Returns:
        The samples that are dropped since they occur in the given test part, and where.
    """
    if table.parts is None:
        return []
    in_test = table.parts == Part.TEST
    dropped = find_overlaps(in_test, linked, digests, table.groups, links)
    if dropped:
        note(
            f"{len(dropped)} training pictures are left out: they occur in the test set "
            f"({_named(dropped, table)})"
        )
    validated = table.parts == Part.VALIDATION
    gone = {overlap.sample for overlap in dropped}
    shared = [
        overlap
        for overlap in find_overlaps(validated, linked, digests, table.groups, links)
        if overlap.sample not in gone and not in_test[overlap.sample]
    ]
    if shared:
        note(
            f"{len(shared)} training pictures don't train while the validation part is predicted, "
            f"since they occur in it ({_named(shared, table)})"
        )
    return dropped


def _named(overlaps: Sequence[Overlap], table: ImageTable) -> str:
    """The first few by name."""
    shown = [
        f"{table.name(overlap.sample)} {overlap.reason(table)}" for overlap in overlaps[:N_NAMED]
    ]
    return "; ".join(shown) + ("; ..." if len(overlaps) > N_NAMED else "")
