"""Workers in processes of their own: slow to start, so few tests and small trials."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.trial import TrialState
from search_helpers import SpyRun

import autotl.candidates as candidates
from autotl.backbones.speed import Speed
from autotl.config import make_config
from autotl.errors import AutotlError
from autotl.preparation import Prepared, prepare
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.executors.local import run_search
from autotl.search.records import TrialStore
from autotl.search.study import StudySpec, create_study
from autotl.tracking.base import NullFitRun

SPEED = Speed("fp32", False, (0.0, *[1e-4] * 5), (4e-4,) * 6)


@pytest.fixture
def prepared(
    tmp_path: Path,
    weights_file: Path,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    monkeypatch: pytest.MonkeyPatch,
) -> Prepared:
    """A task that can be sent to another process."""
    monkeypatch.setattr(candidates, "measure_speed", lambda *_: SPEED)
    config = make_config({"backbones": [f"resnet10t@{weights_file}"], "device": "cpu"})
    data = (pictures, picture_labels)
    return prepare(data, None, None, config, tmp_path / "cache", Deadline(None), Progress())


class Watch(Progress):
    """Notes what the workers tell; at the first epoch it may be interrupted."""

    def __init__(self, interrupt: bool = False) -> None:
        self.interrupt = interrupt
        self.started: list[int] = []
        self.ended: list[tuple[int, str]] = []
        self.notes: list[str] = []

    def trial_started(self, number: int, strategy: str) -> None:
        self.started.append(number)

    def epoch(self, number: int, progress: float, score: float) -> None:
        if self.interrupt:
            self.interrupt = False  # once: further epochs may be on their way
            raise KeyboardInterrupt

    def trial_ended(self, number: int, strategy: str, state: str, *rest: Any) -> None:
        self.ended.append((number, state))

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.slow
def test_two_processes_share_a_study(prepared: Prepared, make_spec: Callable[..., Any]) -> None:
    spec: StudySpec = make_spec(strategies=("scratch",), n_trials=7)
    create_study(spec, prepared.profile)
    watch = Watch()
    assert run_search(spec, prepared.task, prepared.profile, NullFitRun(), watch, 2)
    records = TrialStore(spec.folder / "trials").load()
    assert len(records) == 7
    assert {record.state for record in records} <= {"complete", "pruned"}
    assert sorted(watch.started) == [record.number for record in records]
    assert sorted(number for number, _ in watch.ended) == sorted(watch.started)
    configs = {str(sorted(record.config.items())) for record in records}
    assert len(configs) == 7  # no worker repeats another's recipes or draws
    kept = [r.number for r in records if TrialStore(spec.folder / "trials").load_model(r)]
    best = max(r.result.score for r in records if r.result)
    assert best in {r.result.score for r in records if r.number in kept and r.result}


class Killer(Watch):
    """Kills a worker, as a crash in native code does, when two of them run a trial."""

    killed = False

    def epoch(self, number: int, progress: float, score: float) -> None:
        if not self.killed and len(set(self.started)) - len(self.ended) == 2:
            self.killed = True
            pid = multiprocessing.active_children()[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGSEGV)


@pytest.mark.slow
def test_a_worker_that_crashes_takes_its_trial_only_and_is_replaced(
    prepared: Prepared, make_spec: Callable[..., Any]
) -> None:
    spec: StudySpec = make_spec(strategies=("finetune",), n_trials=8)
    create_study(spec, prepared.profile)
    watch, run = Killer(), SpyRun()
    assert run_search(spec, prepared.task, prepared.profile, run, watch, 2)
    assert watch.killed
    records = TrialStore(spec.folder / "trials").load()
    assert len(records) == 8
    (failed,) = [record for record in records if record.state == "failed"]
    assert failed.error == "its worker process was killed by signal 11"
    assert failed.config["backbone"]
    assert watch.notes[0] == "a worker was killed by signal 11 in a trial"
    assert (failed.number, "failed") in watch.ended
    trials = optuna.load_study(study_name=spec.name, storage=spec.storage).trials
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [failed.number]
    assert trials[failed.number].user_attrs["error"] == failed.error
    assert TrialState.RUNNING not in {trial.state for trial in trials}


@pytest.mark.slow
def test_an_interrupt_ends_the_processes_and_their_trials_are_recorded(
    prepared: Prepared, make_spec: Callable[..., Any]
) -> None:
    spec: StudySpec = make_spec(strategies=("finetune",), n_trials=None)
    create_study(spec, prepared.profile)
    watch = Watch(interrupt=True)
    assert not run_search(spec, prepared.task, prepared.profile, NullFitRun(), watch, 2)
    states = {record.state for record in TrialStore(spec.folder / "trials").load()}
    assert "interrupted" in states
    trials = optuna.load_study(study_name=spec.name, storage=spec.storage).trials
    assert not [t for t in trials if t.state == TrialState.RUNNING]
    for trial in trials:
        if "config" in trial.user_attrs:
            assert "state" in trial.user_attrs, "a trial that began has no record of its end"


@pytest.mark.slow
def test_if_all_processes_die_it_is_said(prepared: Prepared, make_spec: Callable[..., Any]) -> None:
    with pytest.raises(AutotlError, match="all 2 workers died"):  # there is no such study
        run_search(make_spec(), prepared.task, prepared.profile, NullFitRun(), Watch(), 2)
