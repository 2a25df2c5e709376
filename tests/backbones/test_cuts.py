"""A network cut at a depth computes what the whole one does, on the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from autotl.backbones.cuts import cut, deepest_cut
from autotl.backbones.stages import StagedNetwork

_SWIN = {
    "img_size": 64,
    "depths": (1, 1, 1, 1),
    "embed_dim": 24,
    "num_heads": (1, 2, 2, 4),
    "window_size": 2,
}

_RESNET = {"channels": (8, 16, 24, 32)}
_VIT = {"img_size": 32, "depth": 3, "embed_dim": 48}

NETWORKS: dict[str, tuple[int, dict[str, Any], str]] = {
    "resnet10t": (32, _RESNET, "yyyyy"),
    "resnet10t dropping": (32, _RESNET | {"drop_rate": 0.5, "drop_path_rate": 0.3}, "yyyy-"),
    "mobilenetv2_035": (32, {}, "yyyyyyyy"),
    "mobilenetv3_small_050": (32, {}, "yyyyyyy"),
    "convnext_atto": (32, {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, "yyyyy"),
    "vit_tiny_patch16_224": (32, _VIT, "yyyy"),
    "vit_tiny_patch16_224 dropping": (32, _VIT | {"drop_rate": 0.5, "drop_path_rate": 0.3}, "yyy-"),
    "swin_tiny_patch4_window7_224": (64, _SWIN, "yyyy-"),
    "swinv2_tiny_window8_256": (64, _SWIN, "yyyy-"),
    "densenet121": (32, {"block_config": (1, 1, 1, 1), "growth_rate": 8}, "yyyy-"),
    "hrnet_w18_small": (32, {}, "y----"),
}
"""By timm's name and a word: side of the pictures, options, and whether it can be cut at the depths
from 1 on."""

HEAD_WITH_LAYERS = ("convnext_atto", "mobilenetv3_small_050")
BIG = ("hrnet_w18_small",)
"""Takes seconds to build."""

DEPTHS = [
    (name, depth)
    for name, (_, _, answers) in NETWORKS.items()
    for depth, answer in enumerate(answers, 1)
    if answer == "y"
]

every_network = pytest.mark.parametrize("name", NETWORKS)
every_cut = pytest.mark.parametrize(("name", "depth"), DEPTHS)


def create(name: str) -> nn.Module:
    model: nn.Module = timm.create_model(name.split()[0], num_classes=3, **NETWORKS[name][1])
    return model


@cache
def built(name: str) -> tuple[StagedNetwork, dict[str, Tensor]]:
    """A network of random weights, with BatchNorm statistics of its own, and these weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create(name)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.get_buffer("running_mean").normal_(0, 0.1)
                module.get_buffer("running_var").uniform_(0.5, 1.5)
    network = StagedNetwork(model)
    return network, {key: value.clone() for key, value in network.state_dict().items()}


def build(name: str) -> StagedNetwork:
    """The network as it was built, nothing frozen, in eval mode."""
    network, state = built(name)
    network.load_state_dict(state)
    network.zero_grad()
    return network.freeze(0).eval()


def images(name: str, n: int = 4) -> Tensor:
    side = NETWORKS[name][0]
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def cut_at(network: StagedNetwork, name: str, depth: int) -> StagedNetwork:
    upper = cut(network, depth, NETWORKS[name][0])
    assert upper is not None
    return upper


