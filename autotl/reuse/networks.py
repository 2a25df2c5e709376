"""Pretrained networks that are only read: made once, and what is known of their activations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autotl.backbones.cuts import cut
from autotl.backbones.speed import Speed, autocast
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone

_Key = tuple[str, int]
"""Weights and the size of the pictures, for which some networks are built."""


class FrozenNetworks:
    """Pretrained networks in evaluation mode, whole and from a depth on.

    Args:
        speeds: per backbone; says in which precision and layout it is run.
        device: where.
    """

    def __init__(self, speeds: Mapping[str, Speed], device: torch.device) -> None:
        self._speeds = speeds
        self._device = device
        self._whole: dict[_Key, StagedNetwork] = {}
        self._above: dict[tuple[_Key, int], StagedNetwork | None] = {}
        self._widths: dict[tuple[_Key, int], list[int]] = {}
        self._bytes: dict[tuple[_Key, int], int] = {}

    def with_speeds(self, speeds: Mapping[str, Speed]) -> FrozenNetworks:
        """Networks of their own that are run as these speeds say; their widths are the same."""
        other = FrozenNetworks(speeds, self._device)
        other._widths = self._widths
        return other

    def release(self, backbone: Backbone) -> None:
        """Free the memory of a network until it is needed again."""
        self._whole.pop(_key(backbone), None)

    def whole(self, backbone: Backbone) -> StagedNetwork:
        """The pretrained network."""
        key = _key(backbone)
        if key not in self._whole:
            network = backbone.create(1, pretrained=True).requires_grad_(False).to(self._device)
            layout = self._speeds[backbone.name].memory_format
            self._whole[key] = network.to(memory_format=layout).eval()
        return self._whole[key]

    def above(self, backbone: Backbone, depth: int) -> StagedNetwork | None:
        """The pretrained network above a depth; None if it can't be cut there."""
        key = (_key(backbone), depth)
        if key not in self._above:
            upper = cut(self.whole(backbone), depth, backbone.image_size)
            self._above[key] = None if upper is None else upper.eval()
        return self._above[key]

    def widths(self, backbone: Backbone, max_width: int) -> list[int]:
        """Width of the pooled activation at each depth from 1, see :meth:`StagedNetwork.features`.

        Args:
            backbone: which.
            max_width: up to which maps are averaged over cells.
        """
        key = (_key(backbone), max_width)
        if key not in self._widths:
            network = self.whole(backbone)
            with torch.no_grad():
                read = network.features(
                    self._blank(backbone), range(1, network.num_stages + 1), max_width
                )
            self._widths[key] = [values.shape[1] for values in read]
        return self._widths[key]

    def activation_bytes(self, backbone: Backbone, depth: int) -> int:
        """Bytes of one picture's activation at a depth, in the precision it is run in.

        0 where it isn't one tensor, which isn't kept.
        """
        key = (_key(backbone), depth)
        if key not in self._bytes:
            with torch.no_grad(), autocast(self._speeds[backbone.name].precision, self._device):
                activation = self.whole(backbone).activation(self._blank(backbone), depth)
            self._bytes[key] = activation.nbytes if isinstance(activation, Tensor) else 0
        return self._bytes[key]

    def _blank(self, backbone: Backbone) -> Tensor:
        size = (1, 3, backbone.image_size, backbone.image_size)
        return torch.zeros(size, device=self._device)


def _key(backbone: Backbone) -> _Key:
    return backbone.weights_hash, backbone.image_size
