"""What is trained at which rate, and what a step of the optimizer does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained alike.

    Attributes:
        parameters: trainable ones.
        lr: peak learning rate.
        pull: strength of the pull back to where they start, in place of weight decay; times the
            learning rate at each step (L2-SP, Li et al. 2018, arXiv 1802.01483, decoupled from
            the gradient as AdamW's decay is).
    """

    parameters: Sequence[nn.Parameter]
    lr: float
    pull: float = 0.0


def one_cycle(n_steps: int, warmup_share: float) -> Callable[[int], float]:
    """Factor of the peak learning rate by step: linear warm-up, then half a cosine to 0."""
    n_warmup = max(1, round(n_steps * warmup_share))

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        share = (step - n_warmup) / max(1, n_steps - n_warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))

    return factor


def optimizer_groups(
    groups: Sequence[ParameterGroup], weight_decay: float
) -> list[dict[str, object]]:
    """Optimizer groups; biases and normalisation scales (vectors) are not decayed."""
    made: list[dict[str, object]] = []
    for group in groups:
        decay = 0.0 if group.pull else weight_decay
        for is_decayed in (True, False):
            members = [p for p in group.parameters if (p.ndim > 1) == is_decayed]
            made.append(
                {
                    "params": members,
                    "lr": group.lr,
                    "weight_decay": decay if is_decayed else 0.0,
                    "pull": group.pull,
                    "start": [p.detach().clone() for p in members] if group.pull else [],
                }
            )
    return [group for group in made if group["params"]]


@torch.no_grad()
def pull_back(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """After a step: parameters with a pull go back towards their start."""
    for group in optimizer.param_groups:
        if group["pull"]:
            weight = min(1.0, group["lr"] * group["pull"])
            for parameter, start in zip(group["params"], group["start"], strict=True):
                parameter.lerp_(start, weight)
