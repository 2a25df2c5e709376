"""Low-level statistics of images, and heads that read them off pooled features."""

import torch

from studies.pretrain_embedded.statistics import (
    GROUPS,
    N_STATISTICS,
    StatisticsHeads,
    statistics,
)

BOUNDS = {"colour": (0, 39), "layout": (39, 103), "texture": (103, 124)}


def noise(n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def group(x: torch.Tensor, name: str) -> torch.Tensor:
    low, high = BOUNDS[name]
    return statistics(x)[:, low:high]


def test_groups_are_where_they_are_said_to_be() -> None:
    assert {name: high - low for name, (low, high) in BOUNDS.items()} == GROUPS
    assert statistics(noise()).shape == (4, N_STATISTICS)


def test_first_statistics_are_the_channels_mean_and_standard_deviation() -> None:
    x = noise()
    torch.testing.assert_close(statistics(x)[:, :3], x.mean((2, 3)))
    torch.testing.assert_close(statistics(x)[:, 3:6], x.std((2, 3)))


def test_histograms_share_out_every_pixel() -> None:
    colour = group(noise(), "colour")
    torch.testing.assert_close(colour[:, 6:14].sum(1), torch.ones(4))
    torch.testing.assert_close(colour[:, 14:].sum(1), torch.ones(4))
    assert (colour[:, 6:] >= 0).all()


def test_turned_channels_change_the_colours_but_not_the_brightness() -> None:
    x = noise() * torch.tensor([1.0, 0.5, 0.1])[:, None, None]
    colour, turned = group(x, "colour"), group(x.roll(1, 1), "colour")
    torch.testing.assert_close(colour[:, 6:14], turned[:, 6:14])
    assert (colour[:, 14:] - turned[:, 14:]).abs().max() > 0.05


def test_mirroring_changes_the_layout_only_by_its_order() -> None:
    x = noise()
    layout, mirrored = group(x, "layout"), group(x.flip(3), "layout")
    grid = layout[:, :48].view(4, 3, 4, 4)
    torch.testing.assert_close(mirrored[:, :48].view(4, 3, 4, 4), grid.flip(3))
    torch.testing.assert_close(group(x, "colour"), group(x.flip(3), "colour"))


def test_stripes_are_told_from_bars_and_fine_from_coarse() -> None:
    wave = torch.sin(torch.arange(32) * torch.pi / 2 + 0.4)
    stripes = wave.expand(1, 3, 32, 32).contiguous()
    bars = stripes.transpose(2, 3).contiguous()
    across, along = group(stripes, "texture")[0, :2]
    assert across > along + 1
    torch.testing.assert_close(group(bars, "texture")[0, :2], torch.stack([along, across]))
    # at a quarter of the resolution nothing of a wave of four pixels is left
    assert group(stripes, "texture")[0, 14] < across - 2


def test_a_plain_image_has_finite_statistics() -> None:
    assert statistics(torch.full((2, 3, 32, 32), 0.3)).isfinite().all()


def test_heads_learn_what_the_features_hold_and_nothing_else() -> None:
    torch.manual_seed(0)
    x = torch.cat([noise(64, seed) * 0.5 + torch.rand(64, 3, 1, 1) - 0.5 for seed in range(4)])
    pooled = statistics(x)[:, :, None, None].expand(-1, -1, 2, 2)
    blind = torch.randn(256, N_STATISTICS, 2, 2)
    found = {}
    for name, stage in (("seeing", pooled), ("blind", blind)):
        heads = StatisticsHeads((N_STATISTICS,))
        heads.standardise_by(x)
        optimizer = torch.optim.SGD(heads.parameters(), lr=0.5)
        for _ in range(60):
            loss = heads([stage], x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        fresh = torch.randperm(256)  # the blind one must not profit from having seen the order
        found[name] = heads([stage[fresh] if name == "blind" else stage], x).item()
    assert found["seeing"] < 0.35
    assert found["blind"] > 0.9


def test_loss_reaches_every_stage_and_starts_near_one() -> None:
    torch.manual_seed(0)
    x = noise(64) + torch.rand(64, 3, 1, 1) * 0.2
    stages = [torch.randn(64, width, 3, 3, requires_grad=True) for width in (8, 16)]
    heads = StatisticsHeads((8, 16))
    heads.standardise_by(x)
    loss = heads(stages, x)
    loss.backward()
    assert 0.7 < loss.item() < 2.0
    for stage in stages:
        assert stage.grad is not None
        assert stage.grad.abs().max() > 0


def test_groups_count_the_same() -> None:
    share = StatisticsHeads((4,)).share
    for low, high in BOUNDS.values():
        torch.testing.assert_close(share[low:high].sum(), torch.tensor(1 / 3))
