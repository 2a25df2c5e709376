"""Mixing of pictures in pairs: mixup and cutmix.

A pair's labels are mixed as its pictures are: the loss is the mean of both labels' losses, weighed
by the pictures' shares. The share is drawn once for a batch and its pairs by a permutation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MixKind = Literal["none", "mixup", "cutmix"]
MIXES: tuple[MixKind, ...] = ("none", "mixup", "cutmix")

_ALPHA = {"mixup": 0.2, "cutmix": 1.0}
"""Of the symmetric beta distribution that shares are drawn from, as published for ImageNet."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        partner: ``(n,) int64``, whom each sample is mixed with; None: nobody.
        share: of the sample itself, in [0, 1]; the rest is the partner's.
        box: where the partner's picture is pasted, as shares of height and width (top, bottom,
            left, right); None: the pictures are averaged.
    """

    partner: NDArray[np.int64] | None = None
    share: float = 1.0
    box: Box | None = None

    def pictures(self, x: Tensor) -> Tensor:
        """Mixed pictures ``(n, channels, h, w)``."""
        if self.partner is None or self.box is None:
            return self.activations(x)
        top, bottom, left, right = self.box
        height, width = x.shape[-2:]
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        mixed = x.clone()
        mixed[..., rows, columns] = x[self._partners(x), :, rows, columns]
        return mixed

    def activations(self, x: Tensor) -> Tensor:
        """Activations ``(n, ...)`` averaged with their partners', under cutmix too."""
        if self.partner is None:
            return x
        return torch.lerp(x[self._partners(x)], x, self.share)

    def loss(
        self, logits: Tensor, target: Tensor, loss_of: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """The loss for both labels of each pair.

        Args:
            logits: ``(n, n_classes)`` of the mixed batch.
            target: ``(n,) int64``, the samples' own labels.
            loss_of: the mean loss of logits and labels.
        """
        if self.partner is None:
            return loss_of(logits, target)
        other = loss_of(logits, target[self._partners(target)])
        return self.share * loss_of(logits, target) + (1.0 - self.share) * other

    def _partners(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.partner).to(x.device)


UNMIXED = Mix()


class Mixer:
    """Draws a mix for each batch.

    Args:
        kind: ``none``; ``mixup`` (Zhang et al. 2018, arXiv 1710.09412); ``cutmix`` (Yun et al.
            2019, arXiv 1905.04899).
        seed: of the draws.
    """

    def __init__(self, kind: MixKind, seed: int) -> None:
        self._kind = kind
        self._rng = np.random.default_rng([seed, 1])

    @property
    def state(self) -> dict[str, Any]:
        """What the next draws depend on, as plain values."""
        return dict(self._rng.bit_generator.state)

    @state.setter
    def state(self, value: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = value

    def draw(self, n: int) -> Mix:
        """For a batch of ``n`` samples."""
        if self._kind == "none":
            return UNMIXED
        share = float(self._rng.beta(_ALPHA[self._kind], _ALPHA[self._kind]))
        partner = self._rng.permutation(n)
        if self._kind == "mixup":
            return Mix(partner, share)
        side = math.sqrt(1.0 - share)
        top, left = self._rng.random(2) * (1.0 - side)
        return Mix(partner, share, (top, top + side, left, left + side))
