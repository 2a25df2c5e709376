"""Named sets of tensor rows: kept in memory, on disk or not at all, computed where missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotl.reuse.quota import DiskQuota, GreedyDual
from autotl.reuse.tensors import DeviceRows, FileRows, TensorRows


@dataclass
class Meter:
    """What a store did so far.

    Attributes:
        n_read: activations that were there, one per picture asked for.
        n_computed: activations that weren't.
        saved_s: seconds that computing those that were there would have taken.
        n_trained: pictures that training steps were made with, as often as they were.
    """

    n_read: int = 0
    n_computed: int = 0
    saved_s: float = 0.0
    n_trained: int = 0

    def since(self, before: Meter) -> Meter:
        """What was added after an earlier copy was made."""
        own, earlier = vars(self), vars(before)
        return Meter(**{name: value - earlier[name] for name, value in own.items()})

    def figures(self, seconds: float) -> dict[str, float]:
        """As named figures: ``images_per_s`` trained, ``store_reads``, ``store_misses`` and
        ``saved_seconds``.

        Args:
            seconds: in which that was done.
        """
        return {
            "images_per_s": self.n_trained / max(seconds, 1e-9),
            "store_reads": float(self.n_read),
            "store_misses": float(self.n_computed),
            "saved_seconds": self.saved_s,
        }

    def count(self, n_read: int, n_computed: int, each_s: float) -> None:
        """Note a request."""
        self.n_read += n_read
        self.n_computed += n_computed
        self.saved_s += n_read * each_s


class Entries:
    """Where each entry is, and what was asked of all.

    An entry gets its place when its first rows are computed, which tells their shape and dtype: its
    file if there is one, else memory, else disk, else none. In memory and on disk, what gives way
    is decided by the seconds per byte that computing it again takes.

    Args:
        quota: of the files; None: nothing is kept on disk.
        memory_bytes: the most to keep in the device's memory.

    Attributes:
        meter: of all requests.
    """

    def __init__(self, quota: DiskQuota | None, memory_bytes: int) -> None:
        self.meter = Meter()
        self._quota = quota
        self._memory = GreedyDual(memory_bytes)
        self._places: dict[str, _Place | None] = {}

    @property
    def memory_bytes(self) -> int:
        """The most to keep in memory."""
        return self._memory.max_bytes

    @property
    def memory_used_bytes(self) -> int:
        """What is set aside in memory."""
        return self._memory.n_bytes

    def held(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows of an entry needn't be computed any more."""
        place = self._places.get(name)
        return np.zeros(len(rows), dtype=bool) if place is None else place.held(rows)

    def read(self, name: str, rows: NDArray[np.int64]) -> Tensor | None:
        """Rows of an entry; None unless all are held."""
        place = self._places.get(name)
        if place is None or not place.held(rows).all():
            return None
        values, held = place.read(rows)
        return values if held.all() else None

    def get(
        self,
        name: str,
        n_rows: int,
        rows: NDArray[np.int64],
        compute: Callable[[NDArray[np.int64]], Tensor],
        each_s: float,
        *,
        memory_only: bool = False,
        disk_first: bool = False,
    ) -> Tensor:
        """Rows of an entry; those that aren't held are computed and kept.

        Args:
            name: of the entry.
            n_rows: how many rows the entry has.
            rows: ``(k,)``, which are wanted.
            compute: values of some of them, by their places in ``rows``.
            each_s: seconds that computing one takes.
            memory_only: whether it must not go to disk.
            disk_first: whether it is small and worth keeping for later fits.
        """
        everything = np.arange(len(rows))
        if name not in self._places:  # the first values also tell their shape and dtype
            values = compute(everything)
            self._places[name] = entry = self._place(
                name, n_rows, values, each_s * n_rows, memory_only, disk_first
            )
            if entry is not None:
                entry.write(rows, values)
            self.meter.count(0, len(rows), each_s)
            return values
        entry = self._places[name]
        if entry is None:
            self.meter.count(0, len(rows), each_s)
            return compute(everything)
        self._memory.touch(name)
        values, held = entry.read(rows)
        missing = np.flatnonzero(~held)
        if len(missing):
            computed = compute(missing)
            entry.write(rows[missing], computed)
            values[torch.from_numpy(missing).to(values.device)] = computed
        self.meter.count(len(rows) - len(missing), len(missing), each_s)
        return values

    def _place(
        self,
        name: str,
        n_rows: int,
        values: Tensor,
        seconds: float,
        memory_only: bool,
        disk_first: bool,
    ) -> _Place | None:
        """A place for an entry: its file if there is one, else memory, else disk, else none."""
        permuted = _is_channels_last(values)
        like = values.permute(0, 2, 3, 1) if permuted else values
        n_bytes = n_rows * like[0].numel() * like.element_size()

        def on_disk() -> _Place | None:
            if memory_only or self._quota is None:
                return None
            if not self._quota.reserve(name, n_bytes, seconds):
                return None
            return _Place(FileRows(self._quota, name, n_rows, like), permuted)

        def in_memory() -> _Place | None:
            siblings = [other for other in self._places if _family(other) == _family(name)]
            gone = self._memory.admit(name, n_bytes, seconds, pinned=siblings)
            if gone is None:
                return None
            for other in gone:
                del self._places[other]
            return _Place(DeviceRows(n_rows, like), permuted)

        is_there = self._quota is not None and self._quota.file(name).is_file()
        if is_there or disk_first:
            return on_disk() or in_memory()
        return in_memory() or on_disk()


@dataclass(frozen=True)
class _Place:
    """Where activations are kept, channels innermost if that is how the network runs."""

    rows: TensorRows
    permuted: bool

    def held(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self.rows.held(rows)

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.bool_]]:
        values, held = self.rows.read(rows)
        return (values.permute(0, 3, 1, 2) if self.permuted else values), held

    def write(self, rows: NDArray[np.int64], values: Tensor) -> None:
        self.rows.write(rows, values.permute(0, 2, 3, 1) if self.permuted else values)


def _is_channels_last(values: Tensor) -> bool:
    return values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)


def _family(name: str) -> str:
    return name.partition("+")[0]
