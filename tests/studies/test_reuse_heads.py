"""Head training against the usual loop: equal numbers of samples, the first round left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl.backbones.zoo import Backbone
from autotl.data import Fold
from autotl.strategies.base import Task
from studies.reuse import heads
from studies.reuse.heads import bottleneck_study, head_epochs

MakeTask = Callable[..., Task]


def test_both_sides_train_and_validate_as_many_samples(
    monkeypatch: pytest.MonkeyPatch,
    clock: Any,
    make_task: MakeTask,
    backbone: Backbone,
    folder: Path,
) -> None:
    task = make_task(folds=(Fold(np.arange(50), np.arange(50, 70)),))
    own_s = iter([[90.0], [1.0, 2.0], [3.0, 40.0]])
    usual_s = iter([90.0, 6.0, 8.0])
    trained: list[Any] = []
    shown: list[int] = []

    def opened(config: Any, source: Any, train: list[int], seed: int) -> Any:
        trained.extend(train)
        assert config.freeze_depth == backbone.num_stages
        return SimpleNamespace(network=None, speed=None)

    def predict(network: Any, batches: Any, speed: Any) -> None:
        shown[:] = list(batches.source.sampler)
        clock.take(1.0)

    monkeypatch.setattr(heads, "time", clock)
    monkeypatch.setattr(heads, "epoch_seconds", lambda config, task: next(own_s))
    monkeypatch.setattr(heads, "open_training", opened)
    monkeypatch.setattr(heads, "train_epoch", lambda training: clock.take(next(usual_s)))
    monkeypatch.setattr(heads, "predict", predict)
    found = head_epochs(task, backbone.name, folder, 2)
    assert (len(set(trained)), len(set(shown))) == (50, 20)
    assert not set(trained) & set(shown)
    assert found == {"autotl_s": 2.5, "usual_s": 8.0, "ratio": 3.2}


def test_seconds_of_all_trials_on_and_off(
    monkeypatch: pytest.MonkeyPatch, clock: Any, make_task: MakeTask, backbone: Backbone
) -> None:
    task, configs = make_task(), []

    def run(_: Any, config: Any, own: Task, reporter: Any) -> Any:
        configs.append(config)
        clock.take(1.0 if own.seed == 1 else 3.0)
        return SimpleNamespace(score=config.C)

    monkeypatch.setattr(heads, "time", clock)
    monkeypatch.setattr(heads.Bottleneck, "run", run)
    monkeypatch.setattr(heads, "keeping", lambda task: SimpleNamespace(seed=1))
    monkeypatch.setattr(heads, "keeping_nothing", lambda task: SimpleNamespace(seed=2))
    found = bottleneck_study(task, backbone.name)
    assert found == {
        "n_trials": 24,
        "on_s": 24.0,
        "off_s": 72.0,
        "ratio": 3.0,
        "same_scores": True,
    }
    assert configs[::2] == configs[1::2]
    assert len({str(config) for config in configs}) == 24


def test_the_store_changes_no_score_and_a_changed_one_is_seen(
    monkeypatch: pytest.MonkeyPatch, make_task: MakeTask, backbone: Backbone
) -> None:
    monkeypatch.setattr(heads, "LAYERS", ("last",))
    monkeypatch.setattr(heads, "CS", (1e-2,))
    found = bottleneck_study(make_task(), backbone.name)
    assert (found["n_trials"], found["same_scores"]) == (2, True)
    scores = iter(range(4))

    def changing(*_: Any) -> Any:
        return SimpleNamespace(score=next(scores))

    monkeypatch.setattr(heads.Bottleneck, "run", changing)
    assert not bottleneck_study(make_task(), backbone.name)["same_scores"]
