"""Activations of frozen stages, computed once and then read: from memory, from disk, or anew.

What is frozen gives the same activation for the same picture in every epoch of every trial. The
store keeps them as they were computed, in their own dtype, so that a trial does not depend on what
the store held: in fp32 on a CPU the figures are the same to the bit (``_LEAST`` says why). bf16
rounds otherwise in batches of some sizes, for some networks.

Precedents: Nautilus (Nakandala & Kumar, SIGMOD 2022), Alsatian (Strassenburg et al., SIGMOD 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from autotl.backbones.speed import Speed, autocast
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.reuse.entries import Entries, Meter
from autotl.reuse.networks import FrozenNetworks
from autotl.reuse.pixels import PixelView
from autotl.reuse.quota import DiskQuota

_BATCH = 128
_LEAST = 16
"""A CPU rounds otherwise in smaller batches: they are filled up to this."""


class View(Protocol):
    """A fixed augmented version of every picture."""

    @property
    def key(self) -> str:
        """Equal views, equal keys: letters, digits and ``-``."""
        ...

    def apply(self, pixels: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Augmented copies ``(k, h, w, 3)`` of the pictures of these rows."""
        ...


class Watcher(Protocol):
    """Looks on while pictures pass through a network, so that one pass serves it too."""

    @property
    def samples(self) -> NDArray[np.int64]:
        """``(k,)``, the pictures that it must see; final once the first pass was watched."""
        ...

    def watching(
        self, network: StagedNetwork, samples: NDArray[np.int64]
    ) -> AbstractContextManager[object]:
        """The context of a forward pass of these pictures, of which the batch may repeat some."""
        ...


