"""How soon there is a usable model: decoding and one forward pass are the least it can take."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from autotl.backbones.speed import Speed
from autotl.backbones.zoo import Backbone
from autotl.data import ImageTable
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelViews, decode_table
from autotl.reuse.quota import DiskQuota
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig
from studies.reuse.timing import interleaved

_BATCH = 128


def seconds_to_first_model(
    table: ImageTable, task: Task, backbone: Backbone, config: BottleneckConfig, repeats: int
) -> dict[str, float]:
    """Seconds from files to a fitted and validated linear SVM, and of its two necessary parts.

    Args:
        table: the labelled files.
        task: its problem, for labels and folds.
        backbone: to take features from.
        config: of the SVM.
        repeats: rounds, in turn, each in an empty folder.
    """
    speed, device = task.speeds[backbone.name], task.device
    samples = np.random.default_rng(0).permutation(len(table))  # folds are of unsorted ones

    def decoded(folder: str) -> PixelViews:
        _, store = decode_table(table, backbone.image_size, DiskQuota(Path(folder), 10**10))
        return PixelViews({backbone.image_size: store}, samples)

    def whole() -> float:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            views = decoded(folder)
            store = ActivationStore(
                views, task.speeds, device, DiskQuota(Path(folder), 10**10), 10**9
            )
            own = Task(
                labels=table.labels[samples],
                n_classes=task.n_classes,
                folds=task.folds,
                metric=task.metric,
                backbones=task.backbones,
                pixels=views,
                store=store,
                speeds=task.speeds,
                device=device,
            )
            Bottleneck().run(config, own, SilentReporter())
            return time.perf_counter() - started

    def least() -> float:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            views = decoded(folder)
            _forward(backbone, views, speed, device)
            return time.perf_counter() - started

    found = interleaved({"first_model_s": whole, "decode_and_forward_s": least}, repeats)
    return found | {"ratio": found["first_model_s"] / found["decode_and_forward_s"]}


@torch.inference_mode()
def _forward(backbone: Backbone, views: PixelViews, speed: Speed, device: torch.device) -> None:
    """A forward pass over all pictures, in fp32 as the features are."""
    pixels = views(backbone.image_size)
    network = backbone.create(1, pretrained=True).to(device, memory_format=speed.memory_format)
    network.eval()
    for start in range(0, len(pixels), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(pixels)))
        x = backbone.normalise(torch.from_numpy(pixels[rows]).to(device))
        network(x.contiguous(memory_format=speed.memory_format))
