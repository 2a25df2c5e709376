"""A tiny problem that any floor can learn: 32 px pictures of three classes, and a tiny backbone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from autotl.analysis.profile import DatasetProfile
    from autotl.backbones.speed import Speed
    from autotl.backbones.zoo import Backbone
    from autotl.strategies.base import Task

# Before torch is loaded, as the command line does: beside other jobs, threads that spin while they
# wait made tests take over twice as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

N_CLASSES = 3
WIDTHS = [8, 16, 24, 32]


@pytest.fixture
def random_state() -> Callable[[], object]:
    """Reads the process's random state: torch's, NumPy's and Python's."""
    import random

    import torch

    def read() -> object:
        of_numpy: Any = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), of_numpy[1].tolist(), random.getstate()

    return read


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    """``(90, 32, 32, 3) uint8``: lying stripes, upright stripes, and blocks, in turn."""
    rng = np.random.default_rng(0)
    ramp = np.arange(32)
    shown = np.empty((90, 32, 32, 3), dtype=np.uint8)
    for i in range(len(shown)):
        wave = np.sin(ramp * rng.uniform(0.7, 1.3) + rng.uniform(0, 6))
        pattern = (wave[:, None], wave[None, :], wave[:, None] * wave[None, :])[i % N_CLASSES]
        colour = rng.uniform(40, 110, 3)
        noise = rng.normal(0, 10, (32, 32, 3))
        values = 127 + pattern[:, :, None] * np.ones((32, 32, 1)) * colour + noise
        shown[i] = np.clip(values, 0, 255).astype(np.uint8)
    return shown


@pytest.fixture(scope="session")
def picture_labels() -> NDArray[np.int64]:
    """``(90,) int64``: 0, 1, 2 in turn."""
    return np.arange(90, dtype=np.int64) % N_CLASSES


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny ResNet with a header, as the project saves them."""
    import json

    from safetensors.torch import save_file

    from autotl.backbones.zoo import random_backbone

    source = random_backbone("resnet10t", 32, channels=WIDTHS, zero_init_last=False)
    network = source.create(7, pretrained=False, seed=5)
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    header = {
        "timm_name": "resnet10t",
        "timm_kwargs": json.dumps({"channels": WIDTHS}),
        "image_size": "32",
        "mean": "[0.5, 0.5, 0.5]",
        "std": "[0.25, 0.25, 0.25]",
    }
    save_file(network.model.state_dict(), file, header)
    return file


@pytest.fixture(scope="session")
def backbone(weights_file: Path) -> Backbone:
    """The tiny ResNet, "pretrained": five stages."""
    from autotl.backbones.zoo import open_backbone

    return open_backbone(f"resnet10t@{weights_file}")


def even_speed(num_stages: int, forward_s: float = 1e-4, train_s: float = 4e-4) -> Speed:
    """A speed of which every stage takes the same share."""
    from autotl.backbones.speed import Speed

    shares = [depth / num_stages for depth in range(num_stages + 1)]
    return Speed(
        precision="fp32",
        channels_last=False,
        forward_to=tuple(forward_s * share for share in shares),
        train_from=tuple(train_s * (1.0 - share) for share in shares),
    )


@pytest.fixture
def make_task(
    tmp_path: Path,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    backbone: Backbone,
) -> Callable[..., Task]:
    """Makes a task on the CPU; two folds, which validate samples 0 to 29 and 30 to 59."""
    import torch

    from autotl.data import Fold
    from autotl.metrics import METRICS
    from autotl.reuse.activations import ActivationStore
    from autotl.reuse.pixels import PixelView
    from autotl.reuse.quota import DiskQuota
    from autotl.strategies.base import Task

    def make(
        *,
        pixels: NDArray[np.uint8] = pictures,
        labels: NDArray[np.int64] = picture_labels,
        folds: tuple[Fold, ...] | None = None,
        metric: str = "accuracy",
        seed: int = 0,
        folder: str = "features",
        disk_bytes: int = 10**9,
        memory_bytes: int = 10**9,
    ) -> Task:
        samples = np.arange(len(labels))
        if folds is None:
            halves = (samples[:30], samples[30:60])
            folds = tuple(Fold(np.setdiff1d(samples, half), half) for half in halves)
        view = PixelView(pixels, samples)
        device = torch.device("cpu")
        speeds = {backbone.name: even_speed(backbone.num_stages)}
        quota = DiskQuota(tmp_path / folder, disk_bytes)
        return Task(
            labels=labels,
            n_classes=N_CLASSES,
            folds=folds,
            metric=METRICS[metric],
            backbones={backbone.name: backbone},
            pixels=lambda size: view,
            store=ActivationStore(lambda size: view, speeds, device, quota, memory_bytes),
            speeds=speeds,
            device=device,
            seed=seed,
        )

    return make


@pytest.fixture
def make_profile() -> Callable[..., DatasetProfile]:
    """Makes a profile from the figures that matter, one candidate per named backbone."""
    from autotl.analysis.profile import BackboneProfile, DatasetProfile
    from autotl.analysis.similarity import DomainSimilarity
    from autotl.analysis.size import SizeProfile

    def make(
        *names: str,
        n_samples: int = 90,
        samples_per_class: tuple[int, ...] = (30, 30, 30),
        similarity: float | None = 0.5,
        n_parameters: int = 1_000_000,
        num_stages: int = 5,
        max_epochs: int = 2,
        **size: Any,
    ) -> DatasetProfile:
        measured = (
            DomainSimilarity(None, reason="no BatchNorm")
            if similarity is None
            else DomainSimilarity(similarity, (similarity, similarity), 0.1, (0.1,) * num_stages)
        )
        candidate = BackboneProfile(
            num_stages=num_stages,
            n_parameters=n_parameters,
            image_size=32,
            samples_per_parameter=n_samples / n_parameters,
            similarity=measured,
            speed=even_speed(num_stages),
            max_epochs=max_epochs,
        )
        figures: dict[str, Any] = {
            "n_samples": n_samples,
            "n_test": 10,
            "samples_per_class": samples_per_class,
            "imbalance": max(samples_per_class) / min(samples_per_class),
            "median_size": (40, 30),
            "size_range": (20, 50),
            "grey_share": 0.0,
            "n_duplicates": 0,
        }
        return DatasetProfile(
            size=SizeProfile(**figures | size),
            backbones=dict.fromkeys(names or ("embedded",), candidate),
            n_folds=2,
            class_names=("a", "b", "c"),
            fingerprint="f" * 64,
        )

    return make