class ActivationStore:
    """Pixels, activations at any depth and pooled features of a fixed set of pictures.

    What is kept where is decided by :class:`~autotl.reuse.entries.Entries`.

    Args:
        pixels: the pictures at a size.
        speeds: what a picture costs, per backbone; says in which precision they are run.
        device: where to compute, and where the results are.
        quota: of the files; None: nothing is kept on disk.
        memory_bytes: the most to keep in the device's memory.
        shared: whether other processes use the store too; all is then kept on disk.
    """

    def __init__(
        self,
        pixels: Callable[[int], PixelView],
        speeds: Mapping[str, Speed],
        device: torch.device,
        quota: DiskQuota | None = None,
        memory_bytes: int = 0,
        *,
        shared: bool = False,
    ) -> None:
        self._pixels = pixels
        self._speeds = speeds
        self._device = device
        self._quota = quota
        self._memory_bytes = memory_bytes
        self._shared = shared
        self._forget()

    def _forget(self) -> None:
        self._entries = Entries(self._quota, 0 if self._shared else self._memory_bytes)
        self._networks = FrozenNetworks(self._speeds, self._device)
        self._views: dict[int, PixelView] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Another process reads the files, it isn't sent what this one holds."""
        return {
            name: self.__dict__[name]
            for name in ("_pixels", "_speeds", "_device", "_quota", "_memory_bytes", "_shared")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def of_samples(self, pixels: Callable[[int], PixelView]) -> ActivationStore:
        """A store of other samples of the same pictures, which keeps what it keeps with this one.

        Args:
            pixels: their pictures at a size, views of the same pixel stores.
        """
        other = ActivationStore.__new__(ActivationStore)
        other.__dict__.update(self.__dict__, _pixels=pixels, _views={})
        return other

    def with_speeds(self, speeds: Mapping[str, Speed]) -> ActivationStore:
        """A store that keeps what it keeps with this one, and runs networks as these speeds say.

        What was made of networks so far isn't passed on.

        Args:
            speeds: of the backbones that will be asked for.
        """
        other = ActivationStore.__new__(ActivationStore)
        networks = self._networks.with_speeds(speeds)
        other.__dict__.update(self.__dict__, _speeds=speeds, _networks=networks)
        return other

    def release(self, backbone: Backbone) -> None:
        """Free the memory of a network until it is needed again; what is kept of it stays."""
        self._networks.release(backbone)

    @property
    def meter(self) -> Meter:
        """What was asked of the store so far."""
        return self._entries.meter

    def pixels(self, image_size: int, samples: NDArray[np.int64]) -> Tensor:
        """Pictures ``(k, size, size, 3) uint8`` on the device.

        On a GPU they stay there if they fit, so that they cross the bus once.
        """
        view = self._view(image_size)
        if self._device.type == "cpu":
            return torch.from_numpy(view[samples])
        rows = view.rows[samples]

        def compute(missing: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(view[samples[missing]]).to(self._device)

        return self._entries.get(
            f"{view.name}-device", view.n_rows, rows, compute, 0.0, memory_only=True
        )

    def activations(
        self,
        backbone: Backbone,
        depth: int,
        samples: NDArray[np.int64],
        view: View | None = None,
    ) -> Tensor:
        """Activations of the pretrained network at a depth, in evaluation mode.

        Args:
            backbone: with pretrained weights.
            depth: in ``1 ... num_stages``.
            samples: ``(k,)``, which pictures.
            view: which augmented version of them; None: as they are.

        Returns:
            ``(k, ...)`` on the device, in the dtype in which the backbone is run; what
            :meth:`StagedNetwork.activation` gives.
        """
        pixels = self._view(backbone.image_size)

        def compute(missing: NDArray[np.int64]) -> Tensor:
            return self._compute(backbone, depth, samples[missing], view)

        each_s = self._speeds[backbone.name].forward_to[depth]
        name = self._name(backbone, depth, view)
        return self._entries.get(name, pixels.n_rows, pixels.rows[samples], compute, each_s)

    def features(
        self,
        backbone: Backbone,
        depths: Sequence[int],
        samples: NDArray[np.int64] | None = None,
        watcher: Watcher | None = None,
        max_width: int = 0,
    ) -> NDArray[np.float32]:
        """Pooled activations of pictures at these depths, side by side, in fp32.

        One forward pass serves every depth, and the watcher; each ``max_width`` takes its own.
        Pictures that the watcher must see are passed through the network even if their features
        are held.

        Args:
            backbone: with pretrained weights.
            depths: ascending, each in ``1 ... backbone.num_stages``.
            samples: ``(k,)``, which pictures; None: all.
            watcher: looks on; its pictures must be among ``samples``.
            max_width: up to which maps are averaged over cells, see :meth:`StagedNetwork.features`.

        Returns:
            ``(k, sum of the depths' widths)``.
        """
        pixels = self._view(backbone.image_size)
        widths = self._networks.widths(backbone, max_width)
        columns = np.concatenate(
            [np.arange(sum(widths[: depth - 1]), sum(widths[:depth])) for depth in depths]
        )
        samples = np.arange(len(pixels)) if samples is None else samples
        found = np.empty((len(samples), len(columns)), dtype=np.float32)
        name = self._features_name(backbone, max_width)
        each_s = self._speeds[backbone.name].forward_s
        seen = np.zeros(len(pixels), dtype=bool)

        def compute(chosen: NDArray[np.int64]) -> Tensor:
            seen[chosen] = True
            return self._pooled(backbone, chosen, watcher, max_width)

        with self._alone(name):
            for start in range(0, len(samples), _BATCH):
                batch = samples[start : start + _BATCH]
                values = self._entries.get(
                    name,
                    pixels.n_rows,
                    pixels.rows[batch],
                    lambda missing, batch=batch: compute(batch[missing]),  # type: ignore[misc]
                    each_s,
                    disk_first=True,
                )
                found[start : start + len(batch)] = values.cpu().numpy()[:, columns]
        if watcher is not None:
            for batch in _unseen(watcher, seen):
                self._entries.meter.count(0, len(batch), each_s)
                compute(batch)
        return found

    def held_share(
        self, backbone: Backbone, depth: int, samples: NDArray[np.int64], view: View | None = None
    ) -> float:
        """Share of the activations of these samples that needn't be computed any more."""
        return self._held_share(self._name(backbone, depth, view), backbone, samples)

    def features_held_share(self, backbone: Backbone, max_width: int = 0) -> float:
        """Share of all pictures whose pooled features needn't be computed any more."""
        everything = np.arange(len(self._view(backbone.image_size)))
        return self._held_share(self._features_name(backbone, max_width), backbone, everything)

    def _held_share(self, name: str, backbone: Backbone, samples: NDArray[np.int64]) -> float:
        held = self._entries.held(name, self._view(backbone.image_size).rows[samples])
        return float(held.mean()) if len(held) else 0.0

    def has_room(self, backbone: Backbone, depth: int, n_views: int) -> bool:
        """Whether so many views' activations of all pictures take less than half of what may be
        kept, in memory or on disk.
        """
        each = self._networks.activation_bytes(backbone, depth)
        wanted = n_views * self._view(backbone.image_size).n_rows * each
        return 2 * wanted <= max(self._entries.memory_bytes, self.disk_limit_bytes)

    @property
    def memory_used_bytes(self) -> int:
        """What is set aside for activations in the device's memory, by this process."""
        return self._entries.memory_used_bytes

    @property
    def disk_used_bytes(self) -> int:
        """Bytes of all that the cache holds on disk, decoded pictures included."""
        return 0 if self._quota is None else sum(e.n_bytes for e in self._quota.entries())

    @property
    def disk_limit_bytes(self) -> int:
        """What may be kept on disk."""
        return 0 if self._quota is None else self._quota.max_bytes

    def _pooled(
        self,
        backbone: Backbone,
        samples: NDArray[np.int64],
        watcher: Watcher | None,
        max_width: int,
    ) -> Tensor:
        """Pooled activations at all depths, side by side, from a forward pass."""
        network = self._networks.whole(backbone)
        x = self._input(backbone, _filled(samples), None)
        watched = nullcontext() if watcher is None else watcher.watching(network, samples)
        with torch.no_grad(), watched:
            read = network.features(x, range(1, network.num_stages + 1), max_width)
        return torch.cat(read, dim=1)[: len(samples)]

    def _compute(
        self, backbone: Backbone, depth: int, samples: NDArray[np.int64], view: View | None
    ) -> Tensor:
        """Activations from the deepest depth below whose activations are held, or from pixels."""
        speed = self._speeds[backbone.name]
        network = self._networks.whole(backbone)
        padded = _filled(samples)
        held = self._held_below(backbone, depth, padded, view)
        if held is None:
            x = self._input(backbone, padded, view)
        else:
            x, network = held
        with torch.no_grad(), autocast(speed.precision, self._device):
            return network.activation(x, depth)[: len(samples)]

    def _held_below(
        self, backbone: Backbone, depth: int, samples: NDArray[np.int64], view: View | None
    ) -> tuple[Tensor, StagedNetwork] | None:
        """These samples' activations at the deepest depth below that has all, and what follows."""
        rows = self._view(backbone.image_size).rows[samples]
        for lower in range(depth - 1, 0, -1):
            values = self._entries.read(self._name(backbone, lower, view), rows)
            upper = None if values is None else self._networks.above(backbone, lower)
            if values is not None and upper is not None:
                return values, upper
        return None

    def _input(self, backbone: Backbone, samples: NDArray[np.int64], view: View | None) -> Tensor:
        """Normalised pictures, augmented under a view, in the layout that the network reads."""
        shown = self.pixels(backbone.image_size, samples)
        if view is not None:
            shown = view.apply(shown, self._view(backbone.image_size).rows[samples])
        layout = self._speeds[backbone.name].memory_format
        return backbone.normalise(shown).contiguous(memory_format=layout)

    def _view(self, image_size: int) -> PixelView:
        if image_size not in self._views:
            self._views[image_size] = self._pixels(image_size)
        return self._views[image_size]

    def _name(self, backbone: Backbone, depth: int, view: View | None) -> str:
        """What tells activations apart; those of one depth are a family there."""
        speed = self._speeds[backbone.name]
        precision = f"{speed.precision}{'-last' if speed.channels_last else ''}"
        family = f"stage{depth}-{backbone.weights_hash}-{precision}-{self._device.type}"
        shown = "plain" if view is None else view.key
        return f"{family}-{self._view(backbone.image_size).name}+{shown}"

    def _features_name(self, backbone: Backbone, max_width: int) -> str:
        kind = f"features{max_width}" if max_width else "features"
        return f"{kind}-{backbone.weights_hash}-{self._view(backbone.image_size).name}"

    def _alone(self, name: str) -> AbstractContextManager[object]:
        """Where processes share the store, only one computes an entry and the others wait."""
        if self._quota is None or not self._quota.max_bytes or not self._shared:
            return nullcontext()
        self._quota.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._quota.folder / f".{name}.lock")


def _filled(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples, repeated if they are few."""
    return np.resize(samples, max(_LEAST, len(samples)))


def _unseen(watcher: Watcher, seen: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Batches of the watcher's pictures that weren't seen; its choice is final after the first."""
    while True:
        wanted = watcher.samples
        batch = wanted[~seen[wanted]][:_BATCH]
        if not len(batch):
            return
        yield batch
