"""The same weights at another size of the pictures, or what is wrong with that size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from autotl.backbones.zoo import Backbone, open_backbone, random_backbone
from autotl.errors import BackboneUnavailableError, InputError

TRANSFORMER = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def transformer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = random_backbone(TRANSFORMER, 224).create(2, pretrained=False, seed=9)
    file = tmp_path_factory.mktemp("transformer") / "v.safetensors"
    save_file(source.model.state_dict(), file)
    return file


def test_size_is_all_that_differs() -> None:
    own, larger = open_backbone("embedded"), open_backbone("embedded@96px")
    assert (own.image_size, larger.image_size) == (64, 96)
    assert replace(larger, name="embedded", image_size=64) == own
    network = larger.create(3, pretrained=True).eval()
    x = torch.rand(2, 3, 96, 96)
    assert torch.equal(network(x), own.create(3, pretrained=True).eval()(x))


@pytest.mark.parametrize("size", [32, 33, 100])
def test_convolutions_take_any_size_from_their_stride_on(size: int, weights_file: Path) -> None:
    backbone = open_backbone(f"resnet10t@{weights_file}@{size}px")
    assert backbone.image_size == size
    assert backbone.name == f"resnet10t@{weights_file}@{size}px"


def test_asked_size_counts_more_than_that_of_the_search(weights_file: Path, tmp_path: Path) -> None:
    network = random_backbone("resnet18", 224).create(2, pretrained=False)
    file = tmp_path / "w.safetensors"
    save_file(network.model.state_dict(), file)
    assert open_backbone(f"resnet18@{file}", device_type="cpu").image_size == 112
    assert open_backbone(f"resnet18@{file}@160px", device_type="cpu").image_size == 160


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_transformer_is_built_for_the_size(transformer_file: Path, device_type: str) -> None:
    backbone = open_backbone(f"{TRANSFORMER}@{transformer_file}@48px", device_type=device_type)
    network = backbone.create(2, pretrained=True).eval()
    assert network(torch.zeros(1, 3, 48, 48)).shape == (1, 2)
    built = Backbone.from_json(json.loads(json.dumps(backbone.as_json())))
    saved = built.create(2, pretrained=False)
    saved.load_state_dict(network.state_dict())
    assert torch.equal(saved.eval()(torch.ones(1, 3, 48, 48)), network(torch.ones(1, 3, 48, 48)))


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (0, "0 px is too small for it; choose at least 32 px"),
        (31, "31 px is too small for it; choose at least 32 px"),
        (10**6, "1000000 x 1000000 px exceed the limit of .* choose a smaller size"),
    ],
)
def test_size_out_of_range(size: int, problem: str, weights_file: Path) -> None:
    for name in ("embedded", f"resnet10t@{weights_file}"):
        with pytest.raises(InputError, match=f"{name}@{size}px'.* {problem}"):
            open_backbone(f"{name}@{size}px")


def test_limit_is_that_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96**2)
    assert open_backbone("embedded@96px").image_size == 96
    with pytest.raises(InputError, match="exceed the limit of 9216 pixels"):
        open_backbone("embedded@97px")


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (15, "15 px is too small for it; choose at least 16 px"),
        (100, "patches of 16 px, of which 100 px isn't a multiple; choose 96 or 112 px"),
    ],
)
def test_size_that_a_transformer_cant_take(size: int, problem: str, transformer_file: Path) -> None:
    with pytest.raises(InputError, match=problem):
        open_backbone(f"{TRANSFORMER}@{transformer_file}@{size}px")


def test_network_for_one_size_only(tmp_path: Path) -> None:
    name = "gmixer_12_224"
    file = tmp_path / "w.safetensors"
    save_file(random_backbone(name, 224).create(2, pretrained=False).model.state_dict(), file)
    with pytest.raises(InputError, match=r"can't be used at 96 px: .* for pictures of 224 px"):
        open_backbone(f"{name}@{file}@96px")
    assert open_backbone(f"{name}@{file}@224px").image_size == 224


def test_other_weights_are_told_as_such(weights_file: Path) -> None:
    with pytest.raises(BackboneUnavailableError, match="resnet10t"):
        open_backbone(f"resnet18@{weights_file}@96px")
    with pytest.raises(BackboneUnavailableError, match="doesn't exist"):
        open_backbone("resnet18@/absent.pt@96px")


@pytest.mark.parametrize(
    "name", ["embedded@96", "embedded@/a/b.safetensors", "embedded@96PX", "embedded@96 px"]
)
def test_embedded_takes_no_file(name: str) -> None:
    with pytest.raises(InputError, match=r"its weights come with it; .* written embedded@96px"):
        open_backbone(name)


@pytest.mark.parametrize("name", ["resnet18@96", "resnet18@96PX", "resnet18@96 pixels"])
def test_size_without_its_unit(name: str) -> None:
    with pytest.raises(InputError, match=r"isn't a weights file; .* written resnet18@96px"):
        open_backbone(name)
