"""How pictures reach a network without autotl: torchvision's folder, transforms and data loader.

Two levers replace a part of it each, so that a study can switch them on one after the other:
pictures decoded once for all trials, and augmentation of whole batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, v2

from autotl.backbones.speed import Speed, measure_speed
from autotl.backbones.zoo import Backbone
from autotl.runtime import n_cpus
from autotl.strategies.augment import N_DRAWS, ON_MAPS, augment

EVALUATION_BATCH = 128
FP32 = Speed("fp32", False, (0.0,), (0.0,))
"""The usual precision and memory layout; its times are not measured."""


@dataclass(frozen=True)
class Levers:
    """What is done better than usual; the defaults are the usual way.

    Attributes:
        decode: ``jpeg``: files are read and decoded in every epoch; ``memory``: once for all
            trials, into one uint8 tensor at the network's size.
        augmentation: ``torchvision``: transforms of one picture after the other, in the data
            loader's processes; ``batched``: autotl's, of a whole batch, on the training device.
        precision: ``fp32`` with channels first, or ``measured``: the precision and memory layout
            that train fastest on this machine.
    """

    decode: Literal["jpeg", "memory"] = "jpeg"
    augmentation: Literal["torchvision", "batched"] = "torchvision"
    precision: Literal["fp32", "measured"] = "fp32"


@dataclass
class Prepared:
    """What levers make once for all trials of a study.

    Attributes:
        decoded: by folder and side, all its pictures, ``(n_samples, 3, side, side) uint8``.
        speeds: by backbone, its measured speed.
    """

    decoded: dict[tuple[Path, int], Tensor] = field(default_factory=dict)
    speeds: dict[str, Speed] = field(default_factory=dict)

    def speed(self, backbone: Backbone, levers: Levers, device: torch.device) -> Speed:
        """The precision and layout to train with."""
        if levers.precision == "fp32":
            return FP32
        if backbone.name not in self.speeds:
            self.speeds[backbone.name] = measure_speed(backbone, device)
        return self.speeds[backbone.name]

    def pixels(self, folder: Path, side: int, num_workers: int) -> Tensor:
        """All pictures of the folder at this side, decoded in parallel unless they are here."""
        if (folder, side) not in self.decoded:
            dataset = ImageFolder(folder, v2.Compose([v2.Resize((side, side)), v2.PILToTensor()]))
            loader = DataLoader(dataset, batch_size=EVALUATION_BATCH, num_workers=num_workers)
            self.decoded[folder, side] = torch.cat([pictures for pictures, _ in loader])
        return self.decoded[folder, side]


def policy_transforms(
    policy: str, *, mirror: bool
) -> tuple[list[v2.Transform], list[v2.Transform]]:
    """One of autotl's augmentation policies as near as torchvision's transforms come.

    They differ in these: the border that a shift uncovers is black and not the edge repeated;
    brightness is a factor and not a summand; the operations of ``strong`` have one strength.

    Args:
        policy: one of :data:`autotl.strategies.augment.POLICIES`.
        mirror: whether half of the pictures are mirrored (not under ``none``).

    Returns:
        What comes before the picture becomes a float tensor in [0, 1], and what comes after.
    """
    if policy == "none":
        return [], []
    flip = [v2.RandomHorizontalFlip()] if mirror else []
    bilinear = InterpolationMode.BILINEAR
    if policy == "light":
        return [v2.RandomAffine(0, translate=(0.1, 0.1), interpolation=bilinear), *flip], []
    if policy == "medium":
        affine = v2.RandomAffine(
            15, translate=(0.1, 0.1), scale=(1 / 1.2, 1.2), interpolation=bilinear
        )
        return [affine, *flip, v2.ColorJitter(0.1, 0.2, 0.2)], []
    if policy == "strong":
        affine = v2.RandomAffine(
            30,
            translate=(0.15, 0.15),
            scale=(1 / 1.3, 1.3),
            shear=math.degrees(math.atan(0.2)),
            interpolation=bilinear,
        )
        operation = v2.RandomChoice(
            [
                v2.Identity(),
                v2.RandomSolarize(threshold=0.75, p=1.0),
                v2.RandomInvert(p=1.0),
                v2.GaussianNoise(sigma=0.05),
                v2.RandomGrayscale(p=1.0),
                v2.RandomErasing(p=1.0, scale=(0.04, 0.25), ratio=(1.0, 1.0), value=0.5),
            ]
        )
        return [affine, *flip, v2.ColorJitter(0.2, 0.4, 0.4)], [operation]
    raise ValueError(f"policy must be one of autotl's, but got {policy!r}")


class Decoded(Dataset[tuple[Tensor, int]]):
    """Pictures in memory, transformed one by one as :class:`ImageFolder` does with files.

    Args:
        pixels: ``(n_samples, 3, h, w) uint8``.
        labels: of the samples.
        transform: of one picture.
    """

    def __init__(
        self, pixels: Tensor, labels: Sequence[int], transform: Callable[[Any], Tensor]
    ) -> None:
        self._pixels = pixels
        self._labels = labels
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, sample: int) -> tuple[Tensor, int]:
        return self._transform(tv_tensors.Image(self._pixels[sample])), self._labels[sample]


class Shuffled(Sampler[int]):
    """Samples in a new random order in every epoch, the order that autotl draws from this seed."""

    def __init__(self, samples: Sequence[int], seed: int) -> None:
        self._samples = np.asarray(samples)
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rng.permutation(self._samples).tolist())


class _Gathered:
    """Batches taken from tensors in memory, without processes."""

    def __init__(self, pixels: Tensor, labels: Tensor, batches: BatchSampler) -> None:
        self._pixels = pixels
        self._labels = labels
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._batches:
            yield self._pixels[batch], self._labels[batch]


@dataclass(frozen=True)
class Batches:
    """Batches of network input ``(n, 3, h, w) float32`` and labels ``(n,)`` on a device.

    Attributes:
        source: yields pictures and labels; one iteration is one epoch.
        finish: what is left to do with the pictures of a batch once they are on the device.
        device: where to.
    """

    source: Iterable[tuple[Tensor, Tensor]]
    finish: Callable[[Tensor], Tensor]
    device: torch.device

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for pictures, labels in self.source:
            shown = self.finish(pictures.to(self.device, non_blocking=True))
            yield shown, labels.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class Source:
    """The labelled pictures of a folder as a backbone reads them.

    Attributes:
        folder: class-per-sub-folder; samples are numbered as :class:`ImageFolder` sorts them.
        backbone: gives size and normalisation.
        device: where batches go.
        levers: what is done better than usual.
        prepared: what the levers make once.
        num_workers: processes of a data loader; None: as many as there are cores.
    """

    folder: Path
    backbone: Backbone
    device: torch.device
    levers: Levers = Levers()
    prepared: Prepared = field(default_factory=Prepared)
    num_workers: int | None = None

    def labels(self) -> tuple[list[int], int]:
        """Labels of all samples, and the number of classes."""
        listed = ImageFolder(self.folder)
        return listed.targets, len(listed.classes)

    def training(
        self, samples: Sequence[int], batch_size: int, policy: str, mirror: bool, seed: int
    ) -> Batches:
        """Augmented batches of equal size, in random order."""
        return self._batches(Shuffled(samples, seed), batch_size, True, policy, mirror, seed)

    def evaluation(self, samples: Sequence[int]) -> Batches:
        """The samples in their order, not augmented."""
        return self._batches(list(samples), EVALUATION_BATCH, False, "none", False, 0)

    def _batches(
        self,
        order: Iterable[int],
        batch_size: int,
        drop_last: bool,
        policy: str,
        mirror: bool,
        seed: int,
    ) -> Batches:
        workers = n_cpus() if self.num_workers is None else self.num_workers
        side = self.backbone.image_size
        in_memory = self.levers.decode == "memory"
        one_by_one = self.levers.augmentation == "torchvision"
        if policy == ON_MAPS:  # what it approximates
            policy = "light"
        transforms: list[Any] = [] if in_memory else [v2.Resize((side, side))]
        if one_by_one:
            before, after = policy_transforms(policy, mirror=mirror)
            transforms += [*before, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), *after]
            transforms += [v2.Normalize(self.backbone.mean, self.backbone.std)]
        else:
            transforms += [v2.ToImage()]
        generator = torch.Generator(device=self.device).manual_seed(seed)

        def finish(pictures: Tensor) -> Tensor:
            if one_by_one:
                return pictures
            shown = pictures.permute(0, 2, 3, 1)
            draws = torch.rand((len(shown), N_DRAWS), generator=generator, device=shown.device)
            shown = augment(shown, policy, mirror=mirror, draws=draws)
            return self.backbone.normalise(shown)

        transform = v2.Compose(transforms)
        files = ImageFolder(self.folder, transform)
        dataset: Dataset[Any] = files
        if in_memory:
            pixels = self.prepared.pixels(self.folder, side, workers)
            labels = files.targets
            if not one_by_one:
                batches = BatchSampler(order, batch_size, drop_last)
                return Batches(
                    _Gathered(pixels, torch.tensor(labels), batches), finish, self.device
                )
            dataset = Decoded(pixels, labels, transform)
        loader = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=order,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(seed),
        )
        return Batches(loader, finish, self.device)
