"""Which window of one thumbnail another one shows: the best of a few, then refined."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Thumbnails = NDArray[np.float32]
"""``(n, side, side)``, grey."""
Windows = NDArray[np.float32]
"""``(n, 4)``: scale and shift across, scale and shift down; the whole picture is (1, 0, 1, 0) and
reaches from -1 to 1."""

MIN_SCALE = 0.8
"""A window narrower or lower than this share of the picture isn't looked for."""

_SPANS = ((0.0, 1.0), (0.0, 0.93), (0.07, 1.0), (0.0, 0.86), (0.07, 0.93), (0.14, 1.0))
"""From where to where the windows that are tried reach, on either axis."""
_COARSE = 12
_BLOCK = 64
_OVERHANG = 0.04
"""How far a window may reach over the picture's edge, in half sides."""


def best_windows(
    thumbnails: Thumbnails, wholes: NDArray[np.int64], parts: NDArray[np.int64]
) -> tuple[NDArray[np.float32], Windows, NDArray[np.bool_]]:
    """Of 36 windows of one thumbnail, the one that is most like the other, or like its mirror.

    Args:
        thumbnails: ``(n, 32, 32)``.
        wholes: ``(n_pairs,)``, the thumbnails to look for windows in.
        parts: ``(n_pairs,)``, what the windows should show.

    Returns:
        Per pair, the correlation, the window, and whether it shows the part mirrored.
    """
    known = [
        (high - low, high + low - 1, bottom - top, bottom + top - 1)
        for (top, bottom), (low, high) in product(_SPANS, _SPANS)
    ]
    spans = np.array([(high - low, high + low - 1) for low, high in _SPANS], dtype=np.float32)
    sampling = _sampling(spans[:, 0], spans[:, 1], thumbnails.shape[1], _COARSE)[0]
    sampling = np.concatenate(list(sampling))
    agreement = np.empty(len(wholes), dtype=np.float32)
    best = np.empty(len(wholes), dtype=np.int64)
    mirrored = np.empty(len(wholes), dtype=bool)
    order = np.argsort(wholes, kind="stable")
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        needed, place = np.unique(wholes[rows], return_inverse=True)
        cut = (sampling @ thumbnails[needed] @ sampling.T).reshape(len(needed), 6, _COARSE, 6, -1)
        windows = cut.transpose(0, 1, 3, 2, 4).reshape(len(needed), len(known), -1)
        squares = np.einsum("ijk,ijk->ij", windows, windows)
        squares -= _COARSE**2 * np.square(windows.mean(axis=2))
        norms = np.sqrt(np.maximum(squares, 1e-3))
        seen = sampling[:_COARSE] @ thumbnails[parts[rows]] @ sampling[:_COARSE].T
        both = np.stack([seen, seen[:, :, ::-1]], axis=1).reshape(len(rows), 2, -1)
        found = windows[place] @ _normalised(both.astype(np.float32)).transpose(0, 2, 1)
        found = (found / norms[place][:, :, None]).reshape(len(rows), -1)
        top = found.argmax(axis=1)
        agreement[rows] = found[np.arange(len(rows)), top]
        best[rows], mirrored[rows] = top // 2, top % 2 == 1
    return agreement, np.array(known, dtype=np.float32)[best], mirrored


def refined(
    wholes: Thumbnails, parts: Thumbnails, windows: Windows, side: int, n_steps: int
) -> Windows:
    """Fit windows more exactly, by Gauss-Newton steps (Lucas and Kanade 1981).

    Brightness and contrast don't matter.

    Args:
        wholes: ``(n_pairs, 32, 32)``.
        parts: ``(n_pairs, 32, 32)``, what the windows should show.
        windows: ``(n_pairs, 4)``, where to begin.
        side: at which resolution, in pixels; a divisor of 32.
        n_steps: how many steps.
    """
    found = np.empty_like(windows)
    for start in range(0, len(wholes), _BLOCK):
        block = slice(start, start + _BLOCK)
        source, target = _shrunk(wholes[block], side), _shrunk(parts[block], side)
        window = windows[block]
        for _ in range(n_steps):
            window = _stepped(source, target, window)
        found[block] = window
    return found


