"""Every picture decoded once, to the search resolution, as uint8 that all trials share.

A store is one memory-mapped file ``(n_samples, size, size, 3)`` with a companion of what was seen
while decoding. It is written beside its place and renamed when complete: a killed run leaves no
half store that anybody would read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotl.data.pictures import to_pixels
from autotl.data.table import ImageTable
from autotl.errors import InputError, UnreadableImageError
from autotl.runtime import n_cpus

_VERSION = 1
_CHUNK = 256
MAX_UNREADABLE_SHARE = 0.5
"""Above this share of unreadable pictures the data set is refused."""


@dataclass(frozen=True)
class PixelView:
    """Some rows of a store, addressed from 0; nothing outside them can be reached by index."""

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    name: str = ""
    """Of the store: different pictures, different name."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_size(self) -> int:
        """Side of the square pictures in pixels."""
        return int(self.pixels.shape[1])

    def __getitem__(self, samples: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures ``(k, size, size, 3) uint8`` of these samples ``(k,) int64``."""
        if len(samples) and (samples.min() < 0 or samples.max() >= len(self.rows)):
            raise IndexError(f"samples must be in [0, {len(self.rows)})")
        chosen: NDArray[np.uint8] = self.pixels[self.rows[samples]]
        return chosen


@dataclass(frozen=True)
class PixelStore:
    """Decoded pictures and what was seen while decoding them.

    Attributes:
        file: ``(n_decoded, size, size, 3) uint8``, read memory-mapped.
        rows: ``(n_samples,) int64``, the file's row of each sample.
        original_sizes: ``(n_samples, 2) int32``, width and height before resizing.
        is_grey: ``(n_samples,) bool``, whether the picture has no colour.
        digests: ``(n_samples,) S16``, equal for pictures of equal pixels.
    """

    file: Path
    rows: NDArray[np.int64]
    original_sizes: NDArray[np.int32]
    is_grey: NDArray[np.bool_]
    digests: NDArray[np.bytes_]

    def view(self, samples: NDArray[np.int64]) -> PixelView:
        """The part of the store with these samples only."""
        pixels = np.load(self.file, mmap_mode="r")
        return PixelView(pixels, self.rows[samples], self.file.stem)


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
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ImageTable, PixelStore]:
    """Decode all pictures of a table, in parallel, or find them decoded.

    Args:
        table: the labelled pictures.
        image_size: side of the square pixels to store.
        folder: where the store's files are or will be.
        on_progress: called with (pictures decoded, pictures in all).

    Returns:
        The table without unreadable pictures, which are in its quarantine, and the store, whose
        rows are the samples of the returned table.

    Raises:
        InputError: if too many pictures are unreadable.
    """
    key = hashlib.blake2b(table.rows.tobytes(), digest_size=4).hexdigest()
    stem = f"pixels-v{_VERSION}-{table.fingerprint[:16]}-{key}-{image_size}"
    file, companion = folder / f"{stem}.npy", folder / f"{stem}.npz"
    if not (file.is_file() and companion.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        _write_store(table, image_size, file, companion, on_progress)
    with np.load(companion) as seen:
        reasons = seen["reasons"]
        keep = np.flatnonzero(reasons == "")
        unreadable = [(int(i), str(reasons[i])) for i in np.flatnonzero(reasons != "")]
        _refuse_if_mostly_unreadable(table, unreadable)
        store = PixelStore(
            file=file,
            rows=keep,
            original_sizes=seen["original_sizes"][keep],
            is_grey=seen["is_grey"][keep],
            digests=seen["digests"][keep],
        )
    return table.without(unreadable), store


def _write_store(
    table: ImageTable,
    image_size: int,
    file: Path,
    companion: Path,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    n = len(table)
    original_sizes = np.zeros((n, 2), dtype=np.int32)
    is_grey = np.zeros(n, dtype=bool)
    digests = np.zeros(n, dtype="S16")
    reasons = np.full(n, "", dtype=object)
    unfinished = file.with_suffix(f".{os.getpid()}.part")

    def decode(sample: int) -> None:
        try:
            picture = table.read(sample, min_size=image_size)
            values = to_pixels(picture, image_size)
        except UnreadableImageError as error:
            reasons[sample] = str(error) or "unreadable"
            return
        rows[sample] = values
        original_sizes[sample] = picture.info.get("original_size", picture.size)
        is_grey[sample] = bool(np.all(values == values[..., :1]))
        digests[sample] = hashlib.blake2b(values.tobytes(), digest_size=16).digest()

    try:
        rows = np.lib.format.open_memmap(
            unfinished, mode="w+", dtype=np.uint8, shape=(n, image_size, image_size, 3)
        )
        with ThreadPoolExecutor(n_cpus()) as pool:
            for start in range(0, n, _CHUNK):
                stop = min(start + _CHUNK, n)
                list(pool.map(decode, range(start, stop)))
                if on_progress is not None:
                    on_progress(stop, n)
        rows.flush()
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    part = companion.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(
        part,
        original_sizes=original_sizes,
        is_grey=is_grey,
        digests=digests,
        reasons=reasons.astype(str),
    )
    os.replace(part, companion)


def _refuse_if_mostly_unreadable(table: ImageTable, unreadable: list[tuple[int, str]]) -> None:
    if len(unreadable) <= MAX_UNREADABLE_SHARE * len(table):
        return
    listed = "; ".join(f"{table.name(sample)}: {reason}" for sample, reason in unreadable[:3])
    raise InputError(
        f"{len(unreadable)} of {len(table)} pictures can't be read (first: {listed}); "
        "check that the data set is complete and its files are pictures"
    )
