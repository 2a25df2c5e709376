"""Features are computed once and equal those of a network that is run directly."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autotl.backbones.zoo import Backbone, open_backbone
from autotl.data import read_dataset
from autotl.reuse import activations
from autotl.reuse.activations import FeatureStore, compute_features
from autotl.reuse.pixels import PixelView, PixelViews, decode_table
from autotl.reuse.quota import DiskQuota

CPU = torch.device("cpu")


@pytest.fixture
def views(
    pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64], tmp_path: Path
) -> PixelViews:
    """Forty of the pictures, in a store."""
    _, store = decode_table(
        read_dataset((pictures, picture_labels)), 32, DiskQuota(tmp_path / "pixels", 10**9)
    )
    return PixelViews({32: store}, np.arange(10, 50))


@torch.inference_mode()
def direct(backbone: Backbone, pixels: NDArray[np.uint8], depth: int) -> NDArray[np.float32]:
    """Features by running the network on all pictures at once."""
    network = backbone.create(1, pretrained=True).eval()
    x = backbone.normalise(torch.from_numpy(pixels))
    return network.features(x, [depth])[0].numpy()


def test_features_are_those_of_the_network_at_every_depth(
    backbone: Backbone, views: PixelViews, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path, views, CPU)
    for depth in range(1, backbone.num_stages + 1):
        found = store.features(backbone, (depth,))
        assert found.dtype == np.float32
        np.testing.assert_allclose(
            found, direct(backbone, pictures[10:50], depth), rtol=1e-4, atol=1e-5
        )


def test_several_depths_stand_side_by_side(
    backbone: Backbone, views: PixelViews, tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path, views, CPU)
    first, last = store.features(backbone, (2,)), store.features(backbone, (5,))
    found = store.features(backbone, (2, 5))
    assert np.array_equal(found, np.concatenate([first, last], axis=1))


def test_more_pictures_than_a_batch(
    backbone: Backbone, pictures: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = PixelView(pictures, np.arange(50))
    whole = compute_features(backbone, view, CPU)
    monkeypatch.setattr(activations, "_BATCH", 16)
    parts = compute_features(backbone, view, CPU)
    for a, b in zip(whole, parts, strict=True):
        assert len(b) == 50
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_features_are_computed_once_for_all_processes(
    backbone: Backbone, views: PixelViews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FeatureStore(tmp_path, views, CPU)
    expected = first.features(backbone, (1, 5))

    def recomputed(*_args: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr(activations, "compute_features", recomputed)
    assert np.array_equal(first.features(backbone, (1, 5)), expected)
    assert np.array_equal(FeatureStore(tmp_path, views, CPU).features(backbone, (1, 5)), expected)


def test_sent_store_carries_no_arrays(
    backbone: Backbone, views: PixelViews, tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path, views, CPU)
    before = len(pickle.dumps(store))
    expected = store.features(backbone, (1, 2, 3, 4, 5))
    sent = pickle.dumps(store)
    assert len(sent) == before
    received = pickle.loads(sent)  # noqa: S301
    assert np.array_equal(received.features(backbone, (1, 2, 3, 4, 5)), expected)
    assert np.array_equal(store.features(backbone, (1, 2, 3, 4, 5)), expected)


def test_half_written_features_are_not_used(
    backbone: Backbone, views: PixelViews, tmp_path: Path
) -> None:
    store = FeatureStore(tmp_path / "features", views, CPU)
    expected = store.features(backbone, (5,))
    [file] = (tmp_path / "features").iterdir()
    file.rename(file.with_suffix(".1.part.npz")).write_bytes(b"half")
    again = FeatureStore(tmp_path / "features", views, CPU)
    assert np.array_equal(again.features(backbone, (5,)), expected)


def test_features_of_other_weights_samples_and_pictures_differ(
    backbone: Backbone,
    views: PixelViews,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "features"
    FeatureStore(folder, views, CPU).features(backbone, (5,))
    fewer = replace(views, samples=np.arange(5))
    assert len(FeatureStore(folder, fewer, CPU).features(backbone, (5,))) == 5
    _, store = decode_table(
        read_dataset((pictures[::-1], picture_labels)), 32, DiskQuota(tmp_path / "pixels", 10**9)
    )
    others = PixelViews({32: store}, views.samples)
    np.testing.assert_allclose(
        FeatureStore(folder, others, CPU).features(backbone, (5,)),
        direct(backbone, pictures[::-1][10:50].copy(), 5),
        rtol=1e-4,
        atol=1e-5,
    )


def test_two_backbones_in_one_store(
    backbone: Backbone, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    embedded = open_backbone("embedded")
    large = np.repeat(np.repeat(pictures[:4], 2, axis=1), 2, axis=2)
    shown = {32: PixelView(pictures, np.arange(4)), 64: PixelView(large, np.arange(4))}
    store = FeatureStore(tmp_path, shown.__getitem__, CPU)
    assert store.features(backbone, (5,)).shape == (4, backbone.num_features)
    assert store.features(embedded, (5,)).shape == (4, embedded.num_features)
