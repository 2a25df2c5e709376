"""Checkpoints: what is read back is what was written, whole, of the same trial, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autotl.strategies.checkpoint as checkpoint_module
from autotl.strategies import STRATEGIES
from autotl.strategies.base import SilentReporter, Task, TrialResult
from autotl.strategies.checkpoint import NoCheckpoint, TrialCheckpoint, checkpoint_of


class Killed(BaseException):
    """Stands for SIGKILL."""


class Dying(SilentReporter):
    """Keeps a checkpoint after each epoch, and dies in the middle of one."""

    def __init__(self, checkpoint: TrialCheckpoint, after: int | None = None) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.after = after
        self.told: list[float] = []
        self.n_steps = 0

    def check(self) -> None:
        self.n_steps += 1
        if self.after is not None and len(self.told) == self.after:
            raise Killed

    def report(self, progress: float, score: float, metrics: Any) -> None:
        self.told.append(progress)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint pays."""
    monkeypatch.setattr(checkpoint_module, "LEAST_S", 0.0)
    monkeypatch.setattr(checkpoint_module, "_PAYS", 0.0)


def config_of(strategy: str, backbone: str) -> Any:
    own: dict[str, Any] = {"scratch": {"n_removed": 0}}.get(strategy) or {
        "freeze_depth": 1,
        "lr_ratio": 0.3,
        "head": "random",
        "frozen_epochs": 1,
        "pull": 3.0,
    }
    return STRATEGIES[strategy].Config.model_validate(
        {
            **{"backbone": backbone, "lr": 3e-3, "epochs": 3, "weight_decay": 0.05},
            **{"label_smoothing": 0.1, "augmentation": "light", "mirror": True},
            **{"balanced": True, "mix": "mixup", "optimizer": "adamw", **own},
        }
    )


def same(one: TrialResult, other: TrialResult) -> None:
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.model is not None
    assert other.model is not None
    for (name, mine), its in zip(
        one.model.tensors().items(), other.model.tensors().values(), strict=True
    ):
        assert torch.equal(mine, its), name


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    ("strategy", "parts"), [("finetune", (2, 1, 1, 2)), ("scratch", (2, 1, 1))]
)
def test_a_trial_that_goes_on_does_what_it_would_have_done(
    strategy: str, parts: tuple[int, ...], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = make_task()
    config = config_of(strategy, next(iter(task.backbones)))
    whole = Dying(TrialCheckpoint(tmp_path / "whole", "it"))
    expected = STRATEGIES[strategy].run(config, task, whole)
    told: list[float] = []
    for after in parts:
        reporter = Dying(TrialCheckpoint(tmp_path / "parts", "it"), after)
        with pytest.raises(Killed):
            STRATEGIES[strategy].run(config, task, reporter)
        told += reporter.told
    last = Dying(TrialCheckpoint(tmp_path / "parts", "it"))
    same(STRATEGIES[strategy].run(config, task, last), expected)
    assert [*told, *last.told] == whole.told  # no epoch was done twice
    assert len(last.told) == 2


@pytest.mark.usefixtures("always")
def test_what_is_kept_is_bounded(make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task()
    reporter = Dying(TrialCheckpoint(tmp_path / "it", "it"), after=5)
    with pytest.raises(Killed):
        STRATEGIES["scratch"].run(config_of("scratch", next(iter(task.backbones))), task, reporter)
    names = sorted(file.name for file in (tmp_path / "it").iterdir())
    assert names == ["trial-done0.safetensors", "trial-fold1.safetensors"]
    reporter.checkpoint.clear()
    assert not (tmp_path / "it").exists()


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    place = TrialCheckpoint(tmp_path / "it", "it", lambda: {"seconds": 3.0})
    assert place.load() is None
    assert place.latest_extra() == {}
    place.at("a").save({"x": torch.arange(3)}, {"epoch": 2})
    found = place.at("a").load()
    assert found is not None
    assert torch.equal(found.tensors["x"], torch.arange(3))
    assert found.values["epoch"] == 2
    assert place.latest_extra() == {"seconds": 3.0}
    assert TrialCheckpoint(tmp_path / "it", "another").at("a").load() is None
    assert TrialCheckpoint(tmp_path / "it", "another").latest_extra() == {}


@pytest.mark.parametrize("left", [0, 5, 40, -1])
def test_a_file_that_is_cut_short_counts_as_absent(tmp_path: Path, left: int) -> None:
    place = TrialCheckpoint(tmp_path / "it", "it")
    place.save({"x": torch.arange(30)}, {})
    place.file.write_bytes(place.file.read_bytes()[:left])
    assert place.load() is None


def test_a_disk_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    TrialCheckpoint(tmp_path / "file" / "it", "it").save({"x": torch.arange(3)}, {})
    monkeypatch.setattr(checkpoint_module, "free_disk_bytes", lambda _: 1000)
    TrialCheckpoint(tmp_path / "full", "it").save({"x": torch.arange(3)}, {})
    assert not (tmp_path / "full").exists()


def test_a_checkpoint_is_due_when_enough_was_done(tmp_path: Path) -> None:
    place = TrialCheckpoint(tmp_path / "it", "it")
    assert not place.is_due()
    place._clock.saved_at -= 10.0
    assert place.at("a").is_due()
    place._clock.took_s = 1.0  # it would cost a tenth
    assert not place.at("a").is_due()
    place.at("b").save({}, {})
    place._clock.saved_at -= 10.0
    assert place.is_due()


def test_a_reporter_without_a_place_keeps_nothing() -> None:
    assert isinstance(checkpoint_of(SilentReporter()), NoCheckpoint)
