"""The forward passes of a training: through the whole network, or from stored activations on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autotl.backbones.cuts import deepest_cut
from autotl.backbones.small_maps import small_map_gradients
from autotl.backbones.speed import autocast
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.strategies.augment import ON_MAPS, View
from autotl.strategies.base import Task
from autotl.strategies.memory import out_of_memory
from autotl.strategies.mixing import UNMIXED, Mix, MixKind

_BATCH = 128


class Augmentation(Protocol):
    """The part of a training's config that says what is shown."""

    @property
    def backbone(self) -> str: ...

    @property
    def augmentation(self) -> str: ...

    @property
    def mirror(self) -> bool: ...

    @property
    def n_views(self) -> int: ...

    @property
    def epochs(self) -> int: ...

    @property
    def mix(self) -> MixKind: ...


def stored_views(
    config: Augmentation, freeze_depth: int, task: Task, n_rows: int = 0
) -> Sequence[View | None] | None:
    """The versions of the training pictures whose activations are kept.

    Args:
        config: of the training.
        freeze_depth: stages below it are frozen.
        task: the task.
        n_rows: pictures that the data set has.

    Returns:
        Views, of which epoch e shows number ``e % len``; None as a view is the picture itself.
        None if nothing is kept: nothing is frozen, or every epoch has views of its own that no
        second fold will show, or that there is no room for.
    """
    if not freeze_depth:
        return None
    if config.augmentation in ("none", ON_MAPS):
        return [None]
    n_views = min(config.n_views or config.epochs, config.epochs)
    if not config.n_views and not _shown_again(config, freeze_depth, task):
        return None
    return [
        View(config.augmentation, config.mirror, task.seed, index, n_rows)
        for index in range(n_views)
    ]


def _shown_again(config: Augmentation, freeze_depth: int, task: Task) -> bool:
    """Whether to keep an epoch's own views, since other folds show them too and there is room.

    Not where pictures are mixed: that of stored activations is another mix.
    """
    trained = [fold.train for fold in task.folds]
    n_distinct = len(distinct(trained, task))
    if config.mix != "none" or sum(map(len, trained)) < 2 * n_distinct:
        return False
    backbone = task.backbones[config.backbone]
    return task.store.has_room(backbone, freeze_depth, config.epochs)


def distinct(parts: Sequence[NDArray[np.int64]], task: Task) -> NDArray[np.int64]:
    """Samples of a task that are in any of the parts, ascending."""
    chosen = np.zeros(len(task.labels), dtype=bool)
    chosen[np.concatenate(parts)] = True
    return np.flatnonzero(chosen)


class Passes:
    """Logits of a network in training, from samples.

    A frozen part is run as pretrained weights in evaluation mode, and what it gives is taken from
    the task's store where that is possible; the result is the same.

    Args:
        network: on the device, frozen up to its ``frozen_depth`` if it is a staged one.
        backbone: its architecture and preprocessing.
        config: what is shown.
        task: where samples are.
    """

    def __init__(
        self, network: nn.Module, backbone: Backbone, config: Augmentation, task: Task
    ) -> None:
        self._network = network
        self._backbone = backbone
        self._config = config
        self._task = task
        self._speed = task.speeds[backbone.name]
        self._pixels = task.pixels(backbone.image_size)
        self._upper: StagedNetwork | None = None
        if isinstance(network, StagedNetwork) and network.frozen_depth:
            self._upper = deepest_cut(network, network.frozen_depth, backbone.image_size)
        depth = 0 if self._upper is None else self._upper.start
        self._stored = stored_views(config, depth, task, self._pixels.n_rows)
        self._view: View | None = None
        self._n_predicted = _BATCH

    def begin(self, epoch: int) -> None:
        """Put the network in training mode and choose what this epoch shows."""
        for module in (self._network, self._upper):
            if module is not None:
                module.train()
        config = self._config
        if self._stored is not None and config.augmentation != ON_MAPS:
            self._view = self._stored[epoch % len(self._stored)]
        elif config.augmentation != "none":
            index = epoch % config.n_views if config.n_views else epoch
            self._view = View(
                config.augmentation, config.mirror, self._task.seed, index, self._pixels.n_rows
            )

    def training(self, samples: NDArray[np.int64], mix: Mix = UNMIXED) -> Tensor:
        """Logits ``(k, n_classes) float32`` of training samples as this epoch shows them."""
        return self.forward(self.shown(samples, mix))

    def shown(self, samples: NDArray[np.int64], mix: Mix = UNMIXED) -> Tensor:
        """What the trained part gets ``(k, ...)`` for training samples as this epoch shows them.

        Mixed are the pictures or, where the activations of a frozen part are kept, those.
        """
        rows = self._pixels.rows[samples]
        on_maps = self._view is not None and self._config.augmentation == ON_MAPS
        if self._upper is not None and self._stored is not None:
            stored = None if on_maps else self._view
            x = self._task.store.activations(self._backbone, self._upper.start, samples, stored)
            x = self._shifted(x, rows) if on_maps else x
            return mix.activations(x)
        shown = self._task.store.pixels(self._backbone.image_size, samples)
        if self._view is not None and not on_maps:
            shown = self._view.apply(shown, rows)
        x = self._input(shown)
        return mix.pictures(self._shifted(x, rows) if on_maps else x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of what :meth:`shown` gave, or of a part of it."""
        network = self._network if self._upper is None or self._stored is None else self._upper
        with small_map_gradients(self._speed.precision, self._task.device):
            return self._logits(network, x)

    @torch.no_grad()
    def predict_proba(self, samples: NDArray[np.int64]) -> NDArray[np.float32]:
        """Class probabilities ``(k, n_classes)`` of samples as they are; leaves training mode."""
        for module in (self._network, self._upper):
            if module is not None:
                module.eval()
        found, start = [], 0
        while start < len(samples):
            chunk = samples[start : start + self._n_predicted]
            try:
                found.append(self._logits_of(chunk).softmax(dim=1))
                start += len(chunk)
                continue
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error) is None or self._n_predicted == 1:
                    raise
            self._n_predicted = max(1, min(self._n_predicted, len(chunk)) // 2)
        return torch.cat(found).cpu().numpy()

    def _logits_of(self, samples: NDArray[np.int64]) -> Tensor:
        if self._upper is None:
            shown = self._task.store.pixels(self._backbone.image_size, samples)
            return self._logits(self._network, self._input(shown))
        x = self._task.store.activations(self._backbone, self._upper.start, samples)
        return self._logits(self._upper, x)

    def _input(self, shown: Tensor) -> Tensor:
        x = self._backbone.normalise(shown)
        return x.contiguous(memory_format=self._speed.memory_format)

    def _shifted(self, maps: Tensor, rows: NDArray[np.int64]) -> Tensor:
        assert self._view is not None
        return self._view.apply_to_maps(maps, rows)

    def _logits(self, network: nn.Module, x: Tensor) -> Tensor:
        with autocast(self._speed.precision, self._task.device):
            logits: Tensor = network(x)
        return logits.float()
