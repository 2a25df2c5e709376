"""A network's stages, the same for every family: read, frozen and cut at the same depths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autotl.backbones.stages import StagedNetwork
from autotl.errors import BackboneUnavailableError

_RESNET = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
_BLOCKS = [(f"blocks.{i}",) for i in range(12)]

ARCHITECTURES: dict[str, tuple[dict[str, Any], list[tuple[str, ...]], list[str]]] = {
    "resnet10t": (
        {"channels": (8, 16, 24, 32)},
        _RESNET,
        ["maxpool", "layer1", "layer2", "layer3"],
    ),
    "resnet18": ({}, _RESNET, ["maxpool", "layer1", "layer2", "layer3"]),
    "mobilenetv3_small_100": (
        {},
        [("conv_stem", "bn1"), *_BLOCKS[:6]],
        ["bn1", *(f"blocks.{i}" for i in range(5))],
    ),
    "mobilenetv2_100": (
        {},
        [("conv_stem", "bn1"), *_BLOCKS[:6], ("blocks.6", "conv_head", "bn2")],
        ["bn1", *(f"blocks.{i}" for i in range(6))],
    ),
    "convnext_atto": (
        {},
        [("stem",), *((f"stages.{i}",) for i in range(4))],
        ["stem", "stages.0", "stages.1", "stages.2"],
    ),
    "vit_tiny_patch16_224": (
        {"img_size": 64},
        [("patch_embed", "cls_token", "pos_embed"), *_BLOCKS[:11], ("blocks.11", "norm")],
        ["norm_pre", *(f"blocks.{i}" for i in range(11))],
    ),
}
"""By name: options, the parts of each stage, and the module whose output each depth but the last
is."""

WITH_BATCH_NORM = ["resnet10t", "mobilenetv3_small_100", "mobilenetv2_100"]

every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def build(name: str, **options: Any) -> StagedNetwork:
    """A network of random weights for three classes, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=3, **ARCHITECTURES[name][0], **options)
    return StagedNetwork(model).eval()


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def stage_of(name: str, parameter: str) -> int:
    """The stage that the table above puts a parameter in; their number for the head."""
    stages = ARCHITECTURES[name][1]
    for index, parts in enumerate(stages):
        if any(parameter == part or parameter.startswith(f"{part}.") for part in parts):
            return index
    return len(stages)


@every_architecture
def test_stages_are_in_order_and_hold_their_parameters(name: str) -> None:
    network = build(name)
    stages = ARCHITECTURES[name][1]
    assert network.num_stages == len(stages)
    assert network.stage_names == tuple(parts[0] for parts in stages)
    for parameter, _ in network.model.named_parameters():
        assert network.depth_of(parameter) == stage_of(name, parameter), parameter


