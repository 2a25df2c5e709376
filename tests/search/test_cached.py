"""What a search sees of its study's trials, and how often it reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from autotl.search.cached import SearchStorage, together
from autotl.search.knowledge import Arm
from autotl.search.plan import ARM, STRATEGY, arm_of

DRAWN = Arm("finetune", "drawn", "embedded")
RUNNING = create_trial(
    state=TrialState.RUNNING, system_attrs={ARM: ["finetune", "drawn", "embedded"]}
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


@pytest.fixture
def study(url: str) -> optuna.Study:
    """As Optuna's own cache reads it."""
    return optuna.create_study(study_name="study", storage=url, direction="maximize")


@pytest.fixture
def seen(study: optuna.Study, url: str) -> optuna.Study:
    """The same one as a search reads it."""
    return optuna.load_study(study_name="study", storage=SearchStorage(RDBStorage(url)))


def test_finished_trials_are_whole_and_read_once(
    study: optuna.Study, seen: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[set[int]] = []
    plain = RDBStorage._get_trials

    def noting(self: Any, study_id: int, states: Any, ids: set[int], after: int) -> Any:
        read.append(set(ids))
        return plain(self, study_id, states, ids, after)

    def look() -> list[optuna.trial.FrozenTrial]:
        monkeypatch.setattr(RDBStorage, "_get_trials", noting)
        found = seen.get_trials(deepcopy=False)
        monkeypatch.setattr(RDBStorage, "_get_trials", plain)
        return found

    trials = [study.ask() for _ in range(4)]
    for number in (2, 0):
        trials[number].suggest_float("x", 0, 1)
        trials[number].report(0.5, 1)
        study.tell(trials[number], 0.5)
    ended = {trials[number]._trial_id for number in (0, 2)}
    whole = study.get_trials()
    assert [t.number for t in look()] == [0, 1, 2, 3]
    assert [t for t in look() if t.state.is_finished()] == [whole[0], whole[2]]
    study.tell(trials[1], state=TrialState.FAIL)
    study.add_trial(create_trial(value=0.7))
    assert [t.state for t in look()] == [t.state for t in study.get_trials()]
    assert look()[4].value == 0.7
    assert read == [ended, {trials[1]._trial_id, look()[4]._trial_id}]


def test_of_running_and_waiting_ones_it_sees_what_they_try(
    study: optuna.Study, seen: optuna.Study
) -> None:
    study.add_trial(RUNNING)
    study.enqueue_trial({STRATEGY: "scratch", "scratch.backbone": "embedded"})
    running, waiting = seen.get_trials(deepcopy=False)
    assert (running.state, waiting.state) == (TrialState.RUNNING, TrialState.WAITING)
    assert arm_of(running) == DRAWN
    assert arm_of(waiting) == Arm("scratch", "drawn", "embedded")
    assert seen._storage.get_trial(running._trial_id) == study.get_trials()[0]


def test_a_trial_that_was_given_back_waits_and_is_run_again(
    study: optuna.Study, seen: optuna.Study
) -> None:
    study.add_trial(RUNNING)
    (own,) = seen.get_trials(deepcopy=False)
    study._storage.set_trial_state_values(own._trial_id, TrialState.WAITING)
    assert seen.get_trials()[0].state == TrialState.WAITING
    seen.tell(seen.ask(), 0.5)
    assert [t.value for t in study.get_trials()] == [0.5]
    assert [t.value for t in seen.get_trials()] == [0.5]


def test_a_storage_with_two_studies_keeps_them_apart(
    study: optuna.Study, seen: optuna.Study, url: str
) -> None:
    other = optuna.create_study(study_name="other", storage=seen._storage)
    study.add_trial(RUNNING)
    other.add_trial(create_trial(value=1.0))
    study.add_trial(create_trial(value=2.0))
    assert [t.value for t in other.get_trials()] == [1.0]
    assert [t.value for t in seen.get_trials()] == [None, 2.0]


@pytest.fixture
def commits(seen: optuna.Study) -> list[int]:
    """Grows with each transaction of the search's storage that is committed."""
    from sqlalchemy import event

    found: list[int] = []
    event.listen(seen._storage._backend.engine, "commit", lambda _: found.append(1))  # type: ignore[attr-defined]
    return found


def test_what_is_noted_together_is_one_transaction(
    study: optuna.Study, seen: optuna.Study, commits: list[int]
) -> None:
    trial = seen.ask()
    before = len(commits)
    with together(trial):
        assert trial.suggest_categorical("strategy", ["a"]) == "a"
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("seconds", 1.0)
        (other,) = study.get_trials()
        assert (other.params, other.user_attrs) == ({}, {})
    assert len(commits) == before + 1
    (other,) = study.get_trials()
    assert other.params == trial.params == {"strategy": "a", "x": x}
    assert other.distributions == trial.distributions
    assert other.user_attrs == {"seconds": 1.0}


def test_an_error_leaves_what_was_noted_until_then(study: optuna.Study, seen: optuna.Study) -> None:
    trial = seen.ask()

    def break_off() -> None:
        with together(trial):
            trial.set_user_attr("config", {"depth": 2})
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        break_off()
    assert study.get_trials()[0].user_attrs == {"config": {"depth": 2}}
    trial.set_user_attr("config", {"depth": 3})
    assert study.get_trials()[0].user_attrs == {"config": {"depth": 3}}


def test_whoever_lost_a_trial_is_told_at_the_end_of_the_block(
    study: optuna.Study, seen: optuna.Study
) -> None:
    trial = seen.ask()
    study.tell(0, state=TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError), together(trial):
        trial.suggest_float("x", 0, 1)
    assert study.get_trials()[0].params == {}


def test_another_range_of_a_parameter_is_refused(seen: optuna.Study) -> None:
    for choices, is_known in ((["a", "b"], True), (["a", "c"], False)):
        trial = seen.ask()
        with together(trial):
            if is_known:
                trial.suggest_categorical("x", choices)
                continue
            with pytest.raises(ValueError, match="dynamic value space"):
                trial.suggest_categorical("x", choices)


def test_a_trial_of_another_storage_notes_at_once(study: optuna.Study) -> None:
    trial = study.ask()
    with together(trial):
        trial.set_user_attr("seconds", 1.0)
        assert study.get_trials()[0].user_attrs == {"seconds": 1.0}
