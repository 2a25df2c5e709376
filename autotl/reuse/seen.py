"""What was seen while decoding pictures: small, kept beside their pixels."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_ARRAYS = ("original_sizes", "is_grey", "digests", "known")


@dataclass
class Seen:
    """Facts of ``n`` pictures; filled while they are decoded, by several threads.

    Attributes:
        original_sizes: ``(n, 2) int32``, width and height before resizing.
        is_grey: ``(n,) bool``, whether the picture has no colour.
        digests: ``(n,) S16``, equal for pictures of equal pixels.
        known: ``(n,) bool``, of which pictures this is known.
        seconds: what decoding them took; 0 if unknown.
    """

    original_sizes: NDArray[np.int32]
    is_grey: NDArray[np.bool_]
    digests: NDArray[np.bytes_]
    known: NDArray[np.bool_]
    seconds: float = 0.0

    @classmethod
    def nothing(cls, n: int) -> Seen:
        """Of ``n`` pictures, none of which was decoded yet."""
        sizes = np.zeros((n, 2), dtype=np.int32)
        return cls(sizes, np.zeros(n, bool), np.zeros(n, "S16"), np.zeros(n, bool))

    @classmethod
    def load(cls, file: Path, n: int) -> Seen:
        """What was saved; nothing where that is absent, damaged or of another number."""
        empty = cls.nothing(n)
        with suppress(Exception), file.open("rb") as opened:  # a damaged file raises any kind
            stored = np.load(opened)
            found = {name: stored[name] for name in _ARRAYS}
            if all(
                (array.shape, array.dtype)
                == (getattr(empty, name).shape, getattr(empty, name).dtype)
                for name, array in found.items()
            ):
                return cls(**found, seconds=float(stored["seconds"]))
        return empty

    def save(self, file: Path) -> None:
        """Write it beside its place, then rename: no half file can be read.

        Raises:
            OSError: if it can't be written.
        """
        part = file.with_name(f"{file.stem}.{os.getpid()}.part")
        try:
            with part.open("wb") as opened:
                arrays = {name: getattr(self, name) for name in _ARRAYS}
                np.savez(opened, **arrays, seconds=np.float64(self.seconds))
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)

    @property
    def n_bytes(self) -> int:
        """Size on disk, roughly."""
        return sum(int(getattr(self, name).nbytes) for name in _ARRAYS) + 4096

    def note(self, sample: int, original_size: tuple[int, int], pixels: NDArray[np.uint8]) -> None:
        """Note a decoded picture.

        Args:
            sample: which one.
            original_size: width and height before resizing.
            pixels: ``(size, size, 3) uint8``.
        """
        self.original_sizes[sample] = original_size
        self.is_grey[sample] = bool(np.all(pixels == pixels[..., :1]))
        self.digests[sample] = digest(pixels)
        self.known[sample] = True


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """The digest of decoded pixels."""
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
