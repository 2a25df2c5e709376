"""A trial that begins is in the storage with all that others must know of it."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from search_helpers import plan_of

from autotl.search.asking import asked, begin_trial
from autotl.search.cached import SearchStorage
from autotl.search.knowledge import Arm
from autotl.search.plan import ARM, STRATEGY, arm_of
from autotl.search.published import CLOSED
from autotl.search.sampler import StrategySampler

ARMS = [Arm("scratch", recipe, "embedded") for recipe in ("a", "b", "c")]
NOBODY: dict[str, str] = {}
HOST = {"worker": "there:1"}


class Worker:
    """One that joins the study, and what it is told."""

    def __init__(self, url: str) -> None:
        self.notes: list[str] = []
        self.sampler = StrategySampler(plan_of(ARMS), seed=0)
        self.study = optuna.load_study(
            study_name="study", storage=SearchStorage(RDBStorage(url)), sampler=self.sampler
        )

    def begin(self, n_trials: int | None = None, attributes: dict[str, str] = NOBODY) -> int | None:
        """The trial that it begins; None: it leaves."""
        self.study.get_trials(deepcopy=False)
        begun = begin_trial(self.study, self.sampler, n_trials, attributes, self.notes.append)
        return None if begun is None else begun[0]


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.create_study(study_name="study", storage=url, direction="maximize")
    return url


def test_workers_that_ask_in_turns_get_other_arms_until_none_is_left(url: str) -> None:
    workers = [Worker(url) for _ in range(2)]
    begun = [workers[turn % 2].begin(attributes=HOST) for turn in range(4)]
    trials = optuna.load_study(study_name="study", storage=url).get_trials()
    assert [trial._trial_id for trial in trials] == begun[:3]
    assert begun[3] is None
    assert {arm_of(trial) for trial in trials} == set(ARMS)
    assert all(trial.state == TrialState.RUNNING for trial in trials)
    assert all(trial.user_attrs == HOST and trial.datetime_start for trial in trials)


def test_what_was_begun_is_asked_for_the_arm_s_parameters(url: str) -> None:
    worker = Worker(url)
    trial_id = worker.begin()
    assert trial_id is not None
    trial = asked(worker.study, trial_id)
    assert trial.suggest_categorical(STRATEGY, ("scratch",)) == "scratch"
    (told,) = worker.study.get_trials()
    assert told.system_attrs[ARM] == list(vars(worker.sampler.plan([]).arm).values())


def test_what_waits_is_run_first_and_counts(url: str) -> None:
    worker = Worker(url)
    worker.study.enqueue_trial({STRATEGY: "scratch"})
    waiting = worker.study.get_trials()[0]
    assert worker.begin(n_trials=2, attributes=HOST) == waiting._trial_id
    assert worker.study._storage.get_trial(waiting._trial_id).user_attrs == HOST
    assert worker.begin(n_trials=2) not in (None, waiting._trial_id)
    assert worker.begin(n_trials=2) is None
    assert worker.notes == []


def test_of_a_closed_study_workers_elsewhere_run_nothing(url: str) -> None:
    worker = Worker(url)
    worker.study.set_user_attr(CLOSED, True)
    assert worker.begin(attributes=HOST) is None
    assert worker.begin() is not None
