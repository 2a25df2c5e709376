"""Pillow's bilinear resizing of uint8 pictures in torch, to the last bit, for pictures of any size.

:func:`autotl.data.pictures.to_pixels` squashes a picture with Pillow. An exported model has to do
the same with nothing but the operators of its runtime. All of Pillow's steps are in whole numbers,
which float64 holds exactly: the blocks that are averaged first where a picture shrinks strongly,
and the two passes of the triangle filter, whose weights are multiples of 2^-22.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from autotl.data.pictures import REDUCING_GAP

_ONE = 2.0**22
"""Pillow's weights are whole multiples of 1 / 2^22 (``PRECISION_BITS`` in its ``Resample.c``)."""
_INVERSE = 2.0**24
"""Inverses of block sizes are whole multiples of 1 / 2^24 (``division_UINT32``, ``Reduce.c``)."""


def squash(pictures: Tensor, size: int, *, tall_upright_first: bool) -> Tensor:
    """Pictures as :func:`autotl.data.pictures.to_pixels` makes them.

    Args:
        pictures: ``(n, h, w, 3) uint8``.
        size: side of the square, in pixels.
        tall_upright_first: see :func:`tall_upright_first`.

    Returns:
        ``(n, size, size, 3) uint8``.
    """
    height, width = pictures.shape[1:3]
    block_height, block_width = _block(height, size), _block(width, size)
    x = pictures.permute(0, 3, 1, 2).int()
    x, columns = _block_sums(x, 3, block_width)
    x, rows = _block_sums(x, 2, block_height)
    x = _means(x.double(), rows[:, None] * columns[None, :])
    across = _weights(columns, block_width, size).T
    upright = _weights(rows, block_height, size)
    squashed = _rounded(upright @ _rounded(x @ across))
    if tall_upright_first:
        n_rows, n_columns = torch.ones_like(rows).sum(), torch.ones_like(columns).sum()
        is_tall = (n_rows > size) & (n_rows - size > 2 * (n_columns - size))
        squashed = torch.where(is_tall, _rounded(_rounded(upright @ x) @ across), squashed)
    return squashed.to(torch.uint8).permute(0, 2, 3, 1)


@cache
def tall_upright_first() -> bool:
    """Whether the Pillow at hand filters tall pictures upright before it filters them across.

    Newer ones do so where the height shrinks by over twice as many pixels as the width
    (python-pillow pull request 9549); about a fifth of such a picture's pixels then differ by one.
    """
    tall = np.random.default_rng(0).integers(0, 256, (50, 20, 3), dtype=np.uint8)
    shrunk = np.asarray(Image.fromarray(tall).resize((12, 12), Image.Resampling.BILINEAR))
    found = squash(torch.from_numpy(tall)[None], 12, tall_upright_first=True)[0]
    return bool((found.numpy() == shrunk).all())


def _block(n_pixels: int, size: int) -> int:
    """Side of the blocks that Pillow averages first, ``Image.resize`` with a ``reducing_gap``."""
    return cast(int, torch.sym_max(1, n_pixels // (int(REDUCING_GAP) * size)))


def _block_sums(x: Tensor, dim: int, block: int) -> tuple[Tensor, Tensor]:
    """Sums over blocks of pixels along one dimension, and how many pixels each block has.

    The last block is smaller if they don't come out even. Running sums are used because a
    ``reshape`` would tie an exported graph to one size of blocks.
    """
    n_pixels = x.shape[dim]
    starts = torch.arange((n_pixels + block - 1) // block, device=x.device) * block
    ends = (starts + block).clamp(max=n_pixels)
    running = x.cumsum(dim, dtype=torch.int32)
    before = running.index_select(dim, (starts - 1).clamp(min=0))
    is_later = (starts > 0).int().view([-1] + [1] * (x.ndim - 1 - dim))
    return running.index_select(dim, ends - 1) - before * is_later, ends - starts


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Means of blocks as Pillow rounds them: halves up, and some that come out even down.

    It multiplies by the inverse of the count, which is cut off.
    """
    inverses = torch.floor(_INVERSE / counts.float()).double()
    return torch.floor((sums + torch.floor(counts.double() / 2)) * inverses / _INVERSE)


def _weights(counts: Tensor, block: int, size: int) -> Tensor:
    """``(size, n_blocks) float64``, whole numbers: what each block weighs in each pixel.

    ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` in Pillow's ``Resample.c``, with the
    triangle filter. Where a picture grows the triangle is as wide as two of its pixels.

    Args:
        counts: ``(n_blocks,) int64``, pixels in each block.
        block: pixels in a full one.
        size: side of the square, in pixels.
    """
    scale = (counts.sum().double() / block).float().double() / size
    width = scale.clamp(min=1.0)
    centres = (torch.arange(size, device=counts.device).double() + 0.5) * scale
    places = torch.arange(counts.shape[0], device=counts.device).double() + 0.5
    weights = (1.0 - ((places[None, :] - centres[:, None]) / width).abs()).clamp(min=0.0)
    return torch.floor(weights / weights.sum(dim=1, keepdim=True) * _ONE + 0.5)


def _rounded(sums: Tensor) -> Tensor:
    return torch.floor((sums + _ONE / 2) / _ONE).clamp(0.0, 255.0)