@every_architecture
def test_features_are_the_pooled_outputs_of_the_stages(name: str) -> None:
    network = build(name)
    model, outputs = network.model, ARCHITECTURES[name][2]
    seen: dict[str, Tensor] = {}

    def keep(key: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            seen[key] = output

        return hook

    handles = [model.get_submodule(o).register_forward_hook(keep(o)) for o in outputs]
    read: list[Tensor] = []
    handles.append(
        network.classifier.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    )
    with torch.inference_mode():
        network(images())
        for handle in handles:
            handle.remove()
        found = network.features(images(), range(1, network.num_stages + 1))
    for output, features in zip(outputs, found, strict=False):
        tokens = seen[output].ndim == 3
        expected = seen[output][:, 1:].mean(1) if tokens else seen[output].mean((2, 3))
        torch.testing.assert_close(features, expected)
    torch.testing.assert_close(found[-1], read[0])
    assert len(found) == network.num_stages


@every_architecture
def test_maps_are_averaged_over_cells_as_far_as_the_width_allows(name: str) -> None:
    network = build(name)
    maps: dict[int, Tensor] = {}
    with torch.inference_mode(), network.watched(maps.__setitem__):
        network.model.forward_features(images())  # type: ignore[operator]
    depths = range(1, network.num_stages + 1)
    with torch.inference_mode():
        means = network.features(images(), depths)
        found = network.features(images(), depths, max_width=300)
        assert all(
            torch.equal(one, mean)
            for one, mean in zip(network.features(images(), depths, 1), means, strict=True)
        )
    assert torch.equal(found[-1], means[-1])
    widths = set()
    for depth, x in maps.items():
        if x.ndim == 3:  # a class token, then 4 x 4 patches, row by row
            x = x[:, 1:].transpose(1, 2).reshape(2, -1, 4, 4)
        channels, side = x.shape[1], x.shape[2]
        grid = next(g for g in (4, 2, 1) if g <= side and (g == 1 or channels * g * g <= 300))
        cells = x.unflatten(2, (grid, -1)).unflatten(4, (grid, -1)).mean((3, 5))
        torch.testing.assert_close(found[depth - 1], cells.flatten(1))
        widths.add(grid)
    assert len(widths) > 1 or name == "vit_tiny_patch16_224"


def test_cells_of_maps_with_channels_last() -> None:
    name = "swin_tiny_patch4_window7_224"
    model = timm.create_model(name, num_classes=3, img_size=64, window_size=2).eval()
    network = StagedNetwork(model)
    maps: dict[int, Tensor] = {}
    with torch.inference_mode(), network.watched(maps.__setitem__):
        found = network.features(images(), [1], max_width=400)[0]
    x = maps[1].permute(0, 3, 1, 2)
    assert x.shape[1:] == (96, 16, 16)
    halves = x.unflatten(2, (2, -1)).unflatten(4, (2, -1)).mean((3, 5))
    torch.testing.assert_close(found, halves.flatten(1))


@every_architecture
def test_some_depths_are_read_as_all_of_them_are(name: str) -> None:
    network = build(name)
    with torch.inference_mode():
        every = network.features(images(), range(1, network.num_stages + 1))
        for depths in ([2], [1, network.num_stages], [2, 3]):
            for depth, found in zip(depths, network.features(images(), depths), strict=True):
                assert torch.equal(found, every[depth - 1])


def test_nothing_above_the_deepest_wanted_depth_is_run() -> None:
    network = build("resnet10t")
    ran: list[str] = []
    for stage in network.stage_names:
        network.model.get_submodule(stage).register_forward_hook(
            lambda _module, _inputs, _output, stage=stage: ran.append(stage)
        )
    network.features(images(), [1, 2])
    assert ran == ["conv1", "layer1"]


def test_reading_features_leaves_no_hook_behind() -> None:
    network = build("resnet10t")
    before = network(images())
    network.features(images(), [1, 3])
    assert torch.equal(network(images()), before)
    with pytest.raises(RuntimeError):
        network.features(torch.zeros(1, 2, 64, 64), [1])  # two channels: fails on the way
    assert not any(module._forward_pre_hooks for module in network.modules())


@every_architecture
def test_freeze_stops_exactly_the_gradients_below_the_depth(name: str) -> None:
    network = build(name)
    for depth in (0, 1, 2, network.num_stages, 1, 0):
        network.freeze(depth)
        for parameter, value in network.model.named_parameters():
            assert value.requires_grad == (stage_of(name, parameter) >= depth), (depth, parameter)


@pytest.mark.parametrize("name", ["coat_tiny", "qwen3_vit_88m"])
def test_freeze_is_exact_where_stages_are_tangled(name: str) -> None:
    with torch.device("meta"):
        network = StagedNetwork(timm.create_model(name, num_classes=3))
    network.freeze(2)
    for parameter, value in network.model.named_parameters():
        assert value.requires_grad == (network.depth_of(parameter) >= 2), parameter


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
@pytest.mark.parametrize("depth", [0, 2])
def test_running_statistics_move_in_trained_stages_only(name: str, depth: int) -> None:
    network = build(name).freeze(depth).train()
    layers = {p: m for p, m in network.model.named_modules() if isinstance(m, _BatchNorm)}
    before = {path: layer.running_mean.clone() for path, layer in layers.items()}
    counted = {path: int(layer.num_batches_tracked) for path, layer in layers.items()}
    network(images(4)).sum().backward()
    for path, layer in layers.items():
        frozen = stage_of(name, f"{path}.weight") < depth
        assert torch.equal(layer.running_mean, before[path]) == frozen, path
        assert (int(layer.num_batches_tracked) == counted[path]) == frozen, path


def test_later_mode_changes_respect_the_freezing() -> None:
    network = build("resnet10t").freeze(2)
    assert not any(module.training for module in network.modules())
    network.train()
    assert not network.model.get_submodule("bn1").training
    assert not network.model.get_submodule("layer1.0").training
    assert network.model.get_submodule("layer2.0.bn1").training
    network.freeze(0)
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {"drop_path_rate": 0.7, "zero_init_last": False}),
        ("convnext_atto", {"drop_path_rate": 0.7}),
        ("vit_tiny_patch16_224", {"drop_path_rate": 0.7, "proj_drop_rate": 0.5}),
    ],
)
def test_frozen_stages_drop_nothing(name: str, options: dict[str, Any]) -> None:
    network = build(name, **options)
    depths = [network.num_stages]
    trained = network.freeze(0).train().features(images(8), depths)[0]
    assert not torch.equal(trained, network.features(images(8), depths)[0])
    network.freeze(network.num_stages)
    frozen = network.features(images(8), depths)[0]
    assert torch.equal(frozen, network.features(images(8), depths)[0])
    assert torch.equal(frozen, network.eval().features(images(8), depths)[0])


