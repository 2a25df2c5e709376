"""Batched augmentation on the training device, every sample with its own random parameters.

One affine resampling and one colour matrix per sample, whatever the policy: composed first, applied
once. What is random comes from a table of draws with a row per sample, so that a view, this sample
under those draws, is the same in whatever batch and in whatever process it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

POLICIES: tuple[str, ...] = ("none", "light", "medium", "strong")
ON_MAPS = "maps"
"""The augmentation of activations at the freeze depth instead of pictures: :func:`shift_maps`."""
N_DRAWS = 15
"""Random numbers that a view of one sample takes, whatever the policy."""
_MAP_SHIFT = 0.1


@dataclass(frozen=True)
class Policy:
    """Ranges of an augmentation policy; a parameter is uniform in plus or minus its range.

    Attributes:
        translation: share of the side.
        rotation: degrees.
        scale: relative change of size.
        shear: tangent of the angle.
        brightness: added, in units of the pixel range.
        contrast: relative change about the picture's mean.
        saturation: relative change about the picture's grey version.
        n_operations: of RandAugment's kind, drawn for every sample from solarise, invert, noise,
            grey and erase (Cubuk et al. 2020, arXiv 1909.13719); 0 or 1.
    """

    translation: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    n_operations: int = 0


_POLICIES: dict[str, Policy] = {
    "none": Policy(),
    "light": Policy(translation=0.1),
    "medium": Policy(0.1, 15.0, 0.2, 0.0, 0.1, 0.2, 0.2),
    "strong": Policy(0.15, 30.0, 0.3, 0.2, 0.2, 0.4, 0.4, n_operations=1),
}


@dataclass(frozen=True)
class View:
    """One augmented version of every sample of a data set.

    Attributes:
        policy: one of :data:`POLICIES`, not ``none``.
        mirror: whether half of the samples are mirrored left to right.
        seed: of the draws.
        index: which of the views under this policy and seed.
        n_rows: pictures that the data set has.
    """

    policy: str
    mirror: bool
    seed: int
    index: int
    n_rows: int

    @property
    def key(self) -> str:
        """Equal views of a data set, equal keys."""
        return f"{self.policy}-{'mirror-' if self.mirror else ''}{self.seed}-{self.index}"

    @cached_property
    def draws(self) -> NDArray[np.float32]:
        """``(n_rows, N_DRAWS)``, uniform in [0, 1)."""
        rng = np.random.default_rng((self.seed, self.index))
        return rng.random((self.n_rows, N_DRAWS), dtype=np.float32)

    def apply(self, pixels: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Augmented copies ``(n, h, w, 3)`` of the pictures of these rows, see :func:`augment`."""
        draws = torch.from_numpy(self.draws[rows]).to(pixels.device)
        return augment(pixels, self.policy, mirror=self.mirror, draws=draws)

    def apply_to_maps(self, maps: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Shifted and mirrored activation maps of these rows, see :func:`shift_maps`."""
        draws = torch.from_numpy(self.draws[rows]).to(maps.device)
        return shift_maps(maps, mirror=self.mirror, draws=draws)


def augment(pixels: Tensor, policy: str, *, mirror: bool, draws: Tensor) -> Tensor:
    """Augmented copies of a batch.

    Args:
        pixels: ``(n, h, w, 3) uint8`` on any device.
        policy: one of :data:`POLICIES`.
        mirror: whether half of the samples are mirrored left to right (not under ``none``).
        draws: ``(n, N_DRAWS) float32`` in [0, 1), on the device of ``pixels``.

    Returns:
        ``(n, h, w, 3)``, uint8 under ``none``, else float32 in [0, 255].
    """
    if policy == "none":
        return pixels
    ranges = _POLICIES[policy]
    x = pixels.permute(0, 3, 1, 2).float()
    x = _affine(x, ranges, mirror, draws[:, :6])
    if ranges.brightness or ranges.contrast or ranges.saturation:
        x = _colour(x, ranges, draws[:, 6:9])
    if ranges.n_operations:
        x = _operation(x, draws[:, 9:15])
    return x.clamp_(0.0, 255.0).permute(0, 2, 3, 1)


def shift_maps(maps: Tensor, *, mirror: bool, draws: Tensor) -> Tensor:
    """Activation maps shifted by whole positions, up to a tenth of the side, and mirrored.

    An approximation of the policy ``light``: a network of convolutions turns a shifted picture
    into a shifted map only up to its stride and borders, and nothing that it learnt made the map
    of a mirrored picture the mirrored map.

    Args:
        maps: ``(n, channels, h, w)``; anything else is returned as it is.
        mirror: whether half of the samples are mirrored left to right.
        draws: ``(n, N_DRAWS) float32`` in [0, 1), on the device of ``maps``.
    """
    if maps.ndim != 4:
        return maps
    n, _, height, width = maps.shape
    at = torch.arange(n, device=maps.device).view(n, 1, 1)
    shift = (2.0 * draws[:, 3:5] - 1.0) * _MAP_SHIFT
    dy, dx = (torch.round(shift[:, i] * side).long() for i, side in enumerate((height, width)))
    ys = (torch.arange(height, device=maps.device) + dy.view(n, 1)).clamp(0, height - 1)
    xs = (torch.arange(width, device=maps.device) + dx.view(n, 1)).clamp(0, width - 1)
    if mirror:
        xs = torch.where(draws[:, 5:6] < 0.5, xs, xs.flip(1))
    moved = maps.permute(0, 2, 3, 1)[at, ys.view(n, height, 1), xs.view(n, 1, width)]
    return moved.permute(0, 3, 1, 2)


def _spread(draws: Tensor, spread: float) -> Tensor:
    return (draws * 2.0 - 1.0) * spread


def _affine(x: Tensor, ranges: Policy, mirror: bool, draws: Tensor) -> Tensor:
    """One bilinear resampling for mirror, rotation, scale, shear and translation; edges repeat."""
    n = len(x)
    angle = _spread(draws[:, 0], math.radians(ranges.rotation))
    size = torch.exp(_spread(draws[:, 1], math.log1p(ranges.scale)))
    shear = _spread(draws[:, 2], ranges.shear)
    shift = _spread(draws[:, 3:5], 2.0 * ranges.translation)
    flip = torch.ones(n, device=x.device)
    if mirror:
        flip = torch.where(draws[:, 5] < 0.5, 1.0, -1.0)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    rows = [cos * flip, shear - sin, shift[:, 0], (sin + shear) * flip, cos, shift[:, 1]]
    matrices = torch.stack(rows, dim=1).view(n, 2, 3)
    grid = functional.affine_grid(matrices, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _colour(x: Tensor, ranges: Policy, draws: Tensor) -> Tensor:
    n = len(x)
    brightness = _spread(draws[:, 0], 255.0 * ranges.brightness).view(n, 1, 1, 1)
    contrast = 1.0 + _spread(draws[:, 1], ranges.contrast).view(n, 1, 1, 1)
    saturation = 1.0 + _spread(draws[:, 2], ranges.saturation).view(n, 1, 1, 1)
    grey = x.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    coloured = grey + (x - grey) * saturation
    return mean + (coloured - mean) * contrast + brightness


def _operation(x: Tensor, draws: Tensor) -> Tensor:
    """One of five operations for every sample, or none."""
    n, _, h, w = x.shape
    which = (draws[:, 0] * 6.0).long().view(n, 1, 1, 1)
    strength = draws[:, 1].view(n, 1, 1, 1)
    solarised = torch.where(x > 255.0 * (1.0 - 0.5 * strength), 255.0 - x, x)
    noise = _noise(x, draws[:, 2:4]) * (25.0 * strength)
    centre = draws[:, 4:6].T.reshape(2, n, 1, 1, 1)
    ys = torch.arange(h, device=x.device).view(1, 1, h, 1) / h
    xs = torch.arange(w, device=x.device).view(1, 1, 1, w) / w
    half = 0.1 + 0.15 * strength
    hole = ((ys - centre[0]).abs() < half) & ((xs - centre[1]).abs() < half)
    results = (
        solarised,
        255.0 - x,
        x + noise,
        x.mean(dim=1, keepdim=True).expand_as(x),
        torch.where(hole, x.mean(dim=(1, 2, 3), keepdim=True), x),
    )
    for index, result in enumerate(results):
        x = torch.where(which == index, result, x)
    return x


def _noise(x: Tensor, draws: Tensor) -> Tensor:
    """White noise like ``x``: one field for all, rolled for every sample to a place of its own."""
    n, channels, h, w = x.shape
    generator = torch.Generator().manual_seed(0)
    field = torch.randn((h, w, channels), generator=generator).to(x.device)
    start = (draws * torch.tensor([h, w], device=x.device)).long()
    ys = (torch.arange(h, device=x.device) + start[:, :1]) % h
    xs = (torch.arange(w, device=x.device) + start[:, 1:]) % w
    return field[ys.view(n, h, 1), xs.view(n, 1, w)].permute(0, 3, 1, 2)
