"""Backbones by name: their weights, preprocessing and fresh classifiers, or a clear refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from autotl.backbones.weights import read_header
from autotl.backbones.zoo import EMBEDDED_FILE, Backbone, open_backbone, random_backbone
from autotl.errors import BackboneUnavailableError, InputError

SHARED = Path(__file__).parents[3] / "shared" / "weights"
CORAL = "mobilenetv2_100.coral_tf2_in1k.fp16.safetensors"
TORCHVISION = "mobilenetv2_100.torchvision_qat_in1k.fp16.safetensors"


def shared_weights(name: str) -> Path:
    """A file of ImageNet weights beside the checkout; the test is skipped without it."""
    if not (SHARED / name).is_file():
        pytest.skip(f"no ImageNet weights at {SHARED / name}")
    return SHARED / name


def relabelled(weights_file: Path, folder: Path, **header: str) -> Path:
    """The tiny weights under another header."""
    file = folder / "other.safetensors"
    save_file(load_file(weights_file), file, header)
    return file


def test_embedded_opens_with_its_preprocessing() -> None:
    backbone, header = open_backbone("embedded"), read_header(EMBEDDED_FILE)
    assert backbone.architecture == header["timm_name"]
    assert backbone.architecture_options == json.loads(header["timm_kwargs"])
    assert backbone.image_size == int(header["image_size"])
    assert list(backbone.mean) == json.loads(header["mean"])
    assert list(backbone.std) == json.loads(header["std"])
    assert header["licence"]
    assert header["origin"]
    assert EMBEDDED_FILE.stat().st_size <= 6_000_000
    network = backbone.create(4, pretrained=True).eval()
    assert network(torch.zeros(1, 3, backbone.image_size, backbone.image_size)).shape == (1, 4)


def test_embedded_weights_are_those_of_the_file() -> None:
    network = open_backbone("embedded").create(4, pretrained=True)
    stored = load_file(EMBEDDED_FILE)
    for name, value in network.model.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, stored[name].to(value.dtype)), name


def test_file_gives_exactly_its_weights_and_its_header(
    backbone: Backbone, weights_file: Path
) -> None:
    stored = load_file(weights_file)
    loaded = backbone.create(3, pretrained=True).model.state_dict()
    assert loaded.keys() == stored.keys()
    for name in stored.keys() - {"fc.weight", "fc.bias"}:
        assert torch.equal(loaded[name], stored[name]), name
    assert backbone.image_size == 32
    assert backbone.std == (0.25, 0.25, 0.25)
    assert (backbone.num_stages, backbone.num_features) == (5, 32)
    assert backbone.n_parameters == sum(
        p.numel()
        for n, p in backbone.create(3, pretrained=True).model.named_parameters()
        if not n.startswith("fc.")
    )


def test_classifier_is_fresh_even_for_as_many_classes(
    backbone: Backbone, weights_file: Path
) -> None:
    stored = load_file(weights_file)
    network = backbone.create(len(stored["fc.weight"]), pretrained=True)
    assert network.classifier.weight.shape == stored["fc.weight"].shape
    assert not torch.equal(network.classifier.weight, stored["fc.weight"])


@pytest.mark.parametrize("pretrained", [False, True])
def test_what_is_random_comes_from_the_seed(backbone: Backbone, pretrained: bool) -> None:
    first, same, other = (
        backbone.create(3, pretrained=pretrained, seed=seed) for seed in (1, 1, 2)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[name]), name
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    convolution = "model.conv1.0.weight"
    equal = torch.equal(first.state_dict()[convolution], other.state_dict()[convolution])
    assert equal == pretrained


def test_opening_and_creating_leave_the_random_state_alone(
    weights_file: Path, random_state: Callable[[], object]
) -> None:
    before = random_state()
    open_backbone(f"resnet10t@{weights_file}").create(3, pretrained=False, seed=3)
    assert random_state() == before


def test_hash_tells_weights_apart(backbone: Backbone, weights_file: Path, tmp_path: Path) -> None:
    state = load_file(weights_file)
    state["conv1.0.weight"][0, 0, 0, 0] += 1
    header = {"timm_kwargs": json.dumps(backbone.architecture_options)}
    save_file(state, tmp_path / "w.safetensors", header)
    changed = open_backbone(f"resnet10t@{tmp_path / 'w.safetensors'}")
    assert changed.weights_hash != backbone.weights_hash
    assert open_backbone(f"resnet10t@{weights_file}").weights_hash == backbone.weights_hash


def test_normalise_is_the_preprocessing_of_the_weights() -> None:
    backbone = replace(
        random_backbone("resnet10t", 32), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125)
    )
    pixels = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    expected = (pixels / 255 - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.25, 0.125])
    found = backbone.normalise(pixels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.permute(0, 3, 1, 2))
    torch.testing.assert_close(backbone.normalise(pixels.float()), found)


def test_home_is_expanded(weights_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(weights_file.parent))
    assert open_backbone("resnet10t@~/tiny.safetensors").num_stages == 5


def test_plain_state_dict_without_header(tmp_path: Path) -> None:
    source = random_backbone("resnet10t", 32).create(2, pretrained=False, seed=9)
    torch.save({"state_dict": source.model.state_dict()}, tmp_path / "w.pth")
    backbone = open_backbone(f"resnet10t@{tmp_path / 'w.pth'}")
    assert backbone.image_size == 112  # a CPU's resolution for a network of larger pictures
    assert open_backbone(f"resnet10t@{tmp_path / 'w.pth'}", device_type="cuda").image_size == 176
    loaded = backbone.create(2, pretrained=True).model.state_dict()
    for name, value in source.model.state_dict().items():
        assert name.startswith("fc.") or torch.equal(loaded[name], value)


def test_transformer_is_resized_to_its_search_resolution(tmp_path: Path) -> None:
    source = random_backbone("vit_tiny_patch16_224", 224).create(2, pretrained=False, seed=9)
    save_file(source.model.state_dict(), tmp_path / "v.safetensors")
    backbone = open_backbone(f"vit_tiny_patch16_224@{tmp_path / 'v.safetensors'}")
    network = backbone.create(2, pretrained=True).eval()
    assert backbone.image_size == 112
    assert network(torch.zeros(1, 3, 112, 112)).shape == (1, 2)
    block = "blocks.3.attn.qkv.weight"
    assert torch.equal(network.model.state_dict()[block], source.model.state_dict()[block])


@pytest.mark.parametrize(
    ("name", "nearest"), [("resnet_18", "resnet18"), ("embeded", "embedded"), ("vit_tny", "vit_")]
)
def test_unknown_name_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"unknown backbone '{name}'; did you mean .*{nearest}"):
        open_backbone(name)


def test_unknown_name_with_a_file(weights_file: Path) -> None:
    with pytest.raises(InputError, match="unknown backbone 'resnet_10t'"):
        open_backbone(f"resnet_10t@{weights_file}")


def test_random_backbone_refuses_nonsense() -> None:
    with pytest.raises(InputError, match="unknown backbone 'resnet_10t'"):
        random_backbone("resnet_10t", 32)
    with pytest.raises(InputError, match="at least 8 pixels, but got 4"):
        random_backbone("resnet10t", 4)


def test_random_backbone_has_no_pretrained_weights() -> None:
    backbone = random_backbone("resnet10t", 32)
    with pytest.raises(BackboneUnavailableError, match="no pretrained weights"):
        backbone.create(2, pretrained=True)


@pytest.mark.parametrize("file", ["absent.safetensors", ""])
def test_missing_file(file: str, tmp_path: Path) -> None:
    with pytest.raises(BackboneUnavailableError, match="doesn't exist"):
        open_backbone(f"resnet18@{tmp_path / file}")


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_truncated_file(weights_file: Path, tmp_path: Path, share: float) -> None:
    content = weights_file.read_bytes()
    (tmp_path / "w.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BackboneUnavailableError, match="can't be read as weights"):
        open_backbone(f"resnet10t@{tmp_path / 'w.safetensors'}")


def test_header_of_another_architecture(weights_file: Path) -> None:
    with pytest.raises(BackboneUnavailableError, match="weights of 'resnet10t', not of 'resnet18'"):
        open_backbone(f"resnet18@{weights_file}")


@pytest.mark.parametrize(
    ("held", "asked"),
    [("resnet18", "resnet10t"), ("resnet18", "resnet34"), ("resnet34", "resnet18")],
)
def test_bare_weights_of_another_architecture(held: str, asked: str, tmp_path: Path) -> None:
    save_file(
        random_backbone(held, 32).create(2, pretrained=False, seed=9).model.state_dict(),
        tmp_path / "w.safetensors",
    )
    with pytest.raises(BackboneUnavailableError):
        open_backbone(f"{asked}@{tmp_path / 'w.safetensors'}")


def test_weights_that_fit_nowhere(tmp_path: Path) -> None:
    save_file({"foo.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(BackboneUnavailableError, match="another architecture than 'resnet10t'"):
        open_backbone(f"resnet10t@{tmp_path / 'w.safetensors'}")


@pytest.mark.parametrize(
    "header",
    [
        {"timm_kwargs": "{"},
        {"timm_kwargs": "[1]"},
        {"timm_kwargs": '{"nonsense": 1}'},
        {"mean": "0.5"},
        {"mean": "(0.5,)"},
        {"std": "__import__('os').getcwd()"},
        {"image_size": "large"},
    ],
    ids=str,
)
def test_unusable_header(header: dict[str, str], weights_file: Path, tmp_path: Path) -> None:
    file = relabelled(weights_file, tmp_path, **header)
    with pytest.raises(BackboneUnavailableError, match=r"other\.safetensors"):
        open_backbone(f"resnet10t@{file}")


def test_padding_of_the_training_is_kept(tmp_path: Path) -> None:
    network = random_backbone("mobilenetv2_035", 32).create(2, pretrained=False, seed=9)
    found = []
    for padding in ("same", "default (symmetric)"):
        save_file(
            network.model.state_dict(), tmp_path / "w.safetensors", {"trained_padding": padding}
        )
        backbone = open_backbone(f"mobilenetv2_035@{tmp_path / 'w.safetensors'}")
        loaded = backbone.create(2, pretrained=True).eval()
        found.append(loaded.features(torch.ones(1, 3, 32, 32), [1])[0])
        assert (backbone.architecture_options == {"pad_type": "same"}) == (padding == "same")
    assert not torch.allclose(found[0], found[1])


def test_hub_name_without_a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneUnavailableError, match="hub can't be reached; give a file"):
        open_backbone("resnet18.a1_in1k")


def test_saved_description_builds_the_same_network(backbone: Backbone) -> None:
    built = Backbone.from_json(json.loads(json.dumps(backbone.as_json())))
    assert (built.mean, built.std, built.image_size) == (
        backbone.mean,
        backbone.std,
        backbone.image_size,
    )
    assert built.weights_file is None
    found = built.create(3, pretrained=False, seed=1).state_dict()
    for name, value in backbone.create(3, pretrained=False, seed=1).state_dict().items():
        assert torch.equal(found[name], value)


@pytest.mark.parametrize(
    ("file", "padded", "mean"),
    [(CORAL, True, (0.485, 0.456, 0.406)), (TORCHVISION, False, (0.485, 0.456, 0.406))],
)
def test_imagenet_weights(file: str, padded: bool, mean: tuple[float, float, float]) -> None:
    path = shared_weights(file)
    backbone = open_backbone(f"mobilenetv2_100@{path}")
    assert (backbone.architecture_options.get("pad_type") == "same") == padded
    assert backbone.mean == mean
    assert backbone.std == (0.229, 0.224, 0.225)
    stored = load_file(path)
    loaded = backbone.create(2, pretrained=True).model.state_dict()
    for name in ("conv_stem.weight", "blocks.6.0.bn3.running_var", "conv_head.weight"):
        assert torch.equal(loaded[name], stored[name].float())


def test_imagenet_weights_of_other_statistics() -> None:
    path = shared_weights("mobilenetv1_100.coral_in1k.fp16.safetensors")
    backbone = open_backbone(f"mobilenetv1_100@{path}")
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert backbone.architecture_options == {"pad_type": "same"}
    assert backbone.image_size == 112
