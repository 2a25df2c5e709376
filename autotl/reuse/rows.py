"""Equal-sized rows in one file, each with a checksum, filled in any order by any number of writers.

``pread`` and ``pwrite``, not ``mmap``: under a map, a full disk or a file that somebody shortens
ends the process with SIGBUS, and the pages that were touched count as its resident memory. A failed
read is an ordinary error, and processes share the kernel's page cache all the same.
"""

from __future__ import annotations

import errno
import math
import os
import threading
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHECKSUM = np.dtype("<u4")
_UNKNOWN, _VERIFIED, _FAILED = 0, 1, 2
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class RowFile:
    """Rows ``(n_rows, *shape)`` in a file; a row is held or not, and what is held is right.

    Beside the file lies ``FILE.crc`` with a 32-bit number per row: 0 for a row that isn't held,
    else its CRC-32 (a CRC of 0 is stored as 1). A row is written before its checksum, and compared
    with it the first time that this process reads it. So a process killed at any time, a damaged or
    shortened file and two writers at once only mean that rows aren't held. Writers must agree on
    what a row holds.

    Nothing is opened before it is needed, and another process reopens the files. Files that are
    deleted while they are open go on working here.

    Args:
        file: where the rows are or will be; its folder is made when the first row is written.
        n_rows: how many there can be.
        shape: of a row.
        dtype: of its values.
    """

    def __init__(
        self, file: Path, n_rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.file = file
        self.n_rows = n_rows
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._opened: tuple[int, int] | None = None
        self._states: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("file", "n_rows", "shape", "dtype")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def n_bytes(self) -> int:
        """Size on disk when full, checksums included."""
        return self.n_rows * (self.row_bytes + _CHECKSUM.itemsize)

    def held(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows are there, ``(k,) bool``, without reading them: some may prove damaged.

        Args:
            rows: ``(k,)``, in any order.

        Raises:
            IndexError: for a row outside ``[0, n_rows)``.
        """
        states = self._checked(rows)[rows]
        files = self._open(writing=False)
        if files is None:
            return np.zeros(len(rows), bool)
        found = states == _VERIFIED
        asked = np.flatnonzero(states == _UNKNOWN)
        found[asked] = self._checksums(files[1], rows[asked]) != 0
        n_whole = os.fstat(files[0]).st_size // self.row_bytes
        held: NDArray[np.bool_] = found & (rows < n_whole)
        return held

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows, as far as they are held.

        Args:
            rows: ``(k,)``, in any order; neighbours that follow each other are read at once.

        Returns:
            Values ``(k, *shape)``, undefined where a row isn't held; and ``(k,) bool``, whether
            each is held.

        Raises:
            IndexError: for a row outside ``[0, n_rows)``.
        """
        states = self._checked(rows)
        values = np.empty((len(rows), *self.shape), self.dtype)
        files = self._open(writing=False)
        if files is None:
            return values, np.zeros(len(rows), bool)
        known = states[rows] == _VERIFIED
        unknown = np.flatnonzero(~known)
        checksums = np.zeros(len(rows), _CHECKSUM)
        checksums[unknown] = self._checksums(files[1], rows[unknown])
        held = known | (checksums != 0)
        flat, size = _as_bytes(values), self.row_bytes
        for first, place, n in _runs(rows, np.flatnonzero(held)):
            whole = _read(files[0], flat[place * size : (place + n) * size], first, size)
            held[place + whole : place + n] = False
        for place in unknown[held[unknown]].tolist():
            row = flat[place * size : (place + 1) * size]
            held[place] = _checksum(row) == checksums[place]
        states[rows[unknown]] = np.where(held[unknown], _VERIFIED, _FAILED)
        states[rows[known & ~held]] = _FAILED
        return values, held

    def write(self, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Put rows in their places.

        Args:
            rows: ``(k,)``, in any order.
            values: ``(k, *shape)`` of the dtype.

        Raises:
            OSError: if they can't be written, as on a full disk; what was held before still is.
            ValueError: for values of another shape or dtype.
            IndexError: for a row outside ``[0, n_rows)``.
        """
        expected = (len(rows), *self.shape)
        if values.shape != expected or values.dtype != self.dtype:
            raise ValueError(
                f"values must be {expected} {self.dtype}, but got {values.shape} {values.dtype}"
            )
        states = self._checked(rows)
        if not len(rows):
            return
        files = self._open(writing=True)
        assert files is not None
        flat = _as_bytes(np.ascontiguousarray(values))
        size, width = self.row_bytes, _CHECKSUM.itemsize
        checksums = np.array([_checksum(flat[i : i + size]) for i in range(0, len(flat), size)])
        sums = _as_bytes(checksums.astype(_CHECKSUM))
        runs = list(_runs(rows, np.arange(len(rows))))
        for first, place, n in runs:
            _write(files[0], flat[place * size : (place + n) * size], first * size)
        for first, place, n in runs:
            _write(files[1], sums[place * width : (place + n) * width], first * width)
        states[rows] = _UNKNOWN

    def _checked(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """What this process knows of each row, once the rows prove to be in range."""
        if len(rows) and (rows.min() < 0 or rows.max() >= self.n_rows):
            raise IndexError(f"rows must be in [0, {self.n_rows})")
        if self._states is None:
            with self._lock:
                if self._states is None:
                    self._states = np.full(self.n_rows, _UNKNOWN, np.uint8)
        return self._states

    def _checksums(self, descriptor: int, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The stored checksums, 0 where there is none."""
        found = np.zeros(len(rows), _CHECKSUM)
        flat, width = _as_bytes(found), _CHECKSUM.itemsize
        for first, place, n in _runs(rows, np.arange(len(rows))):
            whole = _read(descriptor, flat[place * width : (place + n) * width], first, width)
            found[place + whole : place + n] = 0
        return found

    def _open(self, *, writing: bool) -> tuple[int, int] | None:
        """Descriptors of the rows and of the checksums; None if there is nothing to read."""
        if self._opened is not None:
            return self._opened
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = _open_pair(self.file, writing)
                except OSError:
                    if writing:
                        raise
                    return None
                for descriptor in self._opened:
                    weakref.finalize(self, os.close, descriptor)
            return self._opened


def _open_pair(file: Path, writing: bool) -> tuple[int, int]:
    """Open the rows and the checksums, for writing too where that is allowed."""
    if writing:
        file.parent.mkdir(parents=True, exist_ok=True)
    opened: list[int] = []
    try:
        for path in (file, checksums_of(file)):
            flags = os.O_CLOEXEC | (os.O_CREAT if writing else 0)
            try:
                opened.append(os.open(path, os.O_RDWR | flags, 0o666))
            except OSError as error:
                if writing or error.errno not in _FORBIDDEN:
                    raise
                opened.append(os.open(path, os.O_RDONLY | flags))
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened[0], opened[1]


def checksums_of(file: Path) -> Path:
    """The file of the checksums of a row file."""
    return file.with_name(f"{file.name}.crc")


def _runs(rows: NDArray[np.int64], places: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Stretches of rows that follow each other both in the file and in memory.

    Args:
        rows: ``(k,)``, the row of every place.
        places: ascending; the places that matter.

    Yields:
        First row, its place, and how many.
    """
    if not len(places):
        return
    wanted = rows[places]
    breaks = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(places) != 1)) + 1
    starts = [0, *breaks.tolist()]
    ends = [*starts[1:], len(places)]
    for start, end in zip(starts, ends, strict=True):
        yield int(wanted[start]), int(places[start]), end - start


def _as_bytes(array: NDArray[Any]) -> memoryview:
    """The bytes of a contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8).data


def _checksum(row: memoryview) -> int:
    return zlib.crc32(row) or 1


def _read(descriptor: int, into: memoryview, first: int, row_bytes: int) -> int:
    """Read rows from ``first`` on; how many could be read whole."""
    done = 0
    while done < len(into):
        try:
            got = os.preadv(descriptor, [into[done:] if done else into], first * row_bytes + done)
        except OSError:
            break
        if not got:
            break
        done += got
    return done // row_bytes


def _write(descriptor: int, content: memoryview, offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], offset + done)
