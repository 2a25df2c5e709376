"""Augmentation: every sample its own parameters, all from the generator, nothing else touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotl.strategies import augment as module
from autotl.strategies.augment import POLICIES, Policy, augment

CHANGING = [policy for policy in POLICIES if policy != "none"]
changing_policies = pytest.mark.parametrize("policy", CHANGING)


@pytest.fixture
def batch(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pictures[:16].copy())


def augmented(batch: Tensor, policy: str, *, mirror: bool = False, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(batch, policy, mirror=mirror, generator=generator)


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
def test_generator_decides(batch: Tensor, policy: str) -> None:
    first = augmented(batch, policy, mirror=True, seed=3)
    assert torch.equal(first, augmented(batch, policy, mirror=True, seed=3))
    assert not torch.equal(first, augmented(batch, policy, mirror=True, seed=4))


@changing_policies
def test_batches_of_one_generator_differ(batch: Tensor, policy: str) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (augment(batch, policy, mirror=False, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)


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
