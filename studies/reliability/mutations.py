"""Damaged copies of files: flipped bits, cut ends, spliced middles, edited numbers."""

from __future__ import annotations

import numpy as np

NUMBERS = tuple(
    value.to_bytes(n_bytes, order)  # type: ignore[arg-type]
    for n_bytes in (1, 2, 4, 8)
    for value in (0, 1, 2 ** (8 * n_bytes - 1) - 1, 2 ** (8 * n_bytes - 1), 2 ** (8 * n_bytes) - 1)
    for order in ("little", "big")
)
"""What sizes and counts in headers are replaced with: none, one, and the largest."""
SEED_SIZE = (40, 28)
"""Width and height of the sound pictures."""
LARGE = (9_000, 9_400, 16_000, 65_000)
"""Sides that small pictures claim to have: about as many pixels as are read, and far more."""
_HEADER_BYTES = 128
_SIZE_WITHIN = 1024


def mutate(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """A damaged copy.

    Args:
        content: of a sound file.
        others: sound files to splice with.
        rng: which damage, and where.
    """
    ways = (_flip, _flip, _cut, _insert, _edit_header, _edit_header, _edit, _double, _enlarge)
    damaged = content
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.1:
            other = others[int(rng.integers(len(others)))]
            damaged = damaged[: _place(damaged, rng)] + other[_place(other, rng) :]
        else:
            damaged = ways[int(rng.integers(len(ways)))](damaged, rng)
    return damaged


def _place(content: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(len(content) + 1))


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 9)) if damaged else 0):
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.bytes(int(rng.integers(1, 65))) + content[at:]


def _double(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted((_place(content, rng), _place(content, rng)))
    return content[:end] + content[start:end] + content[end:]


def _edit(content: bytes, rng: np.random.Generator, end: int | None = None) -> bytes:
    number = NUMBERS[int(rng.integers(len(NUMBERS)))]
    at = int(rng.integers(max(1, min(len(content), end or len(content)))))
    return content[:at] + number + content[at + len(number) :]


def _edit_header(content: bytes, rng: np.random.Generator) -> bytes:
    return _edit(content, rng, _HEADER_BYTES)


def _enlarge(content: bytes, rng: np.random.Generator) -> bytes:
    """The picture claims to be huge: its sides, or those less one, are replaced in the header."""
    n_bytes = int(rng.choice((2, 3, 4)))
    order = ("little", "big")[int(rng.integers(2))]
    less = int(rng.integers(2))
    sides = rng.choice(LARGE, 2)
    header, rest = content[:_SIZE_WITHIN], content[_SIZE_WITHIN:]
    for side, larger in zip(SEED_SIZE, sides.tolist(), strict=True):
        known = (side - less).to_bytes(n_bytes, order)  # type: ignore[arg-type]
        header = header.replace(known, larger.to_bytes(n_bytes, order))  # type: ignore[arg-type]
    return header + rest
