"""Augmentation: every sample its own parameters, all from its draws, nothing else touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotl.strategies import augment as module
from autotl.strategies.augment import N_DRAWS, POLICIES, Policy, View, augment, shift_maps

CHANGING = [policy for policy in POLICIES if policy != "none"]
changing_policies = pytest.mark.parametrize("policy", CHANGING)


@pytest.fixture
def batch(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pictures[:16].copy())


def drawn(n: int, seed: int = 0) -> Tensor:
    """Draws ``(n, N_DRAWS)`` for as many samples."""
    return torch.rand((n, N_DRAWS), generator=torch.Generator().manual_seed(seed))


def augmented(batch: Tensor, policy: str, *, mirror: bool = False, seed: int = 0) -> Tensor:
    return augment(batch, policy, mirror=mirror, draws=drawn(len(batch), seed))


def under(monkeypatch: pytest.MonkeyPatch, **ranges: float) -> str:
    """The name of a policy with these ranges only."""
    policy = Policy(**ranges)  # type: ignore[arg-type]
    monkeypatch.setitem(module._POLICIES, "only", policy)
    return "only"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mirror", [False, True])
def test_shape_type_and_range(batch: Tensor, policy: str, mirror: bool) -> None:
    before = batch.clone()
    found = augmented(batch, policy, mirror=mirror)
    assert found.shape == batch.shape
    assert found.dtype == (torch.uint8 if policy == "none" else torch.float32)
    assert 0 <= found.min() <= found.max() <= 255
    assert torch.isfinite(found.float()).all()
    assert torch.equal(batch, before)


def test_none_changes_nothing(batch: Tensor) -> None:
    assert torch.equal(augmented(batch, "none", mirror=True), batch)


@changing_policies
def test_equal_pictures_come_out_different(batch: Tensor, policy: str) -> None:
    found = augmented(batch[:1].repeat(8, 1, 1, 1), policy)
    for i in range(8):
        for j in range(i):
            assert not torch.equal(found[i], found[j])


@changing_policies
def test_draws_decide(batch: Tensor, policy: str) -> None:
    first = augmented(batch, policy, mirror=True, seed=3)
    assert torch.equal(first, augmented(batch, policy, mirror=True, seed=3))
    assert not torch.equal(first, augmented(batch, policy, mirror=True, seed=4))


@pytest.mark.parametrize("policy", POLICIES)
def test_random_state_of_the_process_is_untouched(
    batch: Tensor, policy: str, random_state: Callable[[], object]
) -> None:
    before = random_state()
    augmented(batch, policy, mirror=True)
    assert random_state() == before


def test_pure_mirror_flips_about_half_of_the_pictures(
    batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = batch.repeat(8, 1, 1, 1)
    found = augmented(many, under(monkeypatch), mirror=True)
    straight = (found - many).abs().amax(dim=(1, 2, 3)) < 0.01
    flipped = (found - many.flip(2)).abs().amax(dim=(1, 2, 3)) < 0.01
    assert torch.all(straight ^ flipped)
    assert 0.3 < flipped.float().mean() < 0.7


def test_without_mirror_nothing_is_flipped(batch: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    found = augmented(batch, under(monkeypatch))
    torch.testing.assert_close(found, batch.float(), atol=0.01, rtol=0)


def test_translation_stays_in_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    dot = torch.zeros(64, 40, 40, 3, dtype=torch.uint8)
    dot[:, 20, 20] = 255
    found = augmented(dot, under(monkeypatch, translation=0.1))[..., 0]
    weights = found / found.sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(40.0)
    moved = torch.stack([(weights.sum(2) * axis).sum(1) - 20, (weights.sum(1) * axis).sum(1) - 20])
    assert moved.abs().max() <= 4.0 + 0.01  # a tenth of 40 pixels
    assert moved.max() > 2.0
    assert moved.min() < -2.0
    assert not torch.allclose(moved[0], moved[1])


@pytest.mark.parametrize("mirror", [False, True])
def test_rotation_keeps_the_distance_from_the_centre(
    monkeypatch: pytest.MonkeyPatch, mirror: bool
) -> None:
    bar = torch.zeros(64, 41, 41, 3, dtype=torch.uint8)
    bar[:, 20, 21:35] = 255  # from the centre to the right
    found = augmented(bar, under(monkeypatch, rotation=30.0), mirror=mirror)[..., 0]
    weights = found / found.sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(41.0) - 20
    down, right = (weights.sum(2) * axis).sum(1), (weights.sum(1) * axis).sum(1)
    angle = torch.rad2deg(torch.atan2(down, right.abs()))
    assert bool((right < 0).any()) == mirror
    assert angle.abs().max() <= 30.5
    assert angle.max() > 20
    assert angle.min() < -20
    torch.testing.assert_close(
        (down.square() + right.square()).sqrt(), torch.full((64,), 7.5), atol=0.4, rtol=0
    )


def test_scale_grows_and_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    square = torch.zeros(64, 40, 40, 3, dtype=torch.uint8)
    square[:, 10:30, 10:30] = 255
    found = augmented(square, under(monkeypatch, scale=0.2))[..., 0]
    side = (found.sum(dim=(1, 2)) / 255).sqrt() / 20
    assert 1.2 + 0.02 >= side.max() > 1.1
    assert 1 / 1.2 - 0.02 <= side.min() < 0.9


def test_brightness_moves_all_pixels_of_a_picture_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = torch.full((32, 8, 8, 3), 128, dtype=torch.uint8)
    found = augmented(flat, under(monkeypatch, brightness=0.1))
    shift = (found - 128).flatten(1)
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=0.01, rtol=0)
    assert 25.5 >= shift.abs().max() > 15
    assert shift.min() < 0 < shift.max()


def test_saturation_leaves_the_grey_version(batch: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = (batch.float() / 4 + 96).round().to(torch.uint8)  # far from the clamp
    found = augmented(calm, under(monkeypatch, saturation=0.4))
    torch.testing.assert_close(found.mean(3), calm.float().mean(3), atol=0.01, rtol=0)
    assert not torch.allclose(found, calm.float(), atol=1.0)


def test_contrast_leaves_the_mean(batch: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = (batch.float() / 4 + 96).round().to(torch.uint8)
    found = augmented(calm, under(monkeypatch, contrast=0.4))
    torch.testing.assert_close(
        found.mean((1, 2, 3)), calm.float().mean((1, 2, 3)), atol=0.01, rtol=0
    )
    ratio = found.std((1, 2, 3)) / calm.float().std((1, 2, 3))
    assert 0.59 < ratio.min() < 0.9
    assert 1.1 < ratio.max() < 1.41


def test_operations_leave_some_pictures_alone_and_change_others(
    batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = batch.repeat(12, 1, 1, 1)
    found = augmented(many, under(monkeypatch, n_operations=1))
    same = (found - many).abs().amax(dim=(1, 2, 3)) < 0.01
    inverted = (found - (255 - many.float())).abs().amax(dim=(1, 2, 3)) < 0.01
    grey = (found - many.float().mean(3, keepdim=True)).abs().amax(dim=(1, 2, 3)) < 0.01
    for kind in (same, inverted, grey):
        assert 0.05 < kind.float().mean() < 0.4
    assert 0.2 < (~(same | inverted | grey)).float().mean() < 0.8  # solarised, noisy, erased


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mirror", [False, True])
def test_a_sample_s_view_does_not_depend_on_its_batch(
    batch: Tensor, policy: str, mirror: bool
) -> None:
    view = View(policy, mirror, 3, 1, n_rows=40)
    rows = np.arange(20, 36)
    whole = view.apply(batch, rows)
    order = np.random.default_rng(0).permutation(16)
    for places in (order[:1], order[3:8], order):
        assert torch.equal(view.apply(batch[torch.from_numpy(places)], rows[places]), whole[places])
    maps = torch.randn(16, 5, 11, 12)
    moved = view.apply_to_maps(maps, rows)
    for places in (order[:1], order[3:8]):
        assert torch.equal(view.apply_to_maps(maps[places], rows[places]), moved[places])


VIEWS = [
    View("light", False, 0, 0, 40),
    View("light", False, 0, 1, 40),
    View("light", False, 1, 0, 40),
    View("light", True, 0, 0, 40),
    View("medium", False, 0, 0, 40),
    View("strong", False, 0, 0, 40),
    View("light", False, 1, 11, 40),
    View("light", False, 11, 1, 40),
]


def test_keys_and_pictures_of_different_views_differ(batch: Tensor) -> None:
    assert len({view.key for view in VIEWS}) == len(VIEWS)
    shown = [view.apply(batch, np.arange(16)) for view in VIEWS]
    for i in range(len(shown)):
        for j in range(i):
            assert not torch.equal(shown[i], shown[j]), (VIEWS[i], VIEWS[j])
    for view, pixels in zip(VIEWS, shown, strict=True):
        again = View(view.policy, view.mirror, view.seed, view.index, view.n_rows)
        assert again.key == view.key
        assert torch.equal(again.apply(batch, np.arange(16)), pixels)


def test_draws_are_uniform_and_of_each_row_its_own() -> None:
    draws = View("light", False, 0, 0, 2_000).draws
    assert draws.shape == (2_000, N_DRAWS)
    assert draws.dtype == np.float32
    assert 0 <= draws.min() < 0.01 < 0.99 < draws.max() < 1
    np.testing.assert_allclose(draws.mean(axis=0), 0.5, atol=0.03)
    assert len(np.unique(draws, axis=0)) == 2_000


def test_mirror_is_half_of_the_samples_and_another_half_in_another_view(
    batch: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    only, many = under(monkeypatch), batch.repeat(40, 1, 1, 1)
    rows = np.arange(len(many))
    flipped = []
    for index in range(2):
        found = View(only, True, 0, index, len(many)).apply(many, rows)
        flipped.append((found - many.flip(2)).abs().amax(dim=(1, 2, 3)) < 0.01)
        assert 0.44 < flipped[-1].float().mean() < 0.56
    assert 0.4 < (flipped[0] ^ flipped[1]).float().mean() < 0.6


def test_noise_differs_between_samples_but_not_between_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flat = torch.full((8, 32, 32, 3), 128, dtype=torch.uint8)
    draws = torch.zeros(8, N_DRAWS)
    draws[:, 9:] = drawn(8)[:, 9:]
    draws[:, 9] = 2.5 / 6  # which operation: noise
    draws[:, 10] = 0.9
    only = under(monkeypatch, n_operations=1)
    found = augment(flat, only, mirror=False, draws=draws) - 128
    for i in range(8):
        assert 10 < found[i].std() < 30
        assert abs(float(found[i].mean())) < 2
        for j in range(i):
            shared = torch.corrcoef(torch.stack([found[i].flatten(), found[j].flatten()]))[0, 1]
            assert abs(float(shared)) < 0.2
    alone = augment(flat[3:4], only, mirror=False, draws=draws[3:4]) - 128
    assert torch.equal(alone[0], found[3])


def shifted(maps: Tensor, down: float, right: float, *, flipped: bool = False) -> Tensor:
    """Maps under given draws, from -1 to 1, of the shift; ``flipped``: whether mirrored."""
    draws = torch.full((len(maps), N_DRAWS), 0.5)
    draws[:, 3], draws[:, 4] = (down + 1) / 2, (right + 1) / 2
    draws[:, 5] = 0.7 if flipped else 0.2
    return shift_maps(maps, mirror=True, draws=draws)


def test_maps_are_shifted_by_whole_positions_and_their_edges_repeat() -> None:
    row = torch.arange(10.0)
    maps = (row.view(1, 1, 10, 1) * 10 + row.view(1, 1, 1, 10)).repeat(1, 2, 1, 1)
    maps[:, 1] += 1_000
    assert torch.equal(shifted(maps, 0, 0), maps)
    down = shifted(maps, 1, 0)  # a tenth of ten positions
    assert torch.equal(down[:, :, :9], maps[:, :, 1:])
    assert torch.equal(down[:, :, 9], maps[:, :, 9])
    left = shifted(maps, 0, -1)
    assert torch.equal(left[..., 1:], maps[..., :9])
    assert torch.equal(left[..., 0], maps[..., 0])
    assert torch.equal(shifted(maps, 0.3, -0.4), maps)  # less than half a position
    assert torch.equal(shifted(maps, 0, 0, flipped=True), maps.flip(3))
    assert torch.equal(shifted(maps, 1, -1, flipped=True), shifted(maps, 1, -1).flip(3))


def test_maps_without_mirror_are_not_flipped() -> None:
    maps = torch.randn(64, 3, 4, 4)
    assert torch.equal(shift_maps(maps, mirror=False, draws=drawn(64)), maps)  # too small to shift
    mirrored = shift_maps(maps, mirror=True, draws=drawn(64))
    same = (mirrored == maps).all(dim=(1, 2, 3))
    flipped = (mirrored == maps.flip(3)).all(dim=(1, 2, 3))
    assert torch.all(same ^ flipped)
    assert 0.3 < flipped.float().mean() < 0.7


def test_each_map_is_shifted_by_its_own_draws() -> None:
    maps = torch.randn(1, 2, 40, 40).repeat(32, 1, 1, 1)
    found = shift_maps(maps, mirror=False, draws=drawn(32))
    inner = found[:, :, 20, 20]
    window = {tuple(value.tolist()) for value in maps[0, :, 16:25, 16:25].flatten(1).T}
    assert {tuple(value.tolist()) for value in inner} <= window  # at most four positions
    assert len({tuple(value.tolist()) for value in inner}) > 16


@pytest.mark.parametrize("shape", [(4, 8), (4, 5, 8)])
def test_what_is_no_map_stays(shape: tuple[int, ...]) -> None:
    tokens = torch.randn(*shape)
    assert shift_maps(tokens, mirror=True, draws=drawn(4)) is tokens
