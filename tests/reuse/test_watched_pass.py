"""A watcher sees its pictures in the pass that makes the features; none is passed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotl.backbones.speed import Speed
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.reuse import activations
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelView
from autotl.reuse.quota import DiskQuota

N = 90
Make = Callable[..., ActivationStore]


class Spy:
    """Notes which pictures passed by, and how many rows each batch had."""

    def __init__(self, samples: NDArray[np.int64]) -> None:
        self.samples = samples
        self.seen: list[int] = []

    @contextmanager
    def watching(self, network: StagedNetwork, samples: NDArray[np.int64]) -> Iterator[None]:
        self.seen += samples.tolist()
        yield


@pytest.fixture
def make(tmp_path: Path, backbone: Backbone, pictures: NDArray[np.uint8]) -> Make:
    """Makes a store of the ninety pictures."""
    even = tuple(0.1 * depth for depth in range(backbone.num_stages + 1))

    def made(disk_bytes: int = 10**9, memory_bytes: int = 0) -> ActivationStore:
        return ActivationStore(
            lambda size: PixelView(pictures, np.arange(N), "pictures"),
            {backbone.name: Speed("fp32", False, even, even)},
            torch.device("cpu"),
            DiskQuota(tmp_path / "cache", disk_bytes),
            memory_bytes,
        )

    return made


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every batch that a network was given."""
    rows: list[int] = []
    plain = StagedNetwork.features

    def features(self: StagedNetwork, x: Tensor, *rest: Any) -> list[Tensor]:
        rows.append(len(x))
        return plain(self, x, *rest)

    monkeypatch.setattr(StagedNetwork, "features", features)
    monkeypatch.setattr(activations, "_BATCH", 32)
    return rows


def test_the_watcher_sees_every_picture_once(
    make: Make, backbone: Backbone, passed: list[int]
) -> None:
    store, spy = make(), Spy(np.array([2, 40]))
    watched = store.features(backbone, [5], watcher=spy)
    assert spy.seen == list(range(N))
    assert passed[1:] == [32, 32, 26]  # the first batch is one picture, to count the channels
    assert (store.meter.n_computed, store.meter.n_read) == (N, 0)
    np.testing.assert_array_equal(watched, make().features(backbone, [5]))


def test_afterwards_nothing_is_left_to_pass(
    make: Make, backbone: Backbone, passed: list[int]
) -> None:
    store = make()
    store.features(backbone, [5], watcher=Spy(np.arange(10)))
    passed.clear()
    store.features(backbone, [2, 3, 4])
    assert passed == []
    assert (store.meter.n_computed, store.meter.n_read) == (N, N)


def test_held_features_are_read_and_only_the_watchers_pictures_pass(
    make: Make, backbone: Backbone, passed: list[int]
) -> None:
    before = make().features(backbone, [5])
    passed.clear()
    store, spy = make(), Spy(np.arange(80, 30, -1))
    store.features(backbone, [5], np.array([0, 1]))  # finds the file, passes nothing that matters
    passed.clear()
    found = store.features(backbone, [5], watcher=spy)
    np.testing.assert_array_equal(found, before)
    assert sorted(spy.seen) == list(range(31, 81))
    assert sum(passed) == 32 + 18
    assert len(set(spy.seen)) == len(spy.seen)


def test_some_pictures_only(make: Make, backbone: Backbone, passed: list[int]) -> None:
    everything = make().features(backbone, [3, 5])
    store, chosen = make(disk_bytes=0, memory_bytes=10**9), np.array([70, 3, 50])
    np.testing.assert_allclose(
        store.features(backbone, [3, 5], chosen), everything[chosen], atol=1e-5
    )
    assert store.meter.n_computed == 3
    store.features(backbone, [3, 5])
    assert store.meter.n_computed == N


def test_a_watcher_may_settle_for_fewer(make: Make, backbone: Backbone) -> None:
    class Modest(Spy):
        @contextmanager
        def watching(self, network: StagedNetwork, samples: NDArray[np.int64]) -> Iterator[None]:
            self.samples = self.samples[:5]
            with super().watching(network, samples):
                yield

    make().features(backbone, [5])
    store, spy = make(), Modest(np.arange(60, 90))
    store.features(backbone, [5], np.array([0]))
    store.features(backbone, [5], watcher=spy)
    assert len(spy.samples) == 5
    assert len(set(spy.seen)) == len(spy.seen) <= 32 + 5
