"""Channel statistics at every BatchNorm, noted while pictures pass through a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autotl.backbones.stages import StagedNetwork

MAX_BYTES = 2**28
"""Of noted statistics; networks with very many channels are watched on fewer pictures."""
_CACHED = 2**16
"""Values that a processor's cache holds beside what is made of them."""


@dataclass(frozen=True)
class LayerMoments:
    """What pictures brought to one BatchNorm, about the source domain's mean.

    Attributes:
        name: of the layer in the network.
        stage: that it belongs to, from 0.
        mean: ``(n_samples, channels) float32``, each picture's mean over positions of
            ``x - running_mean``.
        square: ``(n_samples, channels) float32``, likewise of its square.
        source_variance: ``(channels,) float64``, the running variance.
        eps: what the layer adds to a variance.
    """

    name: str
    stage: int
    mean: NDArray[np.float32]
    square: NDArray[np.float32]
    source_variance: NDArray[np.float64]
    eps: float

    @property
    def n_not_finite(self) -> int:
        """Pictures with a channel that is NaN or infinite."""
        finite = np.isfinite(self.mean).all(axis=1) & np.isfinite(self.square).all(axis=1)
        return int((~finite).sum())


class ChannelWatcher:
    """Notes the input of every BatchNorm of the backbone for some pictures; others cost nothing.

    A :class:`~autotl.reuse.activations.Watcher`. Layers without running statistics, or with those
    that a new layer has, know nothing of a source domain and are passed over.

    Args:
        samples: which pictures, in random order: of a network with so many channels that
            :data:`MAX_BYTES` don't suffice, only the first are watched.
    """

    def __init__(self, samples: NDArray[np.int64]) -> None:
        self.samples = samples
        self._layers: list[_Layer] | None = None
        self._noted: dict[str, _Noted] = {}
        self._is_seen = np.zeros(len(samples), dtype=bool)

    @contextmanager
    def watching(self, network: StagedNetwork, samples: NDArray[np.int64]) -> Iterator[None]:
        """Within it, a forward pass is noted.

        Args:
            network: in evaluation mode.
            samples: ``(k,)``, what the first ``k`` pictures of the batch are.
        """
        layers = self._layers_of(network)
        places, chosen = np.nonzero(self.samples[:, None] == samples)
        if not len(chosen):
            yield
            return
        calls: dict[str, list[tuple[Tensor, Tensor]]] = {}
        handles = [
            layer.module.register_forward_pre_hook(_hook(layer, chosen, calls)) for layer in layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._is_seen[places] = True
        by_name = {layer.name: layer for layer in layers}
        for name, made in calls.items():
            if name not in self._noted:
                self._noted[name] = _Noted.nothing(by_name[name], len(self.samples), made[0][0])
            self._noted[name].note(places, made)

    def moments(self, samples: NDArray[np.int64] | None = None) -> list[LayerMoments]:
        """What was noted, in the order in which the layers are run and the samples were given.

        Args:
            samples: of these pictures only; None: of all that were watched.
        """
        kept = self._is_seen.copy()
        if samples is not None:
            kept &= np.isin(self.samples, samples)
        return [
            LayerMoments(
                name=noted.layer.name,
                stage=noted.layer.stage,
                mean=noted.mean.cpu().numpy()[kept],
                square=noted.square.cpu().numpy()[kept],
                source_variance=_running(noted.layer.module)[1].double().cpu().numpy(),
                eps=noted.layer.module.eps,
            )
            for noted in self._noted.values()
        ]

    def _layers_of(self, network: StagedNetwork) -> list[_Layer]:
        if self._layers is None:
            self._layers = _batch_norms(network)
            n_channels = sum(layer.module.num_features for layer in self._layers)
            self.samples = self.samples[: max(2, MAX_BYTES // (8 * max(1, n_channels)))]
            self._is_seen = self._is_seen[: len(self.samples)]
        return self._layers


@dataclass(frozen=True)
class _Layer:
    name: str
    module: _BatchNorm
    stage: int


@dataclass(frozen=True)
class _Noted:
    """Of one layer, ``(n_watched, channels)`` each, in the order of the watched samples.

    Set aside at once: small pieces kept from every batch would lie between the large ones that a
    pass frees, whose memory could then not be used again.
    """

    layer: _Layer
    mean: Tensor
    square: Tensor

    @classmethod
    def nothing(cls, layer: _Layer, n_watched: int, like: Tensor) -> _Noted:
        """Room for what will be noted, of the kind of a batch's ``(k, channels)``; NaN as yet."""
        shape = (n_watched, like.shape[1])
        return cls(layer, like.new_full(shape, torch.nan), like.new_full(shape, torch.nan))

    def note(self, places: NDArray[np.int64], made: list[tuple[Tensor, Tensor]]) -> None:
        """Keep the mean of what the layer's calls in one pass brought."""
        for kept, values in zip((self.mean, self.square), zip(*made, strict=True), strict=True):
            kept[torch.from_numpy(places).to(kept.device)] = torch.stack(values).mean(dim=0)


def _batch_norms(network: StagedNetwork) -> list[_Layer]:
    """Those of the backbone that were measured on a source domain."""
    found = []
    for name, module in network.model.named_modules():
        stage = network.depth_of(f"{name}.weight")
        if isinstance(module, _BatchNorm) and stage < network.num_stages and _is_measured(module):
            found.append(_Layer(name, module, stage))
    return found


def _is_measured(module: _BatchNorm) -> bool:
    if module.running_mean is None or module.running_var is None:
        return False
    return bool(module.running_mean.any()) or bool((module.running_var != 1).any())


def _running(module: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert module.running_mean is not None
    assert module.running_var is not None
    return module.running_mean, module.running_var


def _hook(
    layer: _Layer, chosen: NDArray[np.int64], calls: dict[str, list[tuple[Tensor, Tensor]]]
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Notes the mean and the mean square of the input, about the source's mean.

    On a CPU by few pictures at a time, which then stay in its cache.
    """

    def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().movedim(1, -1)
        centre = _running(layer.module)[0].float()
        n = max(1, _CACHED // x[0].numel()) if x.device.type == "cpu" else len(chosen)
        parts = (x[chosen[start : start + n]] for start in range(0, len(chosen), n))
        means, squares = zip(*(_moments_about(centre, part) for part in parts), strict=True)
        calls.setdefault(layer.name, []).append((torch.cat(means), torch.cat(squares)))

    return note


def _moments_about(centre: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square about a centre ``(c,)`` of pictures ``(n, ..., c)``, ``(n, c)`` each."""
    x = x.reshape(len(x), -1, len(centre)).float() - centre
    share = torch.full((1, x.shape[1]), 1.0 / x.shape[1], device=x.device)
    return (share @ x)[:, 0], (share @ x.square_())[:, 0]
