"""A search ends when those elsewhere have ended their trials, or the time is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import autotl.search.watcher as watcher_module
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.executors.joint import run_jointly
from autotl.search.published import CLOSED
from autotl.search.storage import open_storage
from autotl.search.study import StudySpec, create_study
from autotl.search.takeover import hand_back


@pytest.fixture
def begun(make_spec: Callable[..., StudySpec], make_profile: Callable[..., Any]) -> Any:
    """Makes a study with a trial that somebody elsewhere runs."""

    def make(**changes: Any) -> tuple[StudySpec, optuna.Study, int]:
        spec = make_spec(**changes)
        create_study(spec, make_profile())
        study = optuna.load_study(study_name=spec.name, storage=spec.storage)
        trial = study.ask()
        trial.set_user_attr("config", {})
        open_storage(spec.storage).record_heartbeat(trial._trial_id)
        return spec, study, trial._trial_id

    return make


def test_it_waits_for_a_trial_elsewhere_and_goes_on_with_one_that_is_handed_back(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, study, trial_id = begun()
    storage, ran = open_storage(spec.storage), []

    def sleep(_: float) -> None:
        assert not study.user_attrs.get(CLOSED)
        hand_back(storage, trial_id)  # its worker was told to leave

    def run() -> bool:
        ran.append([trial.state for trial in study.get_trials()])
        if ran[1:]:
            study.tell(study.ask(), 0.5)
        return True

    monkeypatch.setattr(watcher_module.time, "sleep", sleep)
    assert run_jointly(spec, run, Progress())
    assert ran == [[TrialState.RUNNING], [TrialState.WAITING]]
    assert study.user_attrs[CLOSED]


def test_what_nobody_goes_on_with_does_not_keep_it(begun: Any) -> None:
    spec, _, trial_id = begun()
    hand_back(open_storage(spec.storage), trial_id)
    n_runs: list[int] = []
    assert run_jointly(spec, lambda: n_runs.append(1) is None, Progress())
    assert len(n_runs) == 2


def test_it_does_not_wait_beyond_its_time(begun: Any) -> None:
    spec, study, _ = begun(deadline=Deadline.after(1.0))
    assert run_jointly(spec, lambda: True, Progress())
    assert study.user_attrs[CLOSED]


def test_an_interrupt_closes_the_study(begun: Any) -> None:
    spec, study, _ = begun()
    assert not run_jointly(spec, lambda: False, Progress())
    assert study.user_attrs[CLOSED]
