"""Rows of tensors, kept on the training device or in a file."""

from __future__ import annotations

import errno
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotl.reuse.quota import DiskQuota, say_once
from autotl.reuse.rows import RowFile

_AS_NUMPY = {torch.bfloat16: torch.int16}
"""NumPy has no bfloat16: its bits are kept as integers."""


class TensorRows(Protocol):
    """Rows of one shape and dtype, some of which are held."""

    def held(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows are there."""
        ...

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Values ``(k, *shape)`` on the device, undefined where a row isn't held; and which are."""
        ...

    def write(self, rows: NDArray[np.int64], values: Tensor) -> None:
        """Keep values ``(k, *shape)``; where they can't be kept, nothing happens."""
        ...


class DeviceRows:
    """Rows in the memory of the training device; a row takes memory once it is written.

    Args:
        n_rows: how many there can be.
        like: ``(k, *shape)``, a tensor of the rows' shape and dtype, on the device.
    """

    def __init__(self, n_rows: int, like: Tensor) -> None:
        self._values = torch.empty((n_rows, *like.shape[1:]), dtype=like.dtype, device=like.device)
        self._held = np.zeros(n_rows, dtype=bool)

    def held(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows are there."""
        found: NDArray[np.bool_] = self._held[rows]
        return found

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Values and which of them are held."""
        index = torch.from_numpy(rows).to(self._values.device, non_blocking=True)
        return self._values.index_select(0, index), self.held(rows)

    def write(self, rows: NDArray[np.int64], values: Tensor) -> None:
        """Keep values."""
        index = torch.from_numpy(rows).to(self._values.device)
        self._values.index_copy_(0, index, values)
        self._held[rows] = True


class FileRows:
    """Rows in a file of a cache that processes share.

    Args:
        quota: of the cache.
        name: of the entry there.
        n_rows: how many there can be.
        like: ``(k, *shape)``, a tensor of the rows' shape and dtype, on the device to read to.
    """

    def __init__(self, quota: DiskQuota, name: str, n_rows: int, like: Tensor) -> None:
        self._folder = quota.folder
        self._device, self._dtype = like.device, like.dtype
        kept = like.view(_AS_NUMPY.get(like.dtype, like.dtype))
        dtype = kept[:0].cpu().numpy().dtype
        self._file = RowFile(quota.file(name), n_rows, tuple(like.shape[1:]), dtype)
        self._is_full = False

    def held(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows are there."""
        return self._file.held(rows)

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Values and which of them are held."""
        values, held = self._file.read(rows)
        return torch.from_numpy(values).view(self._dtype).to(self._device), held

    def write(self, rows: NDArray[np.int64], values: Tensor) -> None:
        """Keep values; on a full disk say so once and keep no more."""
        if self._is_full:
            return
        kept = values.view(_AS_NUMPY.get(values.dtype, values.dtype)).cpu().numpy()
        try:
            self._file.write(rows, kept)
        except OSError as error:
            self._is_full = True
            what = "is full" if error.errno == errno.ENOSPC else f"can't be written: {error}"
            say_once(
                self._folder,
                f"the disk of the cache {self._folder} {what}; what isn't kept is computed again",
            )
