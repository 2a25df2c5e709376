"""Every picture decoded once, to the search resolution, as uint8 that all trials share.

The pixels lie in a :class:`~autotl.reuse.rows.RowFile` under a quota, beside what was seen while
decoding. Whatever isn't there when it is needed (a fit that was killed, a full disk, a damaged or
deleted file, a data set larger than the quota) is decoded again, to the same pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.data.memory import ArraySource
from autotl.data.table import ImageTable
from autotl.errors import InputError
from autotl.reuse.decoded import DecodedPictures, look_at
from autotl.reuse.quota import DiskQuota
from autotl.reuse.seen import Seen

_VERSION = 2
MAX_UNREADABLE_SHARE = 0.5
"""Above this share of unreadable pictures the data set is refused."""


@dataclass(frozen=True)
class PixelView:
    """Some rows of a store, addressed from 0; nothing outside them can be reached by index."""

    source: NDArray[np.uint8] | DecodedPictures
    """``(n_rows, size, size, 3) uint8``."""
    rows: NDArray[np.int64]
    name: str = ""
    """Of the store: different pictures, different name."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_rows(self) -> int:
        """Rows of the whole store, those outside the view included."""
        return int(self.source.shape[0])

    @property
    def image_size(self) -> int:
        """Side of the square pictures in pixels."""
        return int(self.source.shape[1])

    def __getitem__(self, samples: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures ``(k, size, size, 3) uint8`` of these samples ``(k,) int64``."""
        if len(samples) and (samples.min() < 0 or samples.max() >= len(self.rows)):
            raise IndexError(f"samples must be in [0, {len(self.rows)})")
        chosen: NDArray[np.uint8] = self.source[self.rows[samples]]
        return chosen


@dataclass(frozen=True)
class PixelStore:
    """Decoded pictures and what was seen while decoding them.

    Attributes:
        name: different pictures, different name.
        source: ``(n_rows, size, size, 3) uint8``: an array, or pictures read from a file.
        rows: ``(n_samples,) int64``, the source's row of each sample.
        original_sizes: ``(n_samples, 2) int32``, width and height before resizing.
        is_grey: ``(n_samples,) bool``, whether the picture has no colour.
        digests: ``(n_samples,) S16``, equal for pictures of equal pixels.
    """

    name: str
    source: NDArray[np.uint8] | DecodedPictures
    rows: NDArray[np.int64]
    original_sizes: NDArray[np.int32]
    is_grey: NDArray[np.bool_]
    digests: NDArray[np.bytes_]

    def view(self, samples: NDArray[np.int64]) -> PixelView:
        """The part of the store with these samples only."""
        return PixelView(self.source, self.rows[samples], self.name)


@dataclass(frozen=True)
class PixelViews:
    """The same samples at several sizes. Small to send to another process.

    Attributes:
        stores: by size in pixels.
        samples: ``(k,) int64``, which samples of the stores can be reached.
    """

    stores: Mapping[int, PixelStore]
    samples: NDArray[np.int64]

    def __call__(self, image_size: int) -> PixelView:
        """The samples at a size that has a store."""
        return self.stores[image_size].view(self.samples)


def decode_table(
    table: ImageTable,
    image_size: int,
    quota: DiskQuota,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ImageTable, PixelStore]:
    """Decode the pictures of a table that weren't decoded yet, in parallel.

    An array that has the size already is used as it is, without a file. Pictures that can't be
    read are tried again each time: what was wrong may have been mended.

    Args:
        table: the labelled pictures.
        image_size: side of the square pixels to store.
        quota: where they are stored, if there is a place.
        on_progress: called with (pictures decoded, pictures in all).

    Returns:
        The table without unreadable pictures, which are in its quarantine, and the store, whose
        rows are the samples of the returned table.

    Raises:
        InputError: if too many pictures are unreadable.
    """
    key = hashlib.blake2b(table.rows.tobytes(), digest_size=4).hexdigest()
    name = f"pixels-v{_VERSION}-{table.fingerprint[:16]}-{key}-{image_size}"
    report = on_progress or (lambda done, n: None)
    array = _array_of(table, image_size)
    if array is not None:
        seen = look_at(array, table.rows, report)
        return table, _store(name, array, table.rows, seen, np.arange(len(table)))
    pictures = DecodedPictures(table, image_size, quota, name)
    seen, reasons = pictures.decode(report)
    unreadable = sorted(reasons.items())
    _refuse_if_mostly_unreadable(table, unreadable)
    samples = np.arange(len(table))
    keep = np.setdiff1d(samples, [sample for sample, _ in unreadable])
    return table.without(unreadable), _store(name, pictures, samples, seen, keep)


def _array_of(table: ImageTable, image_size: int) -> NDArray[np.uint8] | None:
    """The table's pictures as an array that needs no decoding, or None."""
    if isinstance(table.source, ArraySource):
        array = table.source.array
        if array.dtype == np.uint8 and array.shape[1:] == (image_size, image_size, 3):
            return array
    return None


def _store(
    name: str,
    source: NDArray[np.uint8] | DecodedPictures,
    rows: NDArray[np.int64],
    seen: Seen,
    keep: NDArray[np.int64],
) -> PixelStore:
    """The store of the samples to keep."""
    return PixelStore(
        name=name,
        source=source,
        rows=rows[keep],
        original_sizes=seen.original_sizes[keep],
        is_grey=seen.is_grey[keep],
        digests=seen.digests[keep],
    )


def _refuse_if_mostly_unreadable(table: ImageTable, unreadable: list[tuple[int, str]]) -> None:
    if len(unreadable) <= MAX_UNREADABLE_SHARE * len(table):
        return
    listed = "; ".join(f"{table.name(sample)}: {reason}" for sample, reason in unreadable[:3])
    raise InputError(
        f"{len(unreadable)} of {len(table)} pictures can't be read (first: {listed}); "
        "check that the data set is complete and its files are pictures"
    )
