"""Networks that are only read: made once, released, and what is known of their activations."""

from __future__ import annotations

import pytest
import torch

from autotl.backbones import zoo
from autotl.backbones.speed import Speed
from autotl.backbones.zoo import Backbone
from autotl.reuse.networks import FrozenNetworks

CPU = torch.device("cpu")


def networks_of(backbone: Backbone, precision: str = "fp32") -> FrozenNetworks:
    return FrozenNetworks({backbone.name: Speed(precision, False, (0.0,), (0.0,))}, CPU)


def test_a_network_is_made_once_until_it_is_released(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    create = zoo.Backbone.create

    def counted(self: Backbone, n_classes: int, *, pretrained: bool, seed: int = 0) -> object:
        made.append(pretrained)
        return create(self, n_classes, pretrained=pretrained, seed=seed)

    monkeypatch.setattr(zoo.Backbone, "create", counted)
    networks = networks_of(backbone)
    whole = networks.whole(backbone)
    assert networks.whole(backbone) is whole
    assert networks.above(backbone, 2) is networks.above(backbone, 2)
    assert not whole.training
    assert not any(parameter.requires_grad for parameter in whole.parameters())
    networks.release(backbone)
    networks.release(backbone)
    assert networks.whole(backbone) is not whole
    assert made == [True, True]


def test_what_lies_above_a_depth_goes_on_from_there(backbone: Backbone) -> None:
    networks = networks_of(backbone)
    x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    upper = networks.above(backbone, 3)
    assert upper is not None
    with torch.no_grad():
        between = networks.whole(backbone).activation(x, 3)
        assert torch.equal(upper(between), networks.whole(backbone)(x))


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("bf16", 2)])
def test_bytes_are_those_of_a_pictures_activation(
    backbone: Backbone, precision: str, size: int
) -> None:
    networks = networks_of(backbone, precision)
    x = torch.zeros(1, 3, 32, 32)
    for depth in (1, 3, backbone.num_stages):
        with torch.no_grad():
            n_values = networks.whole(backbone).activation(x, depth).numel()
        assert networks.activation_bytes(backbone, depth) == size * n_values


def test_widths_are_those_of_pooled_features(backbone: Backbone) -> None:
    networks = networks_of(backbone)
    depths = range(1, backbone.num_stages + 1)
    for max_width in (0, 64):
        with torch.no_grad():
            read = networks.whole(backbone).features(torch.zeros(2, 3, 32, 32), depths, max_width)
        assert networks.widths(backbone, max_width) == [values.shape[1] for values in read]
