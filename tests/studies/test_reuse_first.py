"""The first model and the least it can take: both from the files, each time anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autotl.backbones.zoo import Backbone
from autotl.data import Fold, read_dataset
from autotl.reuse.pixels import PixelView
from autotl.strategies.base import Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig
from studies.reuse import first
from studies.reuse.first import seconds_to_first_model

N = 90


def test_both_decode_and_pass_every_picture_anew_and_one_also_fits(
    monkeypatch: pytest.MonkeyPatch,
    make_task: Callable[..., Task],
    backbone: Backbone,
    folder: Path,
) -> None:
    decoded: list[int] = []
    fitted: list[int] = []
    passed: list[int] = []
    decode, run, forward = first.decode_table, Bottleneck.run, first._forward

    def decoding(table: Any, size: int, quota: Any) -> Any:
        assert not list(quota.folder.rglob("*.*"))
        decoded.append(len(table))
        return decode(table, size, quota)

    def running(self: Any, config: Any, task: Task, reporter: Any) -> Any:
        result = run(self, config, task, reporter)
        assert result.score > 0.6  # labels and pictures belong together
        fitted.append(task.store.meter.n_computed)
        return result

    def passing(own: Any, views: Any, *rest: Any) -> None:
        passed.append(len(views(own.image_size)))
        forward(own, views, *rest)

    def interleaved(candidates: Mapping[str, Callable[[], float]], repeats: int) -> Any:
        assert repeats == 5
        assert list(candidates) == ["first_model_s", "decode_and_forward_s"]
        assert min(measure() for measure in candidates.values()) > 0
        return dict.fromkeys(candidates, 2.0) | {"first_model_s": 3.0}

    monkeypatch.setattr(first, "decode_table", decoding)
    monkeypatch.setattr(Bottleneck, "run", running)
    monkeypatch.setattr(first, "_forward", passing)
    monkeypatch.setattr(first, "interleaved", interleaved)
    config = BottleneckConfig(
        backbone=backbone.name, layers="last_2", head="svm", C=1.0, balanced=False
    )
    task = make_task(folds=(Fold(np.arange(60), np.arange(60, N)),))  # a sorted table's last class
    found = seconds_to_first_model(read_dataset(folder), task, backbone, config, 5)
    assert found["ratio"] == 1.5
    assert decoded == [N, N]
    assert fitted == [N]
    assert passed == [N]


def test_the_least_is_one_pass_over_all_pictures(
    monkeypatch: pytest.MonkeyPatch,
    make_task: Callable[..., Task],
    backbone: Backbone,
    pictures: NDArray[np.uint8],
) -> None:
    seen: list[torch.Tensor] = []

    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            seen.append(x)
            return x

    monkeypatch.setattr(first, "_BATCH", 40)
    monkeypatch.setattr(Backbone, "create", lambda *_, **__: Network())
    view = PixelView(pictures, np.arange(N))
    task = make_task()
    first._forward(backbone, lambda size: view, task.speeds[backbone.name], task.device)
    assert [len(x) for x in seen] == [40, 40, 10]
    torch.testing.assert_close(torch.cat(seen), backbone.normalise(torch.from_numpy(pictures)))
