"""The trials of dead workers elsewhere are given to others, those of living ones are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

import autotl.search.signs as signs_module
import autotl.search.watcher as watcher_module
from autotl.progress import Progress
from autotl.search.objective import RUN, tell
from autotl.search.plan import STRATEGY
from autotl.search.records import TrialStore
from autotl.search.signs import DEAD_S, ELSEWHERE, forget, pulse, signs
from autotl.search.storage import open_storage
from autotl.search.study import StudySpec, create_study
from autotl.search.watcher import Watcher
from autotl.strategies.base import TrialRecord

STRATEGIES = CategoricalDistribution(("scratch",))


class Clock:
    """The watcher's, set by the test."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(watcher_module, "time", own)
    return own


@pytest.fixture
def spec(make_spec: Callable[..., StudySpec], make_profile: Callable[..., Any]) -> StudySpec:
    own = make_spec()
    create_study(own, make_profile())
    return own


@pytest.fixture
def study(spec: StudySpec) -> optuna.Study:
    return optuna.load_study(study_name=spec.name, storage=spec.storage)


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.trials: list[tuple[Any, ...]] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def trial_started(self, *trial: Any) -> None:
        self.trials.append(trial)

    def trial_ended(self, *trial: Any) -> None:
        self.trials.append(trial)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watcher(spec: StudySpec, told: Told) -> Watcher:
    store = TrialStore(spec.folder / "trials")
    return Watcher(spec.name, spec.storage, store, told, is_loss=True)


def begin(study: optuna.Study, spec: StudySpec) -> Any:
    """A running trial with one sign of life."""
    trial = study.ask()
    trial.set_user_attr("config", {"x": 1})
    open_storage(spec.storage).record_heartbeat(trial._trial_id)
    return trial


def state_of(study: optuna.Study, number: int = 0) -> TrialState:
    return study.get_trials()[number].state


def look_for(watcher: Watcher, clock: Clock, seconds: float) -> int:
    """Look every five seconds; how many trials live in the end."""
    n_alive = 0
    for _ in range(int(seconds / 5)):
        clock.now += 5.0
        n_alive = watcher.look()
    return n_alive


def test_the_dead_lose_their_trial_and_the_living_keep_it(
    study: optuna.Study, spec: StudySpec, watcher: Watcher, clock: Clock, told: Told
) -> None:
    begin(study, spec)
    living = begin(study, spec)
    storage = open_storage(spec.storage)
    assert look_for(watcher, clock, DEAD_S - 10) == 2
    with storage.engine.begin() as connection:  # its own clock is far ahead
        connection.exec_driver_sql(
            "UPDATE trial_heartbeats SET heartbeat = '2099-01-01 00:00:00.000000' "
            f"WHERE trial_id = {living._trial_id}"
        )
    assert look_for(watcher, clock, 20) == 1
    assert [state_of(study, number) for number in (0, 1)] == [
        TrialState.WAITING,
        TrialState.RUNNING,
    ]
    assert told.notes == ["the worker of trial 0 is gone: another one goes on with it"]
    assert list(signs(storage, study._study_id)) == [living._trial_id]


def test_a_trial_that_is_run_by_others_in_vain_fails(
    study: optuna.Study, spec: StudySpec, watcher: Watcher, clock: Clock, told: Told
) -> None:
    trial = begin(study, spec)
    storage = open_storage(spec.storage)
    for _ in range(3):
        storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        storage.record_heartbeat(trial._trial_id)
        look_for(watcher, clock, DEAD_S + 10)
    assert state_of(study) == TrialState.FAIL
    assert "killed in it 3 times" in study.get_trials()[0].user_attrs["error"]


def test_what_was_finished_but_not_told_is_told(
    study: optuna.Study, spec: StudySpec, watcher: Watcher, clock: Clock
) -> None:
    begin(study, spec)
    record = TrialRecord(number=0, strategy="scratch", config={}, state="pruned", seconds=1.0)
    TrialStore(spec.folder / "trials").save(record)
    look_for(watcher, clock, DEAD_S + 10)
    assert state_of(study) == TrialState.PRUNED


def test_a_time_in_which_nobody_looked_does_not_count(
    study: optuna.Study, spec: StudySpec, watcher: Watcher, clock: Clock
) -> None:
    begin(study, spec)
    look_for(watcher, clock, 10)
    clock.now += 10 * DEAD_S  # the laptop slept, or the storage was away
    assert watcher.look() == 1
    assert state_of(study) == TrialState.RUNNING


def test_trials_without_signs_are_nobody_elses(
    study: optuna.Study, spec: StudySpec, watcher: Watcher, clock: Clock
) -> None:
    study.ask()
    assert look_for(watcher, clock, 2 * DEAD_S) == 0
    assert state_of(study) == TrialState.RUNNING


def test_trials_elsewhere_are_shown_once(
    study: optuna.Study, spec: StudySpec, watcher: Watcher, told: Told
) -> None:
    own, other = study.ask({STRATEGY: STRATEGIES}), study.ask({STRATEGY: STRATEGIES})
    other.set_user_attr(ELSEWHERE, "there:7")
    watcher.look()
    assert told.trials == []  # it has no settings yet
    other.set_user_attr(RUN, "r")
    watcher.look()
    for trial in (own, other):
        record = TrialRecord(trial.number, "scratch", {}, "complete", 3.0)
        tell(study, trial, replace(record, result=SimpleNamespace(score=-0.4)))  # type: ignore[arg-type]
    watcher.look()
    watcher.look()
    assert told.trials == [(1, "scratch"), (1, "scratch", "complete", 0.4, 3.0)]


def test_a_pulse_begins_at_once_and_leaves_nothing(
    study: optuna.Study, spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs_module, "BEAT_S", 0.01)
    storage, trial = open_storage(spec.storage), study.ask()
    beats: list[int] = []
    plain = storage.record_heartbeat

    def beat(trial_id: int) -> None:
        beats.append(trial_id)
        plain(trial_id)

    monkeypatch.setattr(storage, "record_heartbeat", beat)
    with pulse(storage, trial._trial_id):
        assert signs(storage, study._study_id)[trial._trial_id].age_s < 60
        while len(beats) < 3:
            pass
    assert signs(storage, study._study_id) == {}
    forget(storage, trial._trial_id)  # twice is the same
    tell(study, trial, TrialRecord(0, "scratch", {}, "pruned", 1.0))
