"""Pictures per second of three loops: the same batches, the first steps left out, medians."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from autotl.backbones.zoo import Backbone
from autotl.data import Fold
from autotl.strategies.base import Task
from autotl.strategies.training import batch_size_for
from studies.reuse import loop
from studies.reuse.loop import images_per_s

MakeTask = Callable[..., Task]
N_STEPS = 6


def test_what_is_compared(
    monkeypatch: pytest.MonkeyPatch,
    clock: Any,
    make_task: MakeTask,
    backbone: Backbone,
    folder: Path,
) -> None:
    train = np.arange(10, 70)
    task = make_task(folds=(Fold(train, np.arange(10)),))
    batch_size = batch_size_for(len(train))
    bare: dict[str, Any] = {}
    n_checks = 0

    def fit(_: Any, config: Any, task: Task, samples: Any, validation: Any, reporter: Any) -> None:
        nonlocal n_checks
        assert config.freeze_depth == 0
        assert validation is None
        np.testing.assert_array_equal(samples, train)
        for seconds in chain([50.0, 50.0, 50.0, 1.0, 2.0, 2.0], repeat(9.0)):
            clock.take(seconds)
            n_checks += 1
            reporter.check()

    def bare_steps(network: Any, pixels: Any, labels: Any, *rest: Any, **named: Any) -> Any:
        bare.update(pixels=pixels, labels=labels, rest=rest, **named)
        return chain([4.0, 1.0, 1.0, 1.0, 30.0, 1.0], repeat(100.0))

    def opened(config: Any, source: Any, samples: list[int], seed: int) -> Any:
        assert len(set(samples)) == len(train)
        return "training"

    def interleaved(candidates: Mapping[str, Callable[[], float]], repeats: int) -> Any:
        assert repeats == 7
        return {name: measure() for name, measure in candidates.items()}

    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop.Finetune, "fit", fit)
    monkeypatch.setattr(loop, "bare_steps", bare_steps)
    monkeypatch.setattr(loop, "open_training", opened)
    monkeypatch.setattr(loop, "train_epoch", lambda _: SimpleNamespace(images_per_s=batch_size / 4))
    monkeypatch.setattr(loop, "interleaved", interleaved)
    found = images_per_s(task, backbone.name, folder, N_STEPS, 7)

    assert n_checks == N_STEPS + 1
    assert found["autotl"] == batch_size / 2.0  # of steps of 1, 2, 2 and 9 s
    assert found["bare"] == batch_size / 1.0
    assert found["usual"] == batch_size / 4.0
    assert (found["ratio_to_bare"], found["ratio_to_usual"]) == (0.5, 2.0)
    assert bare["rest"] == (batch_size, "fp32", False)
    assert (bare["mean"], bare["std"]) == (backbone.mean, backbone.std)
    expected = task.pixels(32)[train]
    np.testing.assert_array_equal(bare["pixels"].permute(0, 2, 3, 1), expected)
    assert torch.equal(bare["labels"], torch.from_numpy(task.labels[train]))
