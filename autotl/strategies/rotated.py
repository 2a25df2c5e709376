"""Standardised features along their principal axes; those of equal features are found once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.strategies.blas import threads_for

_BLOCK_ROWS = 4096
_GRAM_ROWS_PER_FEATURE = 8
"""So many samples tell the principal axes well enough; the axes matter for speed only."""
_KEPT_BYTES = 2**27
"""Of frames that were found, the most that are kept."""


@dataclass(frozen=True)
class Frame:
    """Where features lie: what standardises them, and their principal axes, or nearly those.

    Attributes:
        mean: ``(n_features,) float32`` of the features.
        scale: ``(n_features,) float32``, their standard deviation, 1 where it is 0.
        axes: ``(n_features, n_axes) float32``, orthonormal columns; no more than there are samples.
        energy: ``(n_axes,) float64``, about the sum of squares along each axis.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    axes: NDArray[np.float32]
    energy: NDArray[np.float64]

    @property
    def n_bytes(self) -> int:
        """What it takes."""
        return sum(int(array.nbytes) for array in vars(self).values())

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Frame:
        """Find it for features ``(n, n_features)``."""
        n, n_features = features.shape
        blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, n, _BLOCK_ROWS)]
        # In double precision, since a constant column of float32 seems to vary otherwise.
        centre = features.mean(axis=0, dtype=np.float64)
        squares = sum(np.square(features[block] - centre).sum(axis=0) for block in blocks)
        mean, scale = centre.astype(np.float32), np.sqrt(squares / n).astype(np.float32)
        scale[scale < 1e-6] = 1.0
        few = n < n_features
        basis = np.linalg.qr(((features - mean) / scale).T)[0] if few else None
        gram = np.zeros((min(n, n_features),) * 2)
        step = 1 + n // (_GRAM_ROWS_PER_FEATURE * n_features)
        for block in blocks:
            x = (features[block][::step] - mean) / scale
            x = x if basis is None else x @ basis
            gram += step * (x.T @ x)
        energy, turn = np.linalg.eigh(gram)
        axes = turn.astype(np.float32)
        axes = axes if basis is None else basis @ axes
        return cls(mean, scale, axes, np.maximum(energy, 0.0))


class Frames:
    """The frames that were asked for last, by the features' bytes. Safe to share by threads.

    Trials of one search ask for the same ones again: with another head, penalty or seed.

    Args:
        max_bytes: the most that are kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[tuple[int, ...], bytes], Frame] = OrderedDict()

    def of(self, features: NDArray[np.float32]) -> Frame:
        """The frame of features ``(n, n_features)``, the same to the bit whether it was kept."""
        content = np.ascontiguousarray(features).data
        key = (features.shape, hashlib.blake2b(content, digest_size=16).digest())
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = Frame.of(features)
        with self._lock:
            self._kept[key] = found
            while sum(frame.n_bytes for frame in self._kept.values()) > self._max_bytes:
                self._kept.popitem(last=False)
        return found


_FRAMES = Frames(_KEPT_BYTES)


@dataclass(frozen=True)
class RotatedFeatures:
    """Standardised features along the axes of their frame.

    A rotation leaves the L2 penalty as it is, so that a solution found here and rotated back is the
    solution. Here the problem's curvature is almost diagonal, which the solver makes use of; and
    fewer samples than features span no more axes than there are samples.

    Attributes:
        frame: where the features lie.
        values: ``(n_samples, n_axes) float32``.
    """

    frame: Frame
    values: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32], rows: NDArray[np.int64]) -> RotatedFeatures:
        """Standardise and rotate features ``(n, n_features)``; takes memory for one copy of them.

        Args:
            features: of all samples; left as they are.
            rows: ``(n,)``, a permutation: the order of the samples in :attr:`values`.
        """
        with threads_for(features.size * features.shape[1]):
            frame = _FRAMES.of(features)
            values = np.empty((len(features), len(frame.energy)), dtype=np.float32)
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = slice(start, start + _BLOCK_ROWS)
                standardised = (features[rows[block]] - frame.mean) / frame.scale
                np.matmul(standardised, frame.axes, out=values[block])
        return cls(frame, values)
