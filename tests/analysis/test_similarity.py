"""A network finds its own source domain near, and others farther; few pictures say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autotl.analysis.channels import ChannelWatcher, LayerMoments
from autotl.analysis.landmarks import DRAWN, IMAGENET, Landmarks
from autotl.analysis.similarity import (
    CHANNELS,
    FRECHET,
    DistanceScale,
    DomainSimilarity,
    channel_similarity,
    distance_of,
    similarity_of,
)
from autotl.backbones.zoo import Backbone, open_backbone, random_backbone

Pixels = NDArray[np.uint8]
Measure = Callable[..., DomainSimilarity]


def save_as(network: nn.Module, backbone: Backbone, file: Path) -> Backbone:
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


def moments_of(
    backbone: Backbone, shown: Pixels, batch: int = 16, watched: NDArray[np.int64] | None = None
) -> list[LayerMoments]:
    """What the watcher notes of pictures in batches."""
    network = backbone.create(1, pretrained=True).eval()
    watcher = ChannelWatcher(np.arange(len(shown)) if watched is None else watched)
    for start in range(0, len(shown), batch):
        samples = np.arange(start, min(start + batch, len(shown)))
        with torch.no_grad(), watcher.watching(network, samples):
            network(backbone.normalise(torch.from_numpy(shown[samples])))
    return watcher.moments()


def test_moments_of_some_samples_are_those_they_would_have_alone(
    settled: Backbone, pictures: Pixels
) -> None:
    network = settled.create(1, pretrained=True).eval()
    watcher = ChannelWatcher(np.array([3, 40, 7, 21, 30]))
    for samples in np.arange(48).reshape(3, 16):
        with torch.no_grad(), watcher.watching(network, samples):
            network(settled.normalise(torch.from_numpy(pictures[samples])))
    kept = watcher.moments(np.array([7, 30, 45]))  # 45 wasn't watched
    alone = moments_of(settled, pictures[[7, 30]])
    for found, expected in zip(kept, alone, strict=True):
        np.testing.assert_allclose(found.mean, expected.mean, atol=1e-4)
        np.testing.assert_allclose(found.square, expected.square, atol=1e-4)
    assert all(len(layer.mean) == 5 for layer in watcher.moments())


@pytest.fixture
def measure(settled: Backbone, pictures: Pixels) -> Measure:
    """Measures pictures against the settled backbone; by default those that settled it."""

    def measured(shown: Pixels = pictures[:60], backbone: Backbone = settled) -> DomainSimilarity:
        return channel_similarity(moments_of(backbone, shown), backbone.num_stages)

    return measured


def value_of(found: DomainSimilarity) -> float:
    assert found.value is not None
    return found.value


def test_the_function_of_the_distance() -> None:
    assert similarity_of(0.0) == similarity_of(-0.1) == 1.0
    assert similarity_of(CHANNELS.half) == 0.5
    assert similarity_of(FRECHET.half, FRECHET) == 0.5
    assert 0.0 < similarity_of(1e9) < 1e-6
    assert similarity_of(1e300) == similarity_of(float("inf")) == 0.0
    values = [similarity_of(distance) for distance in (0.0, 0.1, 0.21, 0.22, 0.23, 0.5, 5.0)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("scale", [CHANNELS, FRECHET])
@pytest.mark.parametrize("distance", [0.05, 0.3, 2.0])
def test_a_distance_comes_back_from_its_similarity(scale: DistanceScale, distance: float) -> None:
    assert distance_of(similarity_of(distance, scale), scale) == pytest.approx(distance)


@pytest.mark.parametrize("landmarks", [DRAWN, IMAGENET])
def test_the_similarity_is_about_the_share_of_known_data_sets_farther_off(
    landmarks: Landmarks,
) -> None:
    distances = list(landmarks.distances.values())
    told = [similarity_of(distance) for distance in distances]
    true = [(len(told) - place - 0.5) / len(told) for place in range(len(told))]
    assert told == pytest.approx(true, abs=0.25)


def test_source_domain_is_near(measure: Measure) -> None:
    own = measure()
    assert value_of(own) > 0.95
    assert own.distance == pytest.approx(0.0, abs=0.02)
    assert (own.reason, own.n_samples) == ("", 60)


def test_other_pictures_of_the_source_domain_are_near(measure: Measure, pictures: Pixels) -> None:
    assert value_of(measure(pictures[60:])) > 0.8


def test_the_farther_the_pictures_the_less_similar(measure: Measure, pictures: Pixels) -> None:
    some = pictures[:60].astype(np.float32)
    shifts = (0, 30, 60, 110)
    values = [value_of(measure(np.clip(some + s, 0, 255).astype(np.uint8))) for s in shifts]
    assert values == sorted(values, reverse=True)
    noise = np.random.default_rng(0).integers(0, 256, some.shape, dtype=np.uint8)
    assert value_of(measure(noise)) < 0.5
    assert value_of(measure(np.zeros_like(pictures[:60]))) < 0.5


def test_distance_is_told_per_stage(measure: Measure, pictures: Pixels) -> None:
    own, other = measure(), measure(255 - pictures[:60] // 2)
    assert len(own.per_stage) == len(other.per_stage) == 5
    assert all(a < b for a, b in zip(own.per_stage, other.per_stage, strict=True))


def test_interval_holds_the_value_and_narrows_with_the_pictures(
    measure: Measure, pictures: Pixels
) -> None:
    darker = pictures[:60] // 2
    few, many = measure(darker[:6]), measure(darker)
    for found in (few, many):
        assert found.interval is not None
        assert 0 <= found.interval[0] <= value_of(found) <= found.interval[1] <= 1
    assert few.interval is not None
    assert many.interval is not None
    assert many.interval[1] - many.interval[0] < few.interval[1] - few.interval[0]


def layer(
    means: NDArray[np.float64], within: float = 0.0, *, eps: float = 0.0, stage: int = 0
) -> LayerMoments:
    """Pictures ``(n, channels)`` of these means and this variance inside, source N(0, 1)."""
    return LayerMoments(
        f"bn{stage}",
        stage,
        means.astype(np.float32),
        (means**2 + within).astype(np.float32),
        np.ones(means.shape[1]),
        eps,
    )


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.5, 1.0), (0.0, 2.0), (0.3, 0.25)])
@pytest.mark.parametrize("n", [10, 50])
def test_few_pictures_read_what_many_do(shift: float, spread: float, n: int) -> None:
    """Half of the variance lies between pictures; both terms are too large without correction."""
    rng = np.random.default_rng(0)
    variance = spread**2 / 2
    means = shift + np.sqrt(variance) * rng.normal(size=(n, 40_000))
    found = channel_similarity([layer(means, variance)], 1)
    expected = shift**2 + (spread - 1) ** 2
    plain = expected + variance / n
    assert found.distance == pytest.approx(expected, abs=0.12 * (plain - expected) + 0.003)


def test_intervals_cover() -> None:
    """Pictures differ in one common factor, so that channels vary together."""
    rng = np.random.default_rng(1)
    loadings = rng.normal(size=30)
    held = 0
    for _ in range(300):
        means = 0.4 + rng.gamma(2.0, 0.3, size=(40, 1)) * loadings
        found = channel_similarity([layer(means, 0.5)], 1)
        mean = 0.4 + 0.6 * loadings
        variance = 0.5 + 0.18 * loadings**2
        true = float((mean**2 + (np.sqrt(variance) - 1) ** 2).mean())
        assert found.interval is not None
        held += found.interval[0] <= similarity_of(true) <= found.interval[1]
    assert 0.90 <= held / 300 <= 0.98


def test_a_channel_dead_in_both_domains_is_no_distance() -> None:
    dead = LayerMoments(
        "bn", 0, np.zeros((9, 3), np.float32), np.zeros((9, 3), np.float32), np.zeros(3), 1e-5
    )
    assert channel_similarity([dead], 1).distance == pytest.approx(0.0, abs=1e-9)


def test_stages_average_their_layers_and_the_figure_all_layers() -> None:
    far = layer(np.full((9, 4), 2.0), 1.0, stage=2)
    middle = layer(np.full((9, 2), 1.0), 1.0, stage=2)
    near = layer(np.zeros((9, 8)), 1.0, stage=0)
    found = channel_similarity([near, middle, far], 3)
    np.testing.assert_allclose(found.per_stage, [0.0, np.nan, 2.5], atol=1e-6)
    assert found.distance == pytest.approx(5 / 3)


def test_grey_pictures_are_measured_too(measure: Measure, pictures: Pixels) -> None:
    grey = np.repeat(pictures[:60].mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
    flat = np.full_like(grey, 128)
    assert 0 < value_of(measure(grey)) <= 1
    assert 0 < value_of(measure(flat)) < value_of(measure())


@pytest.mark.parametrize("n", [4, 1, 0])
def test_too_few_pictures(n: int, measure: Measure, pictures: Pixels) -> None:
    found = measure(pictures[:n])
    assert (found.value, found.interval) == (None, None)
    assert found.reason


def test_five_pictures_are_enough(measure: Measure, pictures: Pixels) -> None:
    found = measure(pictures[:5] // 2)
    assert 0 < value_of(found) <= 1
    assert found.interval is not None
    assert found.interval[1] > 2 * found.interval[0]


def test_network_without_batch_norm_knows_nothing(
    measure: Measure, pictures: Pixels, tmp_path: Path
) -> None:
    source = random_backbone("convnext_atto", 32)
    network = source.create(2, pretrained=False, seed=3)
    found = measure(pictures, save_as(network.model, source, tmp_path / "convnext.safetensors"))
    assert found.value is None
    assert "no BatchNorm" in found.reason


def test_running_statistics_that_nobody_measured_are_none(
    settled: Backbone, measure: Measure, pictures: Pixels, tmp_path: Path
) -> None:
    network = settled.create(2, pretrained=True)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    backbone = save_as(network.model, settled, tmp_path / "reset.safetensors")
    assert "no BatchNorm" in measure(pictures, backbone).reason


def test_the_first_layer_that_reads_what_is_not_finite_is_named(
    settled: Backbone, measure: Measure, tmp_path: Path
) -> None:
    network = settled.create(2, pretrained=True)
    with torch.no_grad():
        network.model.get_submodule("layer2.0.conv1").weight.fill_(float("nan"))
    found = measure(backbone=save_as(network.model, settled, tmp_path / "nan.safetensors"))
    assert found.value is None
    assert "'layer2.0.bn1' reads is not finite for 60 of 60 pictures" in found.reason


class TestWatcher:
    """What is noted of a pass."""

    def test_batches_make_no_difference(self, settled: Backbone, pictures: Pixels) -> None:
        for one, other in zip(
            moments_of(settled, pictures[:40], 40),
            moments_of(settled, pictures[:40], 7),
            strict=True,
        ):
            assert one.name == other.name
            np.testing.assert_allclose(one.mean, other.mean, atol=1e-4)
            np.testing.assert_allclose(one.square, other.square, rtol=1e-3, atol=1e-4)

    def test_only_the_pictures_chosen_are_noted(self, settled: Backbone, pictures: Pixels) -> None:
        chosen = np.array([3, 30, 17])
        some = moments_of(settled, pictures[:40], watched=chosen)
        alone = moments_of(settled, pictures[chosen])
        for one, other in zip(some, alone, strict=True):
            np.testing.assert_allclose(one.mean, other.mean, atol=1e-4)

    def test_a_picture_that_passes_again_is_noted_once(
        self, settled: Backbone, pictures: Pixels
    ) -> None:
        network = settled.create(1, pretrained=True).eval()
        watcher = ChannelWatcher(np.array([5, 2, 9]))
        for samples in (np.arange(6), np.arange(4, 8)):  # 5 twice, 9 never
            with torch.no_grad(), watcher.watching(network, samples):
                network(settled.normalise(torch.from_numpy(pictures[samples])))
        alone = moments_of(settled, pictures[[5, 2]])
        for found, expected in zip(watcher.moments(), alone, strict=True):
            np.testing.assert_allclose(found.mean, expected.mean, atol=1e-4)

    def test_moments_are_about_the_sources_mean(self, settled: Backbone, pictures: Pixels) -> None:
        first = moments_of(settled, pictures[:5])[0]
        network = settled.create(1, pretrained=True).eval().model
        with torch.no_grad():
            x = network.get_submodule("conv1.0")(settled.normalise(torch.from_numpy(pictures[:5])))
        norm = network.get_submodule(first.name)
        centred = (x - norm.get_buffer("running_mean")[:, None, None]).numpy()
        np.testing.assert_allclose(first.mean, centred.mean(axis=(2, 3)), atol=1e-5)
        np.testing.assert_allclose(first.square, (centred**2).mean(axis=(2, 3)), rtol=1e-4)
        assert (first.stage, first.eps) == (0, norm.eps)

    def test_nothing_is_left_behind(self, settled: Backbone, pictures: Pixels) -> None:
        network = settled.create(1, pretrained=True).eval()
        watcher = ChannelWatcher(np.arange(4))
        with pytest.raises(ValueError, match="stop"), watcher.watching(network, np.arange(4)):
            raise ValueError("stop")
        assert not any(module._forward_pre_hooks for module in network.modules())

    def test_many_channels_are_watched_on_fewer_pictures(
        self, settled: Backbone, pictures: Pixels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        everything = moments_of(settled, pictures[:40])
        n_channels = sum(one.mean.shape[1] for one in everything)
        monkeypatch.setattr("autotl.analysis.channels.MAX_BYTES", 8 * n_channels * 10)
        assert {len(one.mean) for one in moments_of(settled, pictures[:40])} == {10}
