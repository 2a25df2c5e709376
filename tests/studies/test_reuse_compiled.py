"""What compiling costs, what it saves, and from when it has paid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np
import pytest
import torch

from autotl.backbones.zoo import Backbone
from autotl.data import Fold
from autotl.strategies.base import Task
from autotl.strategies.training import batch_size_for
from studies.reuse import compiled
from studies.reuse.compiled import steps

MakeTask = Callable[..., Task]
TRAIN = np.arange(10, 70)


@pytest.mark.parametrize(("step_s", "ratio", "epochs"), [(1.0, 2.0, 9.0), (4.0, 0.5, None)])
def test_what_is_compared(
    step_s: float,
    ratio: float,
    epochs: float | None,
    monkeypatch: pytest.MonkeyPatch,
    clock: Any,
    make_task: MakeTask,
    backbone: Backbone,
) -> None:
    """A step of 2 s as it is; the first one of the compiled loop takes 10 s."""
    task = make_task(folds=(Fold(TRAIN, np.arange(10)),))
    shown: list[Any] = []

    def bare_steps(network: Any, pixels: Any, labels: Any, *rest: Any, **named: Any) -> Any:
        shown.append((pixels, labels, rest, named))
        return first_then(step_s) if network == "compiled" else repeat(2.0)

    def first_then(seconds: float) -> Iterator[float]:
        clock.take(10.0)
        yield 10.0
        yield from repeat(seconds)

    def interleaved(candidates: Mapping[str, Callable[[], float]], repeats: int) -> Any:
        assert repeats == 3
        return {name: measured() for name, measured in candidates.items()}

    monkeypatch.setattr(compiled, "time", clock)
    monkeypatch.setattr(torch, "compile", lambda network: "compiled")
    monkeypatch.setattr(compiled, "bare_steps", bare_steps)
    monkeypatch.setattr(compiled, "interleaved", interleaved)
    found = steps(task, backbone.name, 4, 3)

    assert found["eager_s"] == 2.0
    assert found["compiled_s"] == step_s
    assert found["compile_s"] == 10.0 - step_s
    assert found["ratio"] == ratio
    expected = None if epochs is None else batch_size_for(len(TRAIN)) * epochs
    assert found["worth_from_images"] == expected
    (pixels, labels, rest, named), (others, *_) = shown
    assert torch.equal(pixels, others)
    np.testing.assert_array_equal(pixels.permute(0, 2, 3, 1), task.pixels(32)[TRAIN])
    assert torch.equal(labels, torch.from_numpy(task.labels[TRAIN]))
    assert rest == (batch_size_for(len(TRAIN)), "fp32", False)
    assert named == {"mean": backbone.mean, "std": backbone.std}
