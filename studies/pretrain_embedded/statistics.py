"""Low-level statistics of an image, and linear heads that read them off the pooled features.

The classes of the drawn images can be told apart with little heed to colour and grain, so the class
alone teaches the features to drop them. The heads here ask for them back: from the global average
pool of every stage a linear map has to give colour, layout and texture of the very picture that the
network was shown, after its augmentation. Predicting what an augmentation changed rather than
ignoring it: Dangovski et al., "Equivariant Self-Supervised Learning", ICLR 2022 (arXiv 2111.00899).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

N_LUMA_BINS = 8
N_CHROMA_BINS = 5
GRID = 4
SCALES = (1, 2, 4)
GROUPS = {
    "colour": 6 + N_LUMA_BINS + N_CHROMA_BINS**2,
    "layout": 4 * GRID**2,
    "texture": 7 * len(SCALES),
}
"""Number of statistics per group, in the order of the columns."""
N_STATISTICS = sum(GROUPS.values())


def _bins(values: torch.Tensor, low: float, high: float, n_bins: int) -> torch.Tensor:
    """Membership of values ``(n, m)`` in ``n_bins`` triangular bins, ``(n, m, n_bins)``."""
    step = (high - low) / (n_bins - 1)
    centres = torch.linspace(low, high, n_bins)
    away = (values.clamp(low, high)[..., None] - centres).abs() / step
    return (1.0 - away).clamp_min(0.0)


def statistics(x: torch.Tensor) -> torch.Tensor:
    """Colour, layout and texture of images.

    Colour: mean and standard deviation of the channels, a histogram of brightness and one of the
    two opponent colours. Layout: mean colour and log gradient energy in the cells of a 4x4 grid.
    Texture, at full, half and quarter resolution: log mean absolute difference along four
    directions, the same of the two opponent colours, and how sparse the differences are.

    Args:
        x: ``(n, 3, h, w) float32`` in [-1, 1], h and w multiples of 16.

    Returns:
        ``(n, N_STATISTICS) float32``, not standardised.
    """
    opponent = torch.stack(
        [x.mean(1), (x[:, 0] - x[:, 1]) / 2, ((x[:, 0] + x[:, 1]) / 2 - x[:, 2]) / 2], 1
    )
    small = F.avg_pool2d(opponent, 2).flatten(2)
    chroma = _bins(small[:, 1], -0.6, 0.6, N_CHROMA_BINS).transpose(1, 2) @ _bins(
        small[:, 2], -0.6, 0.6, N_CHROMA_BINS
    )
    colour = [
        x.mean((2, 3)),
        x.std((2, 3)),
        _bins(small[:, 0], -1.0, 1.0, N_LUMA_BINS).mean(1),
        chroma.flatten(1) / small.shape[2],
    ]
    texture = []
    energy = torch.empty(0)
    for scale in SCALES:
        y = F.avg_pool2d(opponent, scale) if scale > 1 else opponent
        corner = y[:, :, :-1, :-1]
        dx, dy = y[:, :, :-1, 1:] - corner, y[:, :, 1:, :-1] - corner
        across = [dx, dy, (dx + dy) / math.sqrt(2), (dx - dy) / math.sqrt(2)]
        strength = torch.stack([d[:, 0].abs().mean((1, 2)) for d in across], 1)
        hues = (dx[:, 1:].abs() + dy[:, 1:].abs()).mean((2, 3))
        square = (dx[:, 0] ** 2 + dy[:, 0] ** 2).mean((1, 2)).sqrt()
        sparse = (square + 0.01) / (strength[:, 0] + strength[:, 1] + 0.01)
        texture += [torch.log(strength + 0.01), torch.log(hues + 0.01), torch.log(sparse)[:, None]]
        if scale == SCALES[0]:
            energy = dx[:, :1].abs() + dy[:, :1].abs()
    layout = [
        F.adaptive_avg_pool2d(x, GRID).flatten(1),
        torch.log(F.adaptive_avg_pool2d(energy, GRID).flatten(1) + 0.01),
    ]
    return torch.cat(colour + layout + texture, 1)


class StatisticsHeads(nn.Module):
    """One linear map per stage from standardised pooled features to standardised statistics.

    Args:
        widths: Channels of the stages.
    """

    mean: torch.Tensor
    std: torch.Tensor
    share: torch.Tensor

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, N_STATISTICS))
            for width in widths
        )
        self.register_buffer("mean", torch.zeros(N_STATISTICS))
        self.register_buffer("std", torch.ones(N_STATISTICS))
        # every group counts the same, however many statistics it has
        share = [torch.full((n,), 1.0 / (n * len(GROUPS))) for n in GROUPS.values()]
        self.register_buffer("share", torch.cat(share))

    def standardise_by(self, x: torch.Tensor) -> None:
        """Takes means and standard deviations of the statistics from images ``(n, 3, h, w)``."""
        values = statistics(x)
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp_min(1e-3))

    def forward(self, stages: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Loss of the heads on one batch.

        Args:
            stages: Feature maps of the stages, ``(n, width, h, w)`` each.
            x: The images that they were computed from, ``(n, 3, h, w)``.

        Returns:
            Mean squared error over stages and groups, a scalar; about 1 for a head that knows
            nothing. Rare statistics are cut off at 4 standard deviations.
        """
        with torch.no_grad():
            target = ((statistics(x) - self.mean) / self.std).clamp(-4, 4)
        loss = target.new_zeros(())
        for head, stage in zip(self.heads, stages, strict=True):
            error = (head(stage.float().mean((2, 3))) - target) ** 2
            loss = loss + (error.mean(0) * self.share).sum()
        return loss / len(self.heads)