def shown_in(wholes: Thumbnails, windows: Windows) -> Thumbnails:
    """What the windows show, ``(n, 32, 32)``."""
    shown = np.empty_like(wholes)
    for start in range(0, len(wholes), _BLOCK):
        block = slice(start, start + _BLOCK)
        across = _sampling(windows[block, 0], windows[block, 1], wholes.shape[1])[0]
        down = _sampling(windows[block, 2], windows[block, 3], wholes.shape[1])[0]
        shown[block] = down @ wholes[block] @ across.transpose(0, 2, 1)
    return shown


def lie_inside(windows: Windows) -> NDArray[np.bool_]:
    """Which windows lie inside of their pictures, or nearly, and aren't too small, ``(n,)``."""
    scale, shift = windows[:, [0, 2]], windows[:, [1, 3]]
    inside = (scale >= MIN_SCALE) & (np.abs(shift) + scale <= 1 + _OVERHANG)
    return np.asarray(inside.all(axis=1))


def _stepped(source: Thumbnails, target: Thumbnails, windows: Windows) -> Windows:
    """The windows after one Gauss-Newton step."""
    n, side = len(source), source.shape[1]
    across, across_slope = _sampling(windows[:, 0], windows[:, 1], side)
    down, down_slope = _sampling(windows[:, 2], windows[:, 3], side)
    place = _places(side)
    rows = down @ source
    slope_across = rows @ across_slope.transpose(0, 2, 1)
    slope_down = down_slope @ source @ across.transpose(0, 2, 1)
    slopes = np.stack(
        [slope_across * place, slope_across, slope_down * place[:, None], slope_down], axis=1
    ).reshape(n, 4, -1)
    shape = (rows @ across.transpose(0, 2, 1)).reshape(n, -1)
    shape = shape - shape.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.square(shape).sum(axis=1, keepdims=True)) + 1e-3
    shape = shape / norm
    slopes = (slopes - slopes.mean(axis=2, keepdims=True)) / norm[:, :, None]
    slopes = slopes - (slopes @ shape[:, :, None]) * shape[:, None]  # contrast doesn't matter
    error = _normalised(target.reshape(n, -1)) - shape
    curvature = slopes @ slopes.transpose(0, 2, 1)
    size = np.trace(curvature, axis1=1, axis2=2)[:, None, None]
    curvature = curvature + (1e-3 * size + 1e-6) * np.eye(4, dtype=np.float32)
    step = np.linalg.solve(curvature, slopes @ error[:, :, None])[:, :, 0]
    return np.asarray(windows + np.clip(step, -0.1, 0.1), dtype=np.float32)


def _sampling(
    scale: NDArray[np.float32], shift: NDArray[np.float32], side: int, n_samples: int | None = None
) -> tuple[Thumbnails, Thumbnails]:
    """Linear interpolation along one axis, as matrices ``(n, n_samples, side)``, and its slope.

    Fewer samples than pixels are averages over the pixels between.
    """
    n_samples = n_samples or side
    reach = side / n_samples
    moved = (scale[:, None] * _places(n_samples) + shift[:, None]) * (side / 2) + (side - 1) / 2
    weight = np.maximum(0, 1 - np.abs(_from_pixels(moved, side)) / reach)
    weight = weight / weight.sum(axis=2, keepdims=True)
    behind, ahead = (np.maximum(0, 1 - np.abs(_from_pixels(moved + d, side))) for d in (-1, 1))
    slope = (ahead - behind) * (side / 4)
    return weight.astype(np.float32), slope.astype(np.float32)


def _from_pixels(places: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    """How far places, or the edge that they lie beyond, are from each pixel."""
    inside = np.clip(places, 0, side - 1)
    return np.asarray(inside[:, :, None] - np.arange(side), dtype=np.float32)


def _places(side: int) -> NDArray[np.float32]:
    """The middles of pixels, of which ``side`` reach from -1 to 1."""
    return ((np.arange(side) - (side - 1) / 2) / (side / 2)).astype(np.float32)


def _shrunk(thumbnails: Thumbnails, side: int) -> Thumbnails:
    factor = thumbnails.shape[1] // side
    blocks = thumbnails.reshape(len(thumbnails), side, factor, side, factor)
    shrunk: Thumbnails = blocks.mean(axis=(2, 4))
    return shrunk


def _normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of mean 0 and norm 1 along the last axis."""
    centred = values - values.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.square(centred).sum(axis=-1, keepdims=True))
    normalised: NDArray[np.float32] = centred / (norm + 1e-3)
    return normalised
