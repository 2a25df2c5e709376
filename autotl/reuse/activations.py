"""Activations of frozen networks, computed once. So far: pooled features at every depth."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from autotl.backbones.zoo import Backbone
from autotl.reuse.pixels import PixelView

_BATCH = 128


class FeatureStore:
    """Pooled activations of pretrained backbones for a fixed set of pictures.

    One forward pass per backbone serves every depth; kept in memory, and on disk for other
    processes.

    Args:
        folder: where the files are.
        pixels: the pictures at a size.
        device: where to compute.
    """

    def __init__(
        self, folder: Path, pixels: Callable[[int], PixelView], device: torch.device
    ) -> None:
        self._folder = folder
        self._pixels = pixels
        self._device = device
        self._kept: dict[str, list[NDArray[np.float32]]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Another process reads the files, it isn't sent their contents."""
        return self.__dict__ | {"_kept": {}}

    def features(self, backbone: Backbone, depths: Sequence[int]) -> NDArray[np.float32]:
        """Pooled activations at these depths, side by side.

        Args:
            backbone: with pretrained weights.
            depths: ascending, each in ``1 ... backbone.num_stages``.

        Returns:
            ``(n_samples, sum of the depths' channels)``.
        """
        per_depth = self._all_depths(backbone)
        return np.concatenate([per_depth[depth - 1] for depth in depths], axis=1)

    def _all_depths(self, backbone: Backbone) -> list[NDArray[np.float32]]:
        pixels = self._pixels(backbone.image_size)
        seen = hashlib.blake2b(pixels.rows.tobytes() + pixels.name.encode(), digest_size=8)
        key = f"features-{backbone.weights_hash}-{backbone.image_size}-{seen.hexdigest()}"
        if key not in self._kept:
            file = self._folder / f"{key}.npz"
            if not file.is_file():
                self._write(file, compute_features(backbone, pixels, self._device))
            with np.load(file) as stored:
                self._kept[key] = [stored[name] for name in stored.files]
        return self._kept[key]

    def _write(self, file: Path, per_depth: list[NDArray[np.float32]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(part, *per_depth)
        os.replace(part, file)


@torch.inference_mode()
def compute_features(
    backbone: Backbone, pixels: PixelView, device: torch.device
) -> list[NDArray[np.float32]]:
    """Pooled activations ``(n_samples, channels)`` at every depth, 1 to ``num_stages``."""
    network = backbone.create(1, pretrained=True).to(device).eval()
    depths = range(1, network.num_stages + 1)
    batches: list[list[NDArray[np.float32]]] = []
    for start in range(0, len(pixels), _BATCH):
        samples = np.arange(start, min(start + _BATCH, len(pixels)))
        x = backbone.normalise(torch.from_numpy(pixels[samples]).to(device))
        batches.append([f.float().cpu().numpy() for f in network.features(x, depths)])
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
