"""Mixed pictures and their losses: shares as drawn, the same with the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from autotl.strategies.mixing import UNMIXED, Mix, Mixer

PARTNER = np.array([2, 0, 1])


def pictures() -> torch.Tensor:
    return torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 8, 8) * 10


def test_nothing_is_mixed_by_default() -> None:
    x = pictures()
    assert Mixer("none", 0).draw(3) is UNMIXED
    assert UNMIXED.pictures(x) is x
    assert UNMIXED.activations(x) is x


def test_mixup_averages_with_the_partner() -> None:
    mixed = Mix(PARTNER, 0.75).pictures(pictures())
    np.testing.assert_allclose(mixed[:, 0, 0, 0], [5.0, 7.5, 17.5])
    assert (mixed == mixed[:, :1, :1, :1]).all()


def test_cutmix_pastes_the_box_only() -> None:
    x = pictures()
    mixed = Mix(PARTNER, 0.75, (0.0, 0.5, 0.5, 1.0)).pictures(x)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:4, 4:] = True
    assert (mixed[..., inside] == x[PARTNER][..., inside]).all()
    assert (mixed[..., ~inside] == x[..., ~inside]).all()


def test_activations_are_averaged_under_cutmix_too() -> None:
    features = torch.tensor([[0.0], [10.0], [20.0]])
    mixed = Mix(PARTNER, 0.75, (0.0, 0.5, 0.5, 1.0)).activations(features)
    np.testing.assert_allclose(mixed[:, 0], [5.0, 7.5, 17.5])


def test_loss_is_that_of_both_labels_by_their_shares() -> None:
    logits, target = torch.randn(3, 4), torch.tensor([0, 1, 3])
    found = Mix(PARTNER, 0.75).loss(logits, target, functional.cross_entropy)
    soft = torch.zeros(3, 4)
    for sample in range(3):
        soft[sample, target[sample]] += 0.75
        soft[sample, target[PARTNER[sample]]] += 0.25
    torch.testing.assert_close(found, functional.cross_entropy(logits, soft))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_draws_are_those_of_the_seed(kind: str) -> None:
    first, again, other = (Mixer(kind, seed).draw(16) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert first.share == again.share != other.share
    assert first.box == again.box
    np.testing.assert_array_equal(first.partner, again.partner)
    assert sorted(first.partner) == list(range(16))


def test_cutmix_boxes_lie_within_and_have_the_partners_share() -> None:
    mixer = Mixer("cutmix", 0)
    for _ in range(200):
        mix = mixer.draw(2)
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 1
        assert 0 <= left <= right <= 1
        assert (bottom - top) * (right - left) == pytest.approx(1 - mix.share)


def test_shares_spread_as_published() -> None:
    mixup, cutmix = (Mixer(kind, 0) for kind in ("mixup", "cutmix"))  # type: ignore[arg-type]
    extreme = [
        np.mean([not 0.1 < mixer.draw(2).share < 0.9 for _ in range(1000)])
        for mixer in (mixup, cutmix)
    ]
    assert extreme[0] > 0.5  # beta(0.2, 0.2) is U-shaped
    assert extreme[1] == pytest.approx(0.2, abs=0.05)  # beta(1, 1) is uniform