def activation(network: StagedNetwork, x: Tensor, depth: int) -> Tensor:
    """What a store would hold: computed in eval mode, without gradients."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        found = network.activation(x, depth)
    network.train(was_training)
    return found


def step(network: nn.Module, forward: Callable[[], Tensor]) -> Tensor:
    """Logits of a forward and a backward pass, whatever is random drawn alike."""
    network.zero_grad(set_to_none=True)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        logits = forward()
    logits.square().sum().backward()
    return logits.detach()


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """All gradients; a parameter without one is left out, as is one that is 0 throughout."""
    return {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@every_network
def test_depths_that_can_be_cut(name: str) -> None:
    network, (side, _, answers) = build(name), NETWORKS[name]
    assert network.num_stages == len(answers)
    found = [cut(network, depth, side) for depth in range(1, network.num_stages + 1)]
    assert "".join("-" if upper is None else "y" for upper in found) == answers


@every_cut
@torch.no_grad()
def test_logits_are_those_of_the_whole(name: str, depth: int) -> None:
    network, x = build(name), images(name)
    upper = cut_at(network, name, depth)
    assert upper.start == depth
    found = upper(activation(network, x, depth))
    assert torch.equal(found, network(x))
    assert found.std() > 0


@every_cut
def test_training_is_that_of_the_whole(name: str, depth: int) -> None:
    network, x = build(name).freeze(depth).train(), images(name)
    before = statistics(network)
    expected = step(network, lambda: network(x))
    expected_gradients, expected_statistics = gradients(network), statistics(network)

    network = build(name).freeze(depth).train()
    stored = activation(network, x, depth)
    upper = cut_at(network, name, depth).train()
    assert torch.equal(step(network, lambda: upper(stored)), expected)
    assert same(gradients(network), expected_gradients)
    assert expected_gradients
    assert same(statistics(network), expected_statistics)
    frozen = [key for key in before if torch.equal(before[key], expected_statistics[key])]
    for key in frozen:
        assert torch.equal(dict(network.named_buffers())[key], before[key])


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv2_035", "densenet121"])
def test_statistics_above_the_cut_move_and_those_below_do_not(name: str) -> None:
    network = build(name).freeze(2).train()
    stored = activation(network, images(name), 2)
    upper = cut_at(network, name, 2).train()
    before = statistics(network)
    step(network, lambda: upper(stored))
    moved = {
        network.depth_of(key.removeprefix("model.").replace("running_mean", "weight"))
        for key, value in statistics(network).items()
        if key.endswith("running_mean") and not torch.equal(value, before[key])
    }
    assert moved
    assert min(moved) == 2


@every_cut
def test_parameters_are_shared(name: str, depth: int) -> None:
    network = build(name).freeze(depth).train()
    stored = activation(network, images(name), depth)
    upper = cut_at(network, name, depth).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.Rprop([p for p in network.parameters() if p.requires_grad], lr=0.01)
    step(network, lambda: upper(stored))
    trained = gradients(network)
    optimizer.step()

    after = network.state_dict()
    assert trained
    for key, value in network.named_parameters():
        assert torch.equal(value, after[key])
        assert torch.equal(value, before[key]) == (key not in trained), key
    network.eval()
    upper.eval()
    with torch.no_grad():
        assert torch.equal(upper(stored), network(images(name)))
    again = StagedNetwork(create(name))
    again.load_state_dict(after)
    with torch.no_grad():
        assert torch.equal(again.eval()(images(name)), network(images(name)))


@every_cut
def test_activations_go_on_from_the_cut(name: str, depth: int) -> None:
    network, x = build(name), images(name)
    upper = cut_at(network, name, depth)
    stored = activation(network, x, depth)
    assert torch.equal(activation(upper, stored, depth), stored)
    for higher in range(depth + 1, network.num_stages + 1):
        if (name, higher) in DEPTHS:
            expected = activation(network, x, higher)
            assert torch.equal(activation(upper, stored, higher), expected), higher
    with torch.no_grad():  # and it still gives logits
        assert torch.equal(upper(stored), network(x))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in BIG])
@pytest.mark.parametrize("frozen", [0, 2])
def test_whole_network_is_left_as_it_was(name: str, frozen: int) -> None:
    network = build(name).freeze(frozen).train()
    x = images(name)

    def hooks() -> list[int]:
        return [
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in network.modules()
        ]

    modules = dict(network.named_modules())
    modes = [module.training for module in network.modules()]
    trained = [parameter.requires_grad for parameter in network.parameters()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    before = hooks()
    uppers = [cut(network, d, NETWORKS[name][0]) for d in range(1, network.num_stages + 1)]
    assert any(uppers)
    assert same(dict(network.state_dict()), state)
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == trained
    assert all(module is modules[path] for path, module in network.named_modules())
    assert hooks() == before
    with torch.no_grad():
        for depth, upper in enumerate(uppers, 1):
            if upper is not None:
                upper.eval()
                upper(activation(network, x, depth))
    assert hooks() == before
    network.load_state_dict(state)
    with torch.no_grad():
        found = network.eval()(x)
        assert torch.equal(found, build(name)(x))


@pytest.mark.parametrize("name", HEAD_WITH_LAYERS)
def test_head_with_more_layers_than_the_classifier_is_trained_whole(name: str) -> None:
    network = build(name)
    depth = network.num_stages
    network.freeze(depth).train()
    upper = cut_at(network, name, depth)
    own = {id(parameter) for parameter in upper.parameters() if parameter.requires_grad}
    assert own == {id(parameter) for parameter in network.head_parameters()}
    assert len(own) > len(list(network.classifier.parameters()))


def test_other_pictures_and_batches_than_it_was_checked_with() -> None:
    for name in ("resnet10t", "vit_tiny_patch16_224"):
        network = build(name)
        upper = cut_at(network, name, 2)
        for n in (2, 5, 3):
            x = images(name, n) * 3 + 1
            with torch.no_grad():
                assert torch.equal(upper(activation(network, x, 2)), network(x))


class Doubling(nn.Module):
    """Two layers, and between them something that is no module's call."""

    default_cfg = {"classifier": "fc"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 3)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {"stem": r"^stem", "blocks": r"^block"}

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        x = 2.0 * self.stem(x) + 1.0
        found: Tensor = self.block(x)
        return found

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean(dim=(2, 3))
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


@torch.no_grad()
def test_work_that_is_no_module_s_is_not_done_twice() -> None:
    """Leaving the stem out isn't enough here, and only the comparison of the logits tells it."""
    network, x = StagedNetwork(Doubling()).eval(), torch.randn(4, 3, 8, 8)
    assert network.num_stages == 2
    for depth in (1, 2):
        upper = cut(network, depth, 8)
        assert upper is not None
        assert torch.equal(upper(network.activation(x, depth)), network(x))


def test_deepest_cut_is_at_the_depth_or_below() -> None:
    def start_of(name: str, depth: int) -> int:
        upper = deepest_cut(build(name), depth, NETWORKS[name][0])
        assert upper is not None
        return upper.start

    assert start_of("resnet10t", 4) == 4
    assert start_of("densenet121", 5) == 4
    assert start_of("hrnet_w18_small", 4) == 1
    assert deepest_cut(build("resnet10t"), 0, 32) is None


def test_part_between_the_cut_and_the_frozen_depth_stays_frozen() -> None:
    network = build("densenet121").freeze(5).train()
    x = images("densenet121")
    upper = deepest_cut(network, 5, 32)
    assert upper is not None
    assert upper.start == 4
    stored, before = activation(network, x, 4), statistics(network)
    upper.train()
    step(network, lambda: upper(stored))
    found = statistics(network)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    for key, value in before.items():
        weight = key.rpartition(".")[0] + ".weight"
        if weight not in trained:
            assert torch.equal(found[key], value), key
    assert gradients(network).keys() <= trained
