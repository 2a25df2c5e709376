"""Trained-looking models of every kind: their weights are random, their functions are not alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autotl.backbones.zoo import Backbone
from autotl.strategies.fitted import FeatureClassifier, FittedModel

KINDS = ("whole", "several layers", "an early layer", "the last layer")


@pytest.fixture
def make_model(backbone: Backbone) -> Callable[[str], FittedModel]:
    """A model of one of :data:`KINDS`, with four classes and a temperature of 1.7."""

    def make(kind: str) -> FittedModel:
        staged = backbone.create(4, pretrained=True)
        last = backbone.num_stages
        depths = {"several layers": (last - 2, last), "an early layer": (2,)}.get(kind, (last,))
        generator = torch.Generator().manual_seed(1)
        if kind == "whole":
            with torch.no_grad():
                for parameter in staged.classifier.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
            return FittedModel(backbone, staged.eval(), 4, 9, temperature=1.7)
        size = backbone.image_size
        n_inputs = sum(staged.num_channels(depth, size) for depth in depths)
        network = FeatureClassifier(staged, depths, n_inputs, 4)
        with torch.no_grad():
            network.mean.copy_(torch.rand(n_inputs, generator=generator))
            network.scale.copy_(0.5 + torch.rand(n_inputs, generator=generator))
            network.linear.weight.copy_(torch.randn((4, n_inputs), generator=generator))
        return FittedModel(backbone, network.eval(), 4, 9, temperature=1.7)

    return make
