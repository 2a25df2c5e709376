"""Backbones and pictures that the analyzer is tried on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from autotl.analysis.channels import ChannelWatcher, LayerMoments
from autotl.backbones.speed import Speed
from autotl.backbones.zoo import EMBEDDED_FILE, Backbone, open_backbone
from autotl.data import read_dataset
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelView, decode_table
from autotl.reuse.quota import DiskQuota
from studies.pretrain_embedded.reference import training_images

SHARED = Path(__file__).resolve().parents[3] / "shared"
IMAGENET = {
    "mobilenetv2 (torchvision)": "mobilenetv2_100@mobilenetv2_100.torchvision_qat_in1k",
    "mobilenetv2 (coral)": "mobilenetv2_100@mobilenetv2_100.coral_tf2_in1k",
    "mobilenetv1 (coral)": "mobilenetv1_100@mobilenetv1_100.coral_in1k",
}
SETS = (
    "clothing10",
    "weather4",
    "trashnet6",
    "sign_digits10",
    "fsdd_spectrograms10",
    "bccd_cells3",
    "pneumonia_xray2",
    "omniglot136",
)
"""From near to far, as seen from ImageNet: what was expected before anything was measured."""


def imagenet_backbones(names: tuple[str, ...] = tuple(IMAGENET)) -> dict[str, Backbone]:
    """Those whose weights are there, at the size used on a CPU."""
    found = {}
    for name in names:
        architecture, _, stem = IMAGENET[name].partition("@")
        file = SHARED / "weights" / f"{stem}.fp16.safetensors"
        if file.is_file():
            found[name] = open_backbone(f"{architecture}@{file}")
    return found


def pictures_of(name: str, image_size: int, n_pictures: int) -> np.ndarray | None:
    """Pictures of a data set in random order, or None where it isn't there; ``drawn``: those that
    the embedded backbone was trained on."""
    if name == "drawn":
        images, _ = training_images(EMBEDDED_FILE, -(-n_pictures // 1_000), workers=2)
        return images[np.random.default_rng(0).permutation(len(images))[:n_pictures]]
    found = labelled_pictures_of(name, image_size, n_pictures)
    return None if found is None else found[0]


def labelled_pictures_of(
    name: str, image_size: int, n_pictures: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pictures of a data set in random order and their labels, or None where it isn't there."""
    folder = SHARED / "data" / name
    if not folder.is_dir():
        return None
    table = read_dataset(folder)
    order = np.random.default_rng(0).permutation(len(table))[:n_pictures]
    with TemporaryDirectory() as cache:
        _, pixels = decode_table(table.take(order), image_size, DiskQuota(Path(cache), 10**10))
        return pixels.view(np.arange(len(order)))[np.arange(len(order))], table.labels[order]


def moments_of(backbone: Backbone, pictures: np.ndarray) -> list[LayerMoments]:
    """What pictures bring to every BatchNorm."""
    watcher = ChannelWatcher(np.arange(len(pictures)))
    with new_store(backbone, PixelView(pictures, np.arange(len(pictures)))) as store:
        store.features(backbone, [backbone.num_stages], watcher=watcher)
    return watcher.moments()


@contextmanager
def new_store(backbone: Backbone, view: PixelView) -> Iterator[ActivationStore]:
    """An empty store with room on disk, which runs networks as ``analyze`` does on a CPU."""
    unmeasured = (0.0,) * (backbone.num_stages + 1)
    with TemporaryDirectory() as folder:
        yield ActivationStore(
            lambda size: view,
            {backbone.name: Speed("fp32", True, unmeasured, unmeasured)},
            torch.device("cpu"),
            DiskQuota(Path(folder), 10**10),
        )
