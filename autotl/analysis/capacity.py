"""How many parameters each strategy would train, beside the samples that there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from autotl.backbones.zoo import Backbone

MAX_REMOVED = 2
"""So many stages, at most, a network trained from scratch is cut shorter by."""


@dataclass(frozen=True)
class Capacity:
    """Parameters that the strategies train with one backbone, the classifier's included.

    Attributes:
        bottleneck: of the linear classifier on the last stage's features, and on all stages'.
        finetune: by the depth below which all is frozen, ``0 ... num_stages``.
        scratch: by the number of stages left out at the end, ``0 ... 2``.
    """

    bottleneck: tuple[int, int]
    finetune: tuple[int, ...]
    scratch: tuple[int, ...]

    def samples_per_parameter(self, n_samples: int) -> Mapping[str, tuple[float, ...]]:
        """By strategy, what there are of samples for each parameter, in the same order."""
        return {
            name: tuple(n_samples / count for count in counts)
            for name, counts in (
                ("bottleneck", self.bottleneck),
                ("finetune", self.finetune),
                ("scratch", self.scratch),
            )
        }


def measure_capacity(backbone: Backbone, n_classes: int) -> Capacity:
    """Count the parameters of a backbone with its pretrained weights.

    Args:
        backbone: the network.
        n_classes: outputs of the classifier.

    Raises:
        BackboneUnavailableError: if the weights can't be read.
    """
    network = backbone.create(n_classes, pretrained=True)
    n = network.num_stages
    of_stage = [0] * (n + 1)  # the last is the classifier
    for name, parameter in network.model.named_parameters():
        of_stage[network.depth_of(name)] += parameter.numel()
    with torch.no_grad():
        pixels = torch.zeros(1, 3, backbone.image_size, backbone.image_size)
        widths = [read.shape[1] for read in network.eval().features(pixels, range(1, n + 1))]

    def linear(num_features: int) -> int:
        return (num_features + 1) * n_classes

    shorter = [max(1, n - n_removed) for n_removed in range(MAX_REMOVED + 1)]
    return Capacity(
        bottleneck=(linear(widths[-1]), linear(sum(widths))),
        finetune=tuple(sum(of_stage[depth:]) for depth in range(n + 1)),
        scratch=tuple(
            sum(of_stage) if depth == n else sum(of_stage[:depth]) + linear(widths[depth - 1])
            for depth in shorter
        ),
    )


def short_ratio(value: float) -> str:
    """Samples per parameter in two digits, ``4.9``, ``0.000065``: never with an exponent."""
    return np.format_float_positional(value, 2, fractional=False, trim="-")