@every_architecture
def test_cut_network_has_the_same_features_and_no_more_parameters(name: str) -> None:
    whole = build(name)
    for depth in (1, whole.num_stages // 2, whole.num_stages - 1):
        cut = build(name).drop_above(depth)
        with torch.inference_mode():
            for expected, found in zip(
                whole.features(images(), range(1, depth + 1)),
                cut.features(images(), range(1, depth + 1)),
                strict=True,
            ):
                assert torch.equal(found, expected)
        kept = {p for p, _ in whole.model.named_parameters() if stage_of(name, p) < depth}
        assert {p for p, _ in cut.model.named_parameters()} == kept


def test_cut_at_the_end_is_whole() -> None:
    network = build("resnet10t")
    before = network(images())
    assert torch.equal(network.drop_above(network.num_stages)(images()), before)


def test_cut_network_is_frozen_and_trained_like_the_whole() -> None:
    network = build("resnet10t").drop_above(3).freeze(2).train()
    assert not network.model.get_submodule("layer1.0.bn1").training
    assert network.model.get_submodule("layer2.0.bn1").training
    trained = {p for p, value in network.model.named_parameters() if value.requires_grad}
    assert trained == {p for p, _ in network.model.named_parameters() if p.startswith("layer2")}


@every_architecture
def test_head_and_backbone_part_the_trainable_parameters(name: str) -> None:
    network = build(name)
    for depth in (0, 2, network.num_stages):
        network.freeze(depth)
        head = {id(p) for p in network.head_parameters()}
        backbone = {id(p) for p in network.backbone_parameters()}
        trainable = {id(p) for p in network.parameters() if p.requires_grad}
        assert head | backbone == trainable
        assert not head & backbone
        assert {id(p) for p in network.classifier.parameters()} <= head
        assert bool(backbone) == (depth < network.num_stages)


@every_architecture
def test_channels_are_those_of_the_features_and_modes_stay(name: str) -> None:
    network = build(name).freeze(1).train()
    modes = [module.training for module in network.modules()]
    network_features = build(name).features(images(), [2, network.num_stages])
    assert network.num_channels(2, 64) == network_features[0].shape[1]
    assert network.num_channels(network.num_stages, 64) == network_features[1].shape[1]
    assert [module.training for module in network.modules()] == modes


class NoGroups(nn.Module):
    """A classifier that timm didn't make."""


def test_network_without_groups_is_refused() -> None:
    with pytest.raises(BackboneUnavailableError, match="NoGroups names no layer groups"):
        StagedNetwork(NoGroups())


def test_network_with_fine_groups_only_is_refused() -> None:
    with torch.device("meta"):
        model = timm.create_model("rdnet_tiny", num_classes=3)
    with pytest.raises(BackboneUnavailableError, match="choose another architecture"):
        StagedNetwork(model)


def test_freezing_from_both_ends_leaves_what_lies_between() -> None:
    network = build("resnet10t").freeze(1, 3).train()
    for name, value in network.model.named_parameters():
        stage = network.depth_of(name)
        assert value.requires_grad == (stage in (1, 2, network.num_stages)), name
    layers = {p: m for p, m in network.model.named_modules() if isinstance(m, _BatchNorm)}
    before = {path: layer.running_mean.clone() for path, layer in layers.items()}
    network(images(4)).sum().backward()
    for path, layer in layers.items():
        moves = stage_of("resnet10t", f"{path}.weight") in (1, 2)
        assert torch.equal(layer.running_mean, before[path]) != moves, path
    network.freeze(1)
    assert all(p.requires_grad for p in network.stage_parameters(4))
