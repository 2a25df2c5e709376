"""A network finds its own source domain near, and others farther."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn.modules.batchnorm import _BatchNorm

from autotl.analysis import similarity
from autotl.analysis.similarity import DomainSimilarity, measure_similarity
from autotl.backbones.zoo import Backbone, open_backbone, random_backbone
from autotl.reuse.pixels import PixelView

CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]


def save_as(network: torch.nn.Module, backbone: Backbone, file: Path) -> Backbone:
    header = {
        "timm_kwargs": json.dumps(backbone.architecture_options),
        "image_size": str(backbone.image_size),
        "mean": str(backbone.mean),
        "std": str(backbone.std),
    }
    save_file(network.state_dict(), file, header)
    return open_backbone(f"{backbone.architecture}@{file}")


@pytest.fixture
def settled(backbone: Backbone, pictures: Pixels, tmp_path: Path) -> Backbone:
    """The tiny backbone with running statistics of the pictures 0 to 59."""
    network = backbone.create(2, pretrained=True).train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        network(backbone.normalise(torch.from_numpy(pictures[:60])))
    return save_as(network.model, backbone, tmp_path / "settled.safetensors")


@pytest.fixture
def measure(settled: Backbone, pictures: Pixels) -> Callable[..., DomainSimilarity]:
    """Measures pictures against the settled backbone; by default those that settled it."""

    def measured(
        shown: Pixels = pictures[:60], backbone: Backbone = settled, seed: int = 0
    ) -> DomainSimilarity:
        samples = np.arange(len(shown))
        return measure_similarity(backbone, PixelView(shown, samples), samples, CPU, seed)

    return measured


def value_of(found: DomainSimilarity) -> float:
    assert found.value is not None
    return found.value


def test_source_domain_is_near(measure: Callable[..., DomainSimilarity]) -> None:
    own = measure()
    assert value_of(own) > 0.95
    assert own.distance == pytest.approx(0.0, abs=0.01)
    assert own.reason == ""


def test_other_pictures_of_the_source_domain_are_near(
    measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    assert value_of(measure(pictures[60:])) > 0.8


def test_the_farther_the_pictures_the_less_similar(
    measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    some = pictures[:60].astype(np.float32)
    shifts = (0, 30, 60, 110)
    values = [value_of(measure(np.clip(some + s, 0, 255).astype(np.uint8))) for s in shifts]
    assert values == sorted(values, reverse=True)
    noise = np.random.default_rng(0).integers(0, 256, some.shape, dtype=np.uint8)
    assert value_of(measure(noise)) < 0.5
    assert value_of(measure(np.zeros_like(pictures[:60]))) < 0.5


def test_distance_is_told_per_stage(
    measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    own, other = measure(), measure(255 - pictures[:60] // 2)
    assert len(own.per_stage) == len(other.per_stage) == 5
    assert all(a < b for a, b in zip(own.per_stage, other.per_stage, strict=True))


def test_interval_holds_the_value_and_narrows_with_the_pictures(
    measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    darker = pictures[:60] // 2
    few, many = measure(darker[:6]), measure(darker)
    for found in (few, many):
        assert found.interval is not None
        assert 0 <= found.interval[0] <= value_of(found) <= found.interval[1] <= 1
    assert few.interval is not None
    assert many.interval is not None
    assert many.interval[1] - many.interval[0] < few.interval[1] - few.interval[0]


def test_few_pictures_dont_look_far_by_chance() -> None:
    """The mean of five pictures is off by a fifth of their variance, which is no distance."""
    means = np.random.default_rng(0).normal(size=(5, 4_000))
    layer = similarity._Layer(torch.nn.BatchNorm2d(4_000), 0)
    squares = np.ones_like(means) + means.mean(axis=0) ** 2  # the variance is the source's
    distance = similarity._distance(means, squares, layer, np.full((1, 5), 1 / 5))
    assert distance[0] < 0.7 / 5


def test_seed_decides(measure: Callable[..., DomainSimilarity]) -> None:
    assert measure(seed=1) == measure(seed=1)
    assert measure(seed=1).value == measure(seed=2).value  # the value has no chance in it


def test_grey_pictures_are_measured_too(
    measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    grey = np.repeat(pictures[:60].mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
    flat = np.full_like(grey, 128)
    assert 0 < value_of(measure(grey)) <= 1
    assert 0 < value_of(measure(flat)) < value_of(measure())


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pictures(
    n: int, measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    found = measure(pictures[:n])
    assert (found.value, found.interval) == (None, None)
    assert "too few pictures" in found.reason


def test_two_pictures_are_enough(
    measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    assert value_of(measure(pictures[:2])) > 0


def test_network_without_batch_norm_knows_nothing(
    measure: Callable[..., DomainSimilarity], pictures: Pixels, tmp_path: Path
) -> None:
    source = random_backbone("convnext_atto", 32)
    network = source.create(2, pretrained=False, seed=3)
    backbone = save_as(network.model, source, tmp_path / "convnext.safetensors")
    found = measure(pictures, backbone)
    assert found.value is None
    assert "no BatchNorm" in found.reason


def test_features_that_are_not_finite(
    settled: Backbone, measure: Callable[..., DomainSimilarity], tmp_path: Path
) -> None:
    network = settled.create(2, pretrained=True)
    with torch.no_grad():
        network.model.get_submodule("layer2.0.conv1").weight.fill_(float("nan"))
    found = measure(backbone=save_as(network.model, settled, tmp_path / "nan.safetensors"))
    assert found.value is None
    assert "not finite" in found.reason


def test_only_the_samples_given_are_looked_at(
    settled: Backbone, measure: Callable[..., DomainSimilarity], pictures: Pixels
) -> None:
    poisoned = pictures.copy()
    poisoned[60:] = 255
    view = PixelView(poisoned, np.arange(90))
    assert measure_similarity(settled, view, np.arange(60), CPU) == measure()


def test_many_pictures_are_sampled(
    settled: Backbone, pictures: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "MAX_SAMPLES", 20)
    asked: list[int] = []

    class Counting(PixelView):
        def __getitem__(self, samples: NDArray[np.int64]) -> Pixels:
            asked.extend(samples.tolist())
            return super().__getitem__(samples)

    found = measure_similarity(settled, Counting(pictures, np.arange(90)), np.arange(60), CPU)
    assert len(asked) == len(set(asked)) == 20
    assert max(asked) > 19  # not simply the first ones
    assert value_of(found) > 0.7
