"""The pictures of a table at one size: read where they are stored, decoded where they aren't."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.data.pictures import to_pixels
from autotl.data.table import ImageTable
from autotl.errors import AutotlError, UnreadableImageError
from autotl.reuse.quota import DiskQuota, say_once
from autotl.reuse.rows import RowFile
from autotl.reuse.seen import Seen, digest
from autotl.runtime import n_cpus

MAX_SENT_BYTES = 256 * 2**20
"""A table larger than this, or one that can't be sent, isn't sent to another process along with
pictures that are all stored."""

_CHUNK, _BLOCK = 256, 16
_DECODE_S = 1e-3
"""What decoding a picture is taken to cost until it was measured."""
_SAVING_SHARE = 0.01
"""Of the time may go into saving what was seen so far."""


class DecodedPictures:
    """Indexed like an array ``(n, size, size, 3) uint8``, by ``(k,) int64``.

    Pictures that aren't stored, or are damaged, are decoded from the table, and stored if there is
    a place. Where there is none (no quota, a full disk) they are decoded each time.

    Args:
        table: the pictures.
        image_size: side of the square, in pixels.
        quota: where they are stored.
        name: of the entry there.
    """

    def __init__(self, table: ImageTable, image_size: int, quota: DiskQuota, name: str) -> None:
        self.shape = (len(table), image_size, image_size, 3)
        self._table: ImageTable | None = table
        self._quota = quota
        self._name = name
        self._file = RowFile(quota.file(name), len(table), self.shape[1:], np.dtype(np.uint8))
        self._seen = Seen.nothing(len(table))
        self._storing: bool | None = None  # None: nobody has asked for a place yet

    def __getstate__(self) -> dict[str, Any]:
        """The table goes along, unless it is too large and nothing needs to be decoded."""
        state = self.__dict__ | {"_storing": None if self._storing else self._storing}
        if self._stored().all() and not _can_be_sent(self._table):
            state["_table"] = None
        return state

    def decode(self, report: Callable[[int, int], None]) -> tuple[Seen, dict[int, str]]:
        """Decode what isn't stored yet.

        What is known of pictures is saved from time to time: a killed process is continued.

        Args:
            report: called with (pictures decoded or found, pictures in all).

        Returns:
            What was seen of each picture, and the reasons of those that can't be read.
        """
        n = len(self._seen.known)
        companion = self._quota.folder / f"{self._name}.npz"
        self._seen = seen = Seen.load(companion, n)
        missing = np.flatnonzero(~self._stored())
        reasons: dict[int, str] = {}

        def decode_block(samples: NDArray[np.int64]) -> None:
            values, readable = np.empty((len(samples), *self.shape[1:]), np.uint8), []
            for place, sample in enumerate(samples.tolist()):
                try:
                    values[place], original_size = self._decoded(sample)
                except UnreadableImageError as error:
                    reasons[sample] = str(error) or "unreadable"
                    continue
                seen.note(sample, original_size, values[place])
                readable.append(place)
            if readable:
                whole = len(readable) == len(samples)
                self._store(
                    *((samples, values) if whole else (samples[readable], values[readable]))
                )

        started = time.perf_counter()
        saved_at, saving_s = 0.0, 0.0
        try:
            with ThreadPoolExecutor(n_cpus()) as pool:
                for start in range(0, len(missing), _CHUNK):
                    chunk = missing[start : start + _CHUNK]
                    blocks = [chunk[i : i + _BLOCK] for i in range(0, len(chunk), _BLOCK)]
                    list(pool.map(decode_block, blocks))
                    report(n - len(missing) + start + len(chunk), n)
                    now = time.perf_counter()
                    if now - saved_at > saving_s / _SAVING_SHARE:
                        self._save(companion)
                        saved_at = time.perf_counter()
                        saving_s = saved_at - now
            n_decoded = len(missing) - len(reasons)
            if n_decoded > n // 2 or (n_decoded and not seen.seconds):
                seen.seconds = (time.perf_counter() - started) / n_decoded * n
            if seen.known.any() and self._storing is not False:
                self._storing = self._reserve()
        finally:
            if len(missing) > len(reasons):
                self._save(companion)
        return seen, reasons

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures ``(k, size, size, 3) uint8``.

        Raises:
            UnreadableImageError: for a picture that has to be decoded again and can't be read any
                more, or has changed.
        """
        values, held = self._file.read(rows)
        missing = np.flatnonzero(~held)
        if len(missing):
            decoded = self._decode_again(rows[missing].tolist())
            values[missing] = decoded
            self._store(rows[missing], decoded)
        return values

    def _decode_again(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        if self._table is None:
            raise AutotlError(
                f"decoded pictures are gone from {self._quota.folder} while they were in use, and "
                "the data set is too large, or of a kind, not to be sent to this process; run with "
                "workers=1, or with a larger disk_cache_gb, and leave the cache alone meanwhile"
            )
        if len(rows) == 1:
            return self._again(rows[0])[None]
        with ThreadPoolExecutor(min(n_cpus(), len(rows))) as pool:
            return np.stack(list(pool.map(self._again, rows)))

    def _again(self, row: int) -> NDArray[np.uint8]:
        assert self._table is not None
        try:
            values, _ = self._decoded(row)
        except UnreadableImageError as error:
            raise UnreadableImageError(
                f"{self._table.name(row)} could be read before and can't any more: {error}"
            ) from error
        # NumPy drops zeros at the end of bytes in an array.
        expected = bytes(self._seen.digests[row])
        if self._seen.known[row] and digest(values).rstrip(b"\0") != expected:
            raise UnreadableImageError(
                f"{self._table.name(row)} has changed since it was first read; leave the data set "
                "alone during a fit"
            )
        return values

    def _decoded(self, row: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """A picture's pixels, and its width and height before resizing."""
        assert self._table is not None
        size = self.shape[1]
        picture = self._table.read(row, min_size=size)
        return to_pixels(picture, size), picture.info.get("original_size", picture.size)

    def _stored(self) -> NDArray[np.bool_]:
        """Which pictures are stored and known."""
        return self._seen.known & self._file.held(np.arange(len(self._seen.known)))

    def _reserve(self) -> bool:
        n = len(self._seen.known)
        seconds = self._seen.seconds or _DECODE_S * n
        return self._quota.reserve(self._name, self._file.n_bytes + self._seen.n_bytes, seconds)

    def _store(self, rows: NDArray[np.int64], values: NDArray[np.uint8]) -> None:
        if self._storing is None:
            self._storing = self._reserve()
        if self._storing:
            try:
                self._file.write(rows, values)
            except OSError as error:
                self._stop_storing(error)

    def _save(self, companion: Any) -> None:
        if self._storing:
            try:
                self._seen.save(companion)
            except OSError as error:
                self._stop_storing(error)

    def _stop_storing(self, error: OSError) -> None:
        self._storing = False
        say_once(
            self._quota.folder,
            f"decoded pictures can't be stored in {self._quota.folder}: {error}; going on without "
            "storing them, which is slower",
        )


def look_at(
    pictures: NDArray[np.uint8], rows: NDArray[np.int64], report: Callable[[int, int], None]
) -> Seen:
    """What is to be seen of pictures that need no decoding.

    Args:
        pictures: ``(n_rows, size, size, 3) uint8``.
        rows: ``(n,)``, which of them.
        report: called with (pictures looked at, pictures in all).
    """
    seen = Seen.nothing(len(rows))
    size = (pictures.shape[2], pictures.shape[1])
    with ThreadPoolExecutor(n_cpus()) as pool:
        for start in range(0, len(rows), _CHUNK):
            samples = range(start, min(start + _CHUNK, len(rows)))
            list(pool.map(lambda sample: seen.note(sample, size, pictures[rows[sample]]), samples))
            report(samples.stop, len(rows))
    return seen


class _TooLarge(Exception):
    pass


class _Scales:
    """Takes what a pickler writes, and only weighs it."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def write(self, content: Any) -> int:
        n_bytes = memoryview(content).nbytes
        self.n_bytes += n_bytes
        if self.n_bytes > MAX_SENT_BYTES:
            raise _TooLarge
        return n_bytes


def _can_be_sent(table: ImageTable | None) -> bool:
    try:
        pickle.Pickler(_Scales(), pickle.HIGHEST_PROTOCOL).dump(table)
    except Exception:  # whatever a data set that somebody else wrote raises
        return False
    return True
