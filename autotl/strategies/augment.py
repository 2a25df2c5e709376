"""Batched augmentation on the training device, every sample with its own random parameters.

One affine resampling and one colour matrix per sample, whatever the policy: composed first, applied
once. Everything random comes from the generator that is given, so that a trial is repeatable and
the process's random state stays untouched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

POLICIES: tuple[str, ...] = ("none", "light", "medium", "strong")


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
            grey and erase (Cubuk et al. 2020, arXiv 1909.13719).
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


def augment(pixels: Tensor, policy: str, *, mirror: bool, generator: torch.Generator) -> Tensor:
    """Augmented copies of a batch.

    Args:
        pixels: ``(n, h, w, 3) uint8`` on any device.
        policy: one of :data:`POLICIES`.
        mirror: whether half of the samples are mirrored left to right (not under ``none``).
        generator: source of randomness, on the device of ``pixels``.

    Returns:
        ``(n, h, w, 3)``, uint8 under ``none``, else float32 in [0, 255].
    """
    if policy == "none":
        return pixels
    ranges = _POLICIES[policy]
    x = pixels.permute(0, 3, 1, 2).float()
    x = _affine(x, ranges, mirror, generator)
    if ranges.brightness or ranges.contrast or ranges.saturation:
        x = _colour(x, ranges, generator)
    for _ in range(ranges.n_operations):
        x = _operation(x, generator)
    return x.clamp_(0.0, 255.0).permute(0, 2, 3, 1)


def _uniform(n: int, spread: float, x: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.rand(n, device=x.device, generator=generator) * 2.0 - 1.0) * spread


def _affine(x: Tensor, ranges: Policy, mirror: bool, generator: torch.Generator) -> Tensor:
    """One bilinear resampling for mirror, rotation, scale, shear and translation; edges repeat."""
    n = len(x)
    angle = _uniform(n, math.radians(ranges.rotation), x, generator)
    size = torch.exp(_uniform(n, math.log1p(ranges.scale), x, generator))
    shear = _uniform(n, ranges.shear, x, generator)
    shift = _uniform(2 * n, 2.0 * ranges.translation, x, generator).view(2, n)
    flip = torch.ones(n, device=x.device)
    if mirror:
        flip -= 2.0 * torch.randint(0, 2, (n,), device=x.device, generator=generator)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    rows = [cos * flip, shear - sin, shift[0], (sin + shear) * flip, cos, shift[1]]
    matrices = torch.stack(rows, dim=1).view(n, 2, 3)
    grid = functional.affine_grid(matrices, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _colour(x: Tensor, ranges: Policy, generator: torch.Generator) -> Tensor:
    n = len(x)
    brightness = _uniform(n, 255.0 * ranges.brightness, x, generator).view(n, 1, 1, 1)
    contrast = 1.0 + _uniform(n, ranges.contrast, x, generator).view(n, 1, 1, 1)
    saturation = 1.0 + _uniform(n, ranges.saturation, x, generator).view(n, 1, 1, 1)
    grey = x.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    coloured = grey + (x - grey) * saturation
    return mean + (coloured - mean) * contrast + brightness


def _operation(x: Tensor, generator: torch.Generator) -> Tensor:
    """One of five operations for every sample, or none."""
    n, _, h, w = x.shape
    which = torch.randint(0, 6, (n, 1, 1, 1), device=x.device, generator=generator)
    strength = torch.rand((n, 1, 1, 1), device=x.device, generator=generator)
    solarised = torch.where(x > 255.0 * (1.0 - 0.5 * strength), 255.0 - x, x)
    noise = torch.randn(x.shape, device=x.device, generator=generator) * (25.0 * strength)
    centre = torch.rand((2, n, 1, 1, 1), device=x.device, generator=generator)
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
