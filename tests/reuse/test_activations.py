"""Activations are the same to the bit wherever they come from: memory, disk, below, or anew."""

from __future__ import annotations

import errno
import json
import multiprocessing
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from autotl.backbones.speed import Speed
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone, open_backbone, random_backbone
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelView
from autotl.reuse.quota import DiskQuota
from autotl.reuse.rows import RowFile
from autotl.strategies.augment import View

CPU = torch.device("cpu")
PLENTY = 10**9
ALL = np.arange(40)
STAGE_BYTES = {1: 8 * 16 * 16 * 4, 2: 8 * 8 * 8 * 4, 3: 16 * 4 * 4 * 4, 4: 24 * 2 * 2 * 4}
KEPT = {"memory": (PLENTY, 0), "disk": (0, PLENTY), "both": (PLENTY, PLENTY), "nothing": (0, 0)}

every_place = pytest.mark.parametrize("kept", KEPT)


def view_of(size: int) -> PixelView:
    """Forty pictures of noise and ramps, rows 10 to 49 of a store of sixty."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 120, size)[None, :, None, None]
    pixels = rng.integers(0, 120, (60, size, size, 3)) + ramp
    return PixelView(pixels.astype(np.uint8), np.arange(10, 50), f"pixels-{size}")


def speed_of(backbone: Backbone, **changes: Any) -> Speed:
    """Every stage takes a tenth of a second a picture."""
    n = backbone.num_stages
    forward_to = tuple(0.1 * depth for depth in range(n + 1))
    return replace(Speed("fp32", False, forward_to, forward_to[::-1]), **changes)


Make = Callable[..., ActivationStore]


@pytest.fixture
def make(tmp_path: Path, backbone: Backbone) -> Make:
    """Makes a store of the pictures above for the tiny backbone."""

    def made(
        memory_bytes: int = PLENTY,
        disk_bytes: int = 0,
        *,
        folder: str = "store",
        pixels: Callable[[int], PixelView] = view_of,
        shared: bool = False,
        own: Backbone = backbone,
        **speed: Any,
    ) -> ActivationStore:
        return ActivationStore(
            pixels,
            {own.name: speed_of(own, **speed)},
            CPU,
            DiskQuota(tmp_path / folder, disk_bytes),
            memory_bytes,
            shared=shared,
        )

    return made


@pytest.fixture
def deep(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A tiny vision transformer, "pretrained": four stages, cut with a dummy picture."""
    options = {"img_size": 32, "depth": 3, "embed_dim": 24, "num_heads": 3}
    source = random_backbone("vit_tiny_patch16_224", 32, **options)
    file = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    header = {
        "timm_name": "vit_tiny_patch16_224",
        "timm_kwargs": json.dumps(options),
        "image_size": "32",
    }
    save_file(source.create(7, pretrained=False, seed=5).model.state_dict(), file, header)
    return open_backbone(f"vit_tiny_patch16_224@{file}")


@torch.no_grad()
def direct(
    backbone: Backbone, depth: int, samples: NDArray[np.int64] = ALL, view: View | None = None
) -> Tensor:
    """The network run on all of these pictures at once."""
    pixels = view_of(backbone.image_size)
    shown = torch.from_numpy(pixels[samples])
    if view is not None:
        shown = view.apply(shown, pixels.rows[samples])
    network = backbone.create(1, pretrained=True).eval()
    return network.activation(backbone.normalise(shown).contiguous(), depth)


def direct_features(backbone: Backbone, depth: int) -> NDArray[np.float32]:
    """Pooled activations of all pictures at once."""
    shown = torch.from_numpy(view_of(backbone.image_size)[ALL])
    with torch.no_grad():
        network = backbone.create(1, pretrained=True).eval()
        found: NDArray[np.float32] = network.features(
            backbone.normalise(shown).contiguous(), [depth]
        )[0].numpy()
    return found


