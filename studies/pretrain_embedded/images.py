"""The drawn images: rendered once, addressed by one index, augmented in batches."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from studies.pretrain_embedded.config import Colours, Config
from studies.pretrain_embedded.draw import VERSION, draw_class
from studies.pretrain_embedded.evaluate import IMAGE_SIZE

Log = Callable[[str], None]


def _render_one(job: tuple[str, int, int, int]) -> np.ndarray:
    family, index, n_images, seed = job
    return draw_class(family, index, n_images, seed=seed, size=IMAGE_SIZE)


def render(config: Config, work: Path, *, workers: int, log: Log) -> dict[str, np.ndarray]:
    """Draws all images once, one file per family, and opens them.

    Returns:
        Family -> read-only array ``(n_classes, n_images + n_held_out, 64, 64, 3) uint8``; a family
        whose file is already complete in ``work`` is not drawn again.
    """
    per_class = config.n_images + config.n_held_out
    opened = {}
    for family, n_classes in config.classes.items():
        path = work / f"{family}-{n_classes}x{per_class}-seed{config.seed}-v{VERSION}.npy"
        if not path.is_file():
            start = time.monotonic()
            part = path.with_suffix(".part.npy")
            shape = (n_classes, per_class, IMAGE_SIZE, IMAGE_SIZE, 3)
            array = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            jobs = [(family, i, per_class, config.seed) for i in range(n_classes)]
            with ProcessPoolExecutor(workers) as pool:
                for i, images in enumerate(pool.map(_render_one, jobs, chunksize=2)):
                    array[i] = images
            array.flush()
            del array
            os.replace(part, path)
            log(f"drew {n_classes} classes of {family} in {time.monotonic() - start:.0f} s")
        opened[family] = np.load(path, mmap_mode="r")
    return opened


@dataclass(frozen=True)
class Collection:
    """All images of one part, addressed by one index.

    Attributes:
        images: One array per family, ``(n_classes, per_class, 64, 64, 3) uint8``.
        first: First and one-past-last instance of a class that belong to this part.
    """

    images: list[np.ndarray]
    first: int
    last: int

    @property
    def labels(self) -> np.ndarray:
        """``(n_samples,) int64``."""
        return np.repeat(np.arange(sum(len(a) for a in self.images)), self.last - self.first)

    def take(self, index: np.ndarray) -> torch.Tensor:
        """Images ``(len(index), 3, 64, 64) float32`` in [-1, 1]."""
        per_class = self.last - self.first
        label, instance = np.divmod(index, per_class)
        batch = np.empty((len(index), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        offset = 0
        for family in self.images:
            here = np.flatnonzero((label >= offset) & (label < offset + len(family)))
            for k in here:
                batch[k] = family[label[k] - offset, self.first + instance[k]]
            offset += len(family)
        return torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def augment(
    x: torch.Tensor, mirror: torch.Tensor, g: torch.Generator, colours: Colours
) -> torch.Tensor:
    """A random affine map, mirroring and change of colours, for each image by itself.

    Args:
        x: ``(n, 3, h, w) float32`` in [-1, 1].
        mirror: ``(n,) bool``: whether the image may be mirrored.
        g: Source of randomness.
        colours: How far the colours change.

    Returns:
        ``(n, 3, h, w) float32`` in [-1, 1].
    """
    n = len(x)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(n, *shape, generator=g) * (high - low) + low

    def chance(p: float) -> torch.Tensor:
        return torch.rand(n, generator=g) < p

    angle = uniform(-0.21, 0.21)
    zoom, aspect = torch.exp(uniform(-0.25, 0.2)), torch.exp(uniform(-0.15, 0.15))
    flip = torch.where(chance(0.5) & mirror, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = torch.stack(
        [cos * zoom * aspect * flip, -sin * zoom, sin * zoom * flip, cos * zoom / aspect], 1
    )
    theta = torch.cat([rows.view(n, 2, 2), uniform(-0.14, 0.14, 2, 1)], 2)
    theta[:, 0, 1] += uniform(-0.1, 0.1)
    where = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, where, mode="bilinear", padding_mode="reflection", align_corners=False)

    # colours: mix the channels (grey, hue, permutation), then contrast, brightness, polarity
    eye = torch.eye(3).expand(n, 3, 3)
    grey = torch.tensor([0.299, 0.587, 0.114]).expand(n, 3, 3)
    keep = torch.where(chance(colours.grey), torch.zeros(n), uniform(*colours.saturation))[
        :, None, None
    ]
    mix = keep * eye + (1 - keep) * grey + torch.randn(n, 3, 3, generator=g) * colours.mixing
    swap = chance(colours.swap)
    mix[swap] = mix[swap][:, torch.randperm(3, generator=g)]
    x = torch.bmm(mix, x.flatten(2)).view_as(x)
    mean = x.mean((2, 3), keepdim=True)
    contrast, light = colours.contrast, colours.light
    x = (x - mean) * uniform(1 - contrast, 1 + contrast, 1, 1, 1) + mean
    x = x + uniform(-light, light, 1, 1, 1)
    x = x * torch.where(chance(colours.inversion), -1.0, 1.0)[:, None, None, None]

    # a random rectangle is greyed out
    h, w = x.shape[-2:]
    top, left = uniform(0, h), uniform(0, w)
    half = uniform(0.08, 0.22, 2) * torch.where(chance(0.3), 1.0, 0.0)[:, None]
    inside_y = (torch.arange(h) - top[:, None]).abs() < half[:, :1] * h
    inside_x = (torch.arange(w) - left[:, None]).abs() < half[:, 1:] * w
    hole = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
    return x.clamp(-1, 1).masked_fill(hole, 0.0)
