"""The optimizers do what torch's do, whatever the layout of what they train."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autotl.backbones.optimizers import new_optimizer


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_steps_are_torchs(kind: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    start = [torch.randn(6, 5, 3, 3).contiguous(memory_format=layout), torch.randn(7, 4)]
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    optimizer = new_optimizer([{"params": ours, "lr": 0.1, "weight_decay": 0.02}], kind)
    plain: torch.optim.Optimizer = torch.optim.SGD(theirs, 0.1, 0.9, weight_decay=0.02)
    if kind == "adamw":
        plain = torch.optim.AdamW(theirs, 0.1, (0.9, 0.99), weight_decay=0.02)
    for _ in range(3):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn_like(own)
            other.grad = own.grad.clone()
        optimizer.step()
        plain.step()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)
    assert list(optimizer.state) == ours


def test_no_gradient_is_copied() -> None:
    parameter = nn.Parameter(torch.zeros(8, 8, 3, 3).contiguous(memory_format=torch.channels_last))
    optimizer = new_optimizer([{"params": [parameter], "lr": 0.1}])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.profiler.profile() as profile:
        optimizer.step()
    names = {event.name for event in profile.events() or ()}
    assert "aten::_fused_adamw_" in names
    assert "aten::clone" not in names
