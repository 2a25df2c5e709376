"""Perceptual hashes of thumbnails, and pairs of pictures whose hashes are nearly equal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 32
"""Side of a thumbnail in pixels."""
MAX_BITS = 10
"""Of 64 bits, as many may differ between the hashes of a candidate pair."""

_BLOCK = 32
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_HASH_SIDE = 8
_SORTED_NEIGHBOURS = 2


def make_thumbnails(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], n_samples: int
) -> NDArray[np.uint8]:
    """Small grey versions of decoded pictures, ``(n_samples, 32, 32) uint8``.

    Args:
        read: gives the pictures ``(k, size, size, 3) uint8`` of samples ``(k,) int64``.
        n_samples: how many there are.
    """
    thumbnails = np.empty((n_samples, THUMBNAIL, THUMBNAIL), dtype=np.uint8)
    for start in range(0, n_samples, _BLOCK):
        samples = np.arange(start, min(start + _BLOCK, n_samples))
        pixels = read(samples)
        shrink = _averaging(pixels.shape[1])
        lower = shrink @ pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)
        grey = lower.reshape(len(pixels), THUMBNAIL, -1, 3) @ _LUMA
        thumbnails[samples] = np.rint(grey @ shrink.T).astype(np.uint8)
    return thumbnails


def _averaging(side: int) -> NDArray[np.float32]:
    """The mean of the pixels, or parts of pixels, that a thumbnail's pixel covers: a matrix."""
    edges = np.arange(THUMBNAIL + 1) * (side / THUMBNAIL)
    pixel = np.arange(side)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    covered = np.maximum(covered, 0)
    return np.asarray(covered / covered.sum(axis=1, keepdims=True), dtype=np.float32)


def transformed(thumbnails: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Orthonormal cosine transform of thumbnails ``(n, 32, 32)``; flat, ``(n, 1024) float32``.

    In a mirrored picture the coefficients of odd columns change their sign.
    """
    from scipy.fft import dctn

    values = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")
    return np.asarray(values.reshape(len(thumbnails), THUMBNAIL**2), dtype=np.float32)


def perceptual_hashes(coefficients: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The hash of each picture and of its mirror image, ``(n, 2) uint64``.

    A bit for each of the 8 x 8 lowest coefficients: whether it is above their median (Zauner 2010,
    *Implementation and Benchmarking of Perceptual Image Hash Functions*; ``phash`` of imagehash).

    Args:
        coefficients: ``(n, 1024)``, see :func:`transformed`.
    """
    square = coefficients.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :_HASH_SIDE, :_HASH_SIDE]
    signs = np.where(np.arange(_HASH_SIDE) % 2, -1, 1).astype(np.float32)
    both = np.stack([square, square * signs], axis=1).reshape(len(square), 2, _HASH_SIDE**2)
    bits = both > np.median(both, axis=2, keepdims=True)
    return np.packbits(bits, axis=2).view(">u8")[:, :, 0].astype(np.uint64)


def hash_pairs(
    hashes: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pairs of pictures whose hashes are nearly equal, as they are or one mirrored.

    The hashes are sorted eight times, each time beginning with another byte, and neighbours in
    these orders are compared: the time is that of sorting, whatever the pictures are. All pairs are
    found whose hashes differ in three bits, unless very many others begin alike; most of those that
    differ in up to :data:`MAX_BITS`; of many equal pictures a chain of pairs.

    Args:
        hashes: ``(n, 2)``, see :func:`perceptual_hashes`.

    Returns:
        Pairs ``(m, 2)``, the first less than the second, and whether it is with the mirror image,
        ``(m,)``; no pair occurs twice in one way.
    """
    n = len(hashes)
    codes = hashes.T.ravel()
    found = [np.empty(0, dtype=np.int64)]
    for byte in range(8):
        turn, back = np.uint64(8 * byte), np.uint64((64 - 8 * byte) % 64)
        order = np.argsort((codes << turn) | (codes >> back), kind="stable")
        for step in range(1, _SORTED_NEIGHBOURS + 1):
            one, other = order[:-step], order[step:]
            near = np.bitwise_count(codes[one] ^ codes[other]) <= MAX_BITS
            near &= (one % n != other % n) & ((one < n) | (other < n))
            one, other = one[near], other[near]
            low, high = np.minimum(one % n, other % n), np.maximum(one % n, other % n)
            found.append((low * n + high) * 2 + ((one >= n) ^ (other >= n)))
    keys = np.sort(np.concatenate(found))  # np.unique takes twice as long
    keys = keys[np.diff(keys, prepend=-1) > 0]
    return np.stack(np.divmod(keys // 2, max(n, 1)), axis=1), keys % 2 == 1