class Ran:
    """What the networks were given: pictures, and activations to go on from."""

    def __init__(self) -> None:
        self.depths: list[int] = []
        self.n_pictures = 0
        self.n_for_features = 0


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Notes from which depth on activations are computed, and of how many pictures."""
    noted, whole, pooled = Ran(), StagedNetwork.activation, StagedNetwork.features

    def activation(self: StagedNetwork, x: Tensor, depth: int) -> Tensor:
        noted.depths.append(self.start)
        noted.n_pictures += len(x)
        return whole(self, x, depth)

    def features(self: StagedNetwork, x: Tensor, *rest: Any) -> list[Tensor]:
        noted.n_for_features += len(x)
        return pooled(self, x, *rest)

    monkeypatch.setattr(StagedNetwork, "activation", activation)
    monkeypatch.setattr(StagedNetwork, "features", features)
    return noted


def light(index: int = 0, policy: str = "light", *, mirror: bool = False, seed: int = 0) -> View:
    return View(policy, mirror, seed, index, 60)


def batches(seed: int) -> list[NDArray[np.int64]]:
    """An epoch: all samples once, shuffled."""
    return np.array_split(np.random.default_rng(seed).permutation(ALL), 3)


@every_place
@pytest.mark.parametrize("view", [None, light(), light(1, "strong", mirror=True)], ids=str)
def test_activations_are_those_of_the_network_to_the_bit(
    kept: str, view: View | None, make: Make, backbone: Backbone
) -> None:
    store = make(*KEPT[kept])
    for depth in (3, 1, 5, 2, 4):
        expected = direct(backbone, depth, view=view)
        for epoch in range(3):
            for samples in batches(epoch):
                found = store.activations(backbone, depth, samples, view)
                assert found.dtype == torch.float32
                assert torch.equal(found, expected[samples])


@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_a_transformer_goes_on_from_what_is_stored(
    kept: str, make: Make, deep: Backbone, ran: Ran
) -> None:
    store = make(*KEPT[kept], own=deep)
    for depth in range(1, deep.num_stages + 1):
        expected = direct(deep, depth)
        ran.depths.clear()
        for samples in batches(depth):
            assert torch.equal(store.activations(deep, depth, samples), expected[samples])
        assert ran.depths[-1] == depth - 1
        assert torch.equal(store.activations(deep, depth, ALL), expected)


@pytest.mark.parametrize(
    "speed",
    [{"precision": "bf16"}, {"channels_last": True}, {"precision": "bf16", "channels_last": True}],
)
def test_other_precisions_and_layouts(
    make: Make, backbone: Backbone, speed: dict[str, Any]
) -> None:
    expected = make(0, 0, **speed)
    for kept in ("memory", "disk"):
        store = make(*KEPT[kept], **speed)
        for depth in (2, 4, 5):
            once = expected.activations(backbone, depth, ALL)
            again = [store.activations(backbone, depth, ALL) for _ in range(2)]
            for found in again:
                assert found.dtype == once.dtype
                assert torch.equal(found, once)
            if "precision" in speed:
                assert once.dtype == torch.bfloat16
            if "channels_last" in speed and depth < 5:
                for found in (once, *again):
                    assert found.is_contiguous(memory_format=torch.channels_last)


def test_what_had_to_go_is_computed_again(make: Make, backbone: Backbone) -> None:
    store = make(memory_bytes=60 * (STAGE_BYTES[2] + STAGE_BYTES[3]))
    for _ in range(2):
        for depth in (2, 3, 4, 1, 5):
            for samples in batches(depth):
                found = store.activations(backbone, depth, samples)
                assert torch.equal(found, direct(backbone, depth)[samples])
            assert store.memory_used_bytes <= 60 * (STAGE_BYTES[2] + STAGE_BYTES[3])
    assert store.held_share(backbone, 1, ALL) == 0


def test_a_newcomer_takes_the_place_of_what_is_cheap_for_its_size(
    make: Make, backbone: Backbone
) -> None:
    store = make(memory_bytes=60 * (STAGE_BYTES[2] + STAGE_BYTES[3]))
    store.activations(backbone, 2, ALL)
    store.activations(backbone, 3, ALL)
    store.activations(backbone, 4, ALL)
    shares = [store.held_share(backbone, depth, ALL) for depth in (2, 3, 4)]
    assert shares == [0, 1, 1]


def test_views_of_one_depth_do_not_drive_each_other_out(make: Make, backbone: Backbone) -> None:
    store = make(memory_bytes=2 * 60 * STAGE_BYTES[2])
    views = [light(index) for index in range(3)]
    for view in views * 2:
        found = store.activations(backbone, 2, ALL, view)
        assert torch.equal(found, direct(backbone, 2, view=view))
    assert [store.held_share(backbone, 2, ALL, view) for view in views] == [1, 1, 0]


def test_computed_from_the_deepest_depth_below_that_has_all(
    make: Make, backbone: Backbone, ran: Ran
) -> None:
    store = make()

    def start(depth: int, samples: NDArray[np.int64], view: View | None = None) -> int:
        ran.depths.clear()
        store.activations(backbone, depth, samples, view)
        return ran.depths[-1]

    assert start(1, ALL) == 0
    assert start(3, ALL[:20]) == 1
    assert start(2, ALL[:20]) == 1
    assert start(4, ALL[:10]) == 3
    assert start(5, ALL[10:25]) == 1  # depths 2 and 3 lack some
    assert start(5, ALL[:10]) == 4
    assert start(4, ALL[10:12], light()) == 0


@every_place
def test_computed_once_where_something_is_kept(
    kept: str, make: Make, backbone: Backbone, ran: Ran
) -> None:
    store = make(*KEPT[kept])
    for epoch in range(3):
        for samples in np.array_split(np.random.default_rng(epoch).permutation(ALL), 2):
            store.activations(backbone, 3, samples)
    assert ran.n_pictures == (120 if kept == "nothing" else 40)


@every_place
def test_one_sample_is_what_it_is_in_a_batch(kept: str, make: Make, backbone: Backbone) -> None:
    for depth, view in ((2, None), (5, None), (4, light())):
        expected = direct(backbone, depth, view=view)
        store = make(*KEPT[kept])
        for sample in (3, 17, 3):
            one = np.array([sample])
            assert torch.equal(store.activations(backbone, depth, one, view), expected[one])
        assert torch.equal(store.activations(backbone, depth, ALL, view), expected)


def test_samples_asked_for_twice_in_one_request(make: Make, backbone: Backbone) -> None:
    store, twice = make(), np.array([5, 1, 5, 30])
    for _ in range(2):
        assert torch.equal(store.activations(backbone, 2, twice), direct(backbone, 2)[twice])


def test_the_caller_s_copy_is_its_own(make: Make, backbone: Backbone) -> None:
    store, expected = make(), direct(backbone, 3)
    for _ in range(3):
        found = store.activations(backbone, 3, ALL)
        assert torch.equal(found, expected)
        found.zero_()


@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_views_and_depths_are_told_apart(kept: str, make: Make, backbone: Backbone) -> None:
    store = make(*KEPT[kept])
    views = [
        *(None, light(), light(1), light(seed=1), light(mirror=True)),
        *(light(policy="medium"), light(policy="strong")),
    ]
    for _ in range(2):
        for view in views:
            for depth in (2, 3):
                found = store.activations(backbone, depth, ALL, view)
                assert torch.equal(found, direct(backbone, depth, view=view))


def test_weights_precisions_and_pictures_are_told_apart_in_one_folder(
    make: Make, backbone: Backbone, weights_file: Path, tmp_path: Path
) -> None:
    others = load_file(weights_file)
    others["conv1.0.weight"] = others["conv1.0.weight"] * 1.5
    with safe_open(weights_file, "pt") as opened:
        header = opened.metadata()
    save_file(others, tmp_path / "others.safetensors", header)
    other = open_backbone(f"resnet10t@{tmp_path / 'others.safetensors'}")

    def inverted(size: int) -> PixelView:
        view = view_of(size)
        assert isinstance(view.source, np.ndarray)
        return PixelView(255 - view.source, view.rows, "inverted")

    def fewer(size: int) -> PixelView:
        return replace(view_of(size), rows=np.arange(20, 60))

    stores = {
        "first": lambda: make(0, PLENTY),
        "weights": lambda: make(0, PLENTY, own=other),
        "precision": lambda: make(0, PLENTY, precision="bf16"),
        "layout": lambda: make(0, PLENTY, channels_last=True),
        "pictures": lambda: make(0, PLENTY, pixels=inverted),
    }
    expected = {
        "first": make(0, 0).activations(backbone, 2, ALL),
        "weights": make(0, 0, own=other).activations(other, 2, ALL),
        "precision": make(0, 0, precision="bf16").activations(backbone, 2, ALL),
        "layout": make(0, 0, channels_last=True).activations(backbone, 2, ALL),
        "pictures": make(0, 0, pixels=inverted).activations(backbone, 2, ALL),
    }
    for _ in range(2):
        for name, store in stores.items():
            used, one = other if name == "weights" else backbone, store()
            one.activations(used, 2, ALL[:1])  # computed in any case: it tells the shape
            found = one.activations(used, 2, ALL)
            assert torch.equal(found, expected[name]), name
    assert not torch.equal(expected["first"], expected["weights"])
    assert not torch.equal(expected["first"], expected["pictures"])
    # Other samples of the same pictures share what there is.
    store = make(0, PLENTY, pixels=fewer)
    store.activations(backbone, 2, ALL[:1])
    assert store.held_share(backbone, 2, ALL) == 30 / 40
    assert torch.equal(store.activations(backbone, 2, ALL[:30]), expected["first"][10:])


def test_without_a_quota_nothing_is_written(make: Make, backbone: Backbone, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for memory_bytes in (0, PLENTY):
            store = make(memory_bytes, 0)
            store.activations(backbone, 2, ALL)
            store.features(backbone, (5,))
    assert not (tmp_path / "store").exists()


def test_without_a_quota_at_all(backbone: Backbone) -> None:
    store = ActivationStore(view_of, {backbone.name: speed_of(backbone)}, CPU)
    for _ in range(2):
        assert torch.equal(store.activations(backbone, 3, ALL), direct(backbone, 3))


def test_full_disk_is_told_once_and_changes_nothing(
    make: Make, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RowFile, "write", full)
    store = make(0, PLENTY, folder="full")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in range(2):
            for depth in (2, 4):
                for samples in batches(epoch):
                    found = store.activations(backbone, depth, samples)
                    assert torch.equal(found, direct(backbone, depth)[samples])
        np.testing.assert_array_equal(store.features(backbone, (3,)), direct_features(backbone, 3))
    (warning,) = caught
    assert "full" in str(warning.message)


def row_files(folder: Path, kind: str) -> list[Path]:
    return [file for file in folder.glob("*.rows") if file.name.startswith(kind)]


@pytest.mark.parametrize("n_damaged", [1, 3])
def test_damaged_rows_are_found_and_computed_again(
    n_damaged: int, make: Make, backbone: Backbone, tmp_path: Path
) -> None:
    first = make(0, PLENTY)
    first.activations(backbone, 3, ALL)
    features = first.features(backbone, (5,))
    for kind in ("stage3", "features"):
        (file,) = row_files(tmp_path / "store", kind)
        content = bytearray(file.read_bytes())
        size = len(content) // 50  # rows 10 to 49 of sixty were written
        for row in range(20, 20 + n_damaged):
            content[row * size + 5] ^= 1
        file.write_bytes(content)
    second = make(0, PLENTY)
    assert torch.equal(second.activations(backbone, 3, ALL), direct(backbone, 3))
    assert np.array_equal(second.features(backbone, (5,)), features)
    assert second.meter.n_computed == 80  # the first request of a store tells the shape
    third = make(0, PLENTY)
    third.activations(backbone, 3, ALL[:2])
    assert torch.equal(third.activations(backbone, 3, ALL), direct(backbone, 3))


def test_deleted_files_are_computed_again(make: Make, backbone: Backbone, tmp_path: Path) -> None:
    make(0, PLENTY).activations(backbone, 3, ALL)
    for file in (tmp_path / "store").iterdir():
        file.unlink()
    store = make(0, PLENTY)
    for _ in range(2):
        assert torch.equal(store.activations(backbone, 3, ALL), direct(backbone, 3))


def _ask(store: ActivationStore, backbone: Backbone, seed: int, answers: Any) -> None:
    found = np.empty((40, 16, 4, 4), dtype=np.float32)
    for epoch in (seed, seed + 1):
        for samples in batches(epoch):
            found[samples] = store.activations(backbone, 3, samples).numpy()
    answers.put((found, store.features(backbone, (2, 5))))


def test_processes_share_a_folder(make: Make, backbone: Backbone, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers, store = context.Queue(), make(0, PLENTY, shared=True)
    worker = context.Process(target=_ask, args=(store, backbone, 0, answers))
    worker.start()
    _ask(store, backbone, 5, answers)
    found = [answers.get(timeout=120) for _ in range(2)]
    worker.join(60)
    assert worker.exitcode == 0
    features = np.concatenate([direct_features(backbone, depth) for depth in (2, 5)], axis=1)
    for stage3, pooled in found:
        np.testing.assert_array_equal(stage3, direct(backbone, 3).numpy())
        np.testing.assert_array_equal(pooled, features)
    assert len(row_files(tmp_path / "store", "stage3")) == 1


def test_sent_store_is_small_and_works(make: Make, backbone: Backbone) -> None:
    store = make(PLENTY, PLENTY)
    before = len(pickle.dumps(store))
    expected = store.activations(backbone, 2, ALL)
    store.features(backbone, (1, 2, 3, 4, 5))
    sent = pickle.dumps(store)
    assert len(sent) == before < 10_000
    received: ActivationStore = pickle.loads(sent)
    assert received.meter.n_computed == 0
    assert received.memory_used_bytes == 0
    for one in (received, store):
        assert torch.equal(one.activations(backbone, 2, ALL), expected)


def test_a_shared_store_puts_all_on_disk(make: Make, backbone: Backbone, tmp_path: Path) -> None:
    store = make(PLENTY, PLENTY, shared=True)
    store.activations(backbone, 2, ALL)
    store.activations(backbone, 4, ALL)
    assert store.memory_used_bytes == 0
    assert len(row_files(tmp_path / "store", "stage")) == 2
    assert make(PLENTY, PLENTY, folder="own").memory_used_bytes == 0
    alone = make(PLENTY, PLENTY, folder="own")
    alone.activations(backbone, 2, ALL)
    assert alone.memory_used_bytes == 60 * STAGE_BYTES[2]
    assert not row_files(tmp_path / "own", "stage")


def test_what_lies_on_disk_already_is_read_from_there(
    make: Make, backbone: Backbone, ran: Ran
) -> None:
    make(0, PLENTY).activations(backbone, 2, ALL)
    store = make(PLENTY, PLENTY)
    store.activations(backbone, 2, ALL[:2])  # tells the shape
    ran.n_pictures = 0
    assert torch.equal(store.activations(backbone, 2, ALL), direct(backbone, 2))
    assert ran.n_pictures == 40  # by ``direct``
    assert store.memory_used_bytes == 0


def test_meter_counts_and_saved_seconds(make: Make, backbone: Backbone) -> None:
    store = make()
    store.activations(backbone, 3, ALL[:30])
    assert (store.meter.n_read, store.meter.n_computed, store.meter.saved_s) == (0, 30, 0)
    store.activations(backbone, 3, ALL)
    assert (store.meter.n_read, store.meter.n_computed) == (30, 40)
    assert store.meter.saved_s == pytest.approx(30 * 0.3)
    store.activations(backbone, 5, ALL[:10])
    store.activations(backbone, 5, ALL[:10])
    assert (store.meter.n_read, store.meter.n_computed) == (40, 50)
    assert store.meter.saved_s == pytest.approx(30 * 0.3 + 10 * 0.5)
    none = make(0, 0)
    for _ in range(2):
        none.activations(backbone, 3, ALL)
    assert (none.meter.n_read, none.meter.n_computed, none.meter.saved_s) == (0, 80, 0)


@every_place
def test_held_share(kept: str, make: Make, backbone: Backbone) -> None:
    store = make(*KEPT[kept])
    assert store.held_share(backbone, 3, ALL) == 0
    store.activations(backbone, 3, ALL[:10])
    store.activations(backbone, 3, ALL[20:25], light())
    whole = 0.0 if kept == "nothing" else 1.0
    assert store.held_share(backbone, 3, ALL) == whole * 10 / 40
    assert store.held_share(backbone, 3, ALL[:10]) == whole
    assert store.held_share(backbone, 3, ALL, light()) == whole * 5 / 40
    assert store.held_share(backbone, 3, ALL, light(1)) == 0
    assert store.held_share(backbone, 2, ALL) == 0
    assert store.held_share(backbone, 3, ALL[:0]) == 0


@every_place
def test_features_are_those_of_the_network_at_every_depth(
    kept: str, make: Make, backbone: Backbone
) -> None:
    store = make(*KEPT[kept])
    for depths in ((1,), (2,), (3,), (4,), (5,), (2, 5), (1, 2, 3, 4, 5)):
        found = store.features(backbone, depths)
        expected = [direct_features(backbone, depth) for depth in depths]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.concatenate(expected, axis=1))


@every_place
def test_features_of_cells_are_kept_beside_the_others(
    kept: str, make: Make, backbone: Backbone
) -> None:
    store = make(*KEPT[kept])
    plain = store.features(backbone, (1, 2, 5))
    network = backbone.create(1, pretrained=True).eval()
    with torch.no_grad():
        x = backbone.normalise(torch.from_numpy(view_of(32)[np.arange(40)]))
        expected = torch.cat(network.features(x, (1, 2, 5), max_width=200), dim=1).numpy()
    assert store.features_held_share(backbone, 200) == 0.0
    for _ in range(2):
        found = store.features(backbone, (1, 2, 5), max_width=200)
        assert found.shape[1] > plain.shape[1]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.array_equal(store.features(backbone, (1, 2, 5)), plain)


def test_features_are_computed_once_for_all_stores(
    make: Make, backbone: Backbone, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotl.reuse.activations._BATCH", 16)
    expected = make(PLENTY, PLENTY).features(backbone, (1, 5))
    ran.n_for_features = 0
    second = make(PLENTY, PLENTY)
    for depths in ((1, 5), (2,), (1, 5)):
        found = second.features(backbone, depths)
    assert np.array_equal(found, expected)
    assert ran.n_for_features <= 16 + 1  # the first batch, and one picture for the widths


def test_a_store_of_other_samples_reads_what_was_kept(
    make: Make, backbone: Backbone, ran: Ran
) -> None:
    store = make()
    expected = store.features(backbone, [2, 4])
    chosen = np.array([3, 30, 11])
    view = view_of(32)
    other = store.of_samples(lambda size: PixelView(view.source, view.rows[chosen], view.name))
    ran.n_for_features = 0
    np.testing.assert_array_equal(other.features(backbone, [2, 4]), expected[chosen])
    assert ran.n_for_features == 0
    assert len(store.features(backbone, [4])) == 40


@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_a_store_with_other_speeds_reads_what_was_kept(
    kept: str, make: Make, backbone: Backbone, ran: Ran
) -> None:
    store = make(*KEPT[kept])
    some = store.features(backbone, [2, 4], np.arange(10))
    measured = replace(speed_of(backbone), channels_last=True)
    other = store.with_speeds({backbone.name: measured})
    ran.n_for_features = 0
    np.testing.assert_array_equal(other.features(backbone, [2, 4], np.arange(10)), some)
    assert ran.n_for_features == 0
    layouts = []
    create = StagedNetwork.features

    def noting(self: StagedNetwork, x: torch.Tensor, *rest: Any) -> list[torch.Tensor]:
        layouts.append(x.is_contiguous(memory_format=torch.channels_last))
        return create(self, x, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StagedNetwork, "features", noting)
        other.features(backbone, [2, 4])
    assert layouts
    assert all(layouts)


def test_a_released_network_is_made_again_when_it_is_needed(
    make: Make, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    create = Backbone.create

    def noting(self: Backbone, *arguments: Any, **options: Any) -> Any:
        made.append(self.name)
        return create(self, *arguments, **options)

    monkeypatch.setattr(Backbone, "create", noting)
    store = make()
    some = store.features(backbone, [2], np.arange(20))
    store.release(backbone)
    store.release(backbone)
    assert np.array_equal(store.features(backbone, [2], np.arange(20)), some)
    assert len(made) == 1
    store.features(backbone, [2])
    store.features(backbone, [3])
    assert len(made) == 2


def test_features_of_more_pictures_than_a_batch(
    make: Make, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make().features(backbone, (2, 5))
    for n in (13, 16):  # the last batch is of one picture, or of eight
        monkeypatch.setattr("autotl.reuse.activations._BATCH", n)
        for memory_bytes, disk_bytes in KEPT.values():
            found = make(memory_bytes, disk_bytes, folder=f"by {n}").features(backbone, (2, 5))
            assert np.array_equal(found, expected)


def test_two_backbones_in_one_store(backbone: Backbone, tmp_path: Path) -> None:
    embedded = open_backbone("embedded")
    speeds = {one.name: speed_of(one) for one in (backbone, embedded)}

    def few(size: int) -> PixelView:
        return replace(view_of(size), rows=np.arange(4))

    store = ActivationStore(few, speeds, CPU, DiskQuota(tmp_path, PLENTY), PLENTY)
    for one in (backbone, embedded, backbone):
        assert store.features(one, (one.num_stages,)).shape == (4, one.num_features)
        assert len(store.activations(one, 2, np.arange(3))) == 3


def test_pixels_are_the_pictures(make: Make) -> None:
    found = make().pixels(32, ALL[5:9])
    assert torch.equal(found, torch.from_numpy(view_of(32)[ALL[5:9]]))
