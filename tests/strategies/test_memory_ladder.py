"""Exhausted memory: a batch in parts has the whole batch's gradient, and the limit is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autotl.strategies.passes as passes_module
from autotl.strategies import STRATEGIES
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.memory import Accumulation, BatchLoss, MemoryLimits, parts
from autotl.strategies.mixing import Mixer, MixKind

KIND = ("tiny", 32, 0)
FULL = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


class Small(nn.Module):
    """Memory holds so many pictures."""

    def __init__(self, holds: int) -> None:
        super().__init__()
        self.holds = holds
        self.linear = nn.Linear(6, 3)
        self.tried: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.tried.append(len(x))
        if len(x) > self.holds:
            raise FULL
        logits: Tensor = self.linear(x)
        return logits


def gradient_of(
    holds: int, mix: MixKind, limits: MemoryLimits, weight: Tensor | None
) -> tuple[Tensor, Tensor, Small]:
    torch.manual_seed(0)
    network = Small(holds)
    x, target = torch.randn(23, 6), torch.arange(23) % 3
    loss = Accumulation(limits, KIND, 64).gradients(
        x,
        target,
        Mixer(mix, 0).draw(23),
        BatchLoss(weight, 0.1),
        network,
        lambda _: network.zero_grad(),
    )
    assert network.linear.weight.grad is not None
    return loss, network.linear.weight.grad, network


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 5.0, 0.2])])
@pytest.mark.parametrize("mix", ["none", "mixup"])
@pytest.mark.parametrize("holds", [3, 5, 22])
def test_parts_add_up_to_the_batch(mix: MixKind, holds: int, weight: Tensor | None) -> None:
    limits = MemoryLimits()
    loss, gradient, _ = gradient_of(holds, mix, limits, weight)
    expected_loss, expected, whole = gradient_of(64, mix, MemoryLimits(), weight)
    assert whole.tried == [23]
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
    assert limits.found[KIND] <= holds
    assert 2 * limits.found[KIND] + 1 > holds
    *_, again = gradient_of(holds, mix, limits, weight)  # what was found isn't tried again
    assert max(again.tried) <= holds
    assert sum(again.tried) == 23


def test_memory_that_holds_nothing_is_told() -> None:
    with pytest.raises(RuntimeError, match="can't allocate"):
        gradient_of(1, "none", MemoryLimits(), None)


def test_other_errors_surface_at_once() -> None:
    network = Small(64)
    network.linear = nn.Linear(5, 3)
    with pytest.raises(RuntimeError, match="shapes"):
        Accumulation(MemoryLimits(), KIND, 64).gradients(
            torch.randn(8, 6),
            torch.zeros(8, dtype=torch.int64),
            Mixer("none", 0).draw(8),
            BatchLoss(None, 0.0),
            network,
            lambda _: None,
        )
    assert network.tried == [8]


@pytest.mark.parametrize(
    ("n", "most", "sizes"),
    [(1, 2, [1]), (3, 2, [3]), (5, 2, [2, 3]), (8, 8, [8]), (9, 8, [4, 5]), (64, 16, [16] * 4)],
)
def test_parts_are_even_and_never_of_one(n: int, most: int, sizes: list[int]) -> None:
    found = [len(range(n)[rows]) for rows in parts(n, most)]
    assert sorted(found) == sizes


@pytest.mark.parametrize("strategy", ["finetune", "scratch"])
def test_a_trial_goes_on_where_memory_is_short(
    strategy: str, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    original = passes_module.Passes._logits
    sizes: list[int] = []

    def short(self: Any, network: nn.Module, x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > 7:
            raise FULL
        return original(self, network, x)

    monkeypatch.setattr(passes_module.Passes, "_logits", short)
    own: dict[str, Any] = {"n_removed": 0}
    if strategy == "finetune":
        own = {"freeze_depth": 2, "lr_ratio": 0.3, "head": "random"}
    config = STRATEGIES[strategy].Config.model_validate(
        {
            **{"backbone": next(iter(task.backbones)), "lr": 3e-3, "epochs": 1},
            **{"weight_decay": 0.05, "label_smoothing": 0.1, "augmentation": "none"},
            **{"mirror": False, "balanced": False, **own},
        }
    )
    result = STRATEGIES[strategy].run(config, task, SilentReporter())
    assert np.isfinite(result.score)
    ((_, _, depth), most) = next(iter(task.limits.found.items()))
    assert most <= 7
    assert depth == own.get("freeze_depth", 0)
    assert sum(size > 7 for size in sizes) <= 2 + 2 * 3  # learnt once, but for the predictions
