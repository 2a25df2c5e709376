"""A database server that is away is waited for; what was asked twice counts once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

import autotl.search.storage as storage_module
from autotl.errors import InputError
from autotl.search.storage import PatientStorage, StorageAwayError, open_storage, patiently

Outage = Callable[[int], list[float]]


def away() -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception("server closed the connection"))


@pytest.fixture
def storage(tmp_path: Path) -> PatientStorage:
    """Patient, though a file would not have to be."""
    return PatientStorage(f"sqlite:///{tmp_path / 'optuna.db'}")


@pytest.fixture
def outage(storage: PatientStorage, monkeypatch: pytest.MonkeyPatch) -> Outage:
    """Lets the next so many statements fail; gives the pauses that were made."""
    pauses: list[float] = []
    monkeypatch.setattr(storage_module.time, "sleep", pauses.append)

    def begin(n: int) -> list[float]:
        left = [n]

        @event.listens_for(storage.engine, "before_cursor_execute")
        def fail(*_: Any) -> None:
            if left[0]:
                left[0] -= 1
                raise away()

        return pauses

    return begin


def test_a_study_goes_on_after_an_outage_in_any_step(
    storage: PatientStorage, outage: Outage
) -> None:
    study = optuna.create_study(study_name="s", storage=storage)
    for _ in range(2):
        pauses = outage(3)
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        outage(2)
        trial.report(0.5, step=1)
        outage(2)
        trial.set_user_attr("a", 1)
        outage(2)
        study.tell(trial, 0.5)
    outage(2)
    first, second = study.get_trials()
    assert [first.state, second.state] == [TrialState.COMPLETE] * 2
    assert first.intermediate_values == {1: 0.5}
    assert len(pauses) >= 18


def test_an_end_that_was_told_before_the_connection_broke_counts(
    storage: PatientStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    plain, broken = RDBStorage.set_trial_state_values, [True]

    def tell(self: Any, *arguments: Any) -> bool:
        told = plain(self, *arguments)
        if broken.pop() if broken else False:
            raise away()
        return told

    monkeypatch.setattr(RDBStorage, "set_trial_state_values", tell)
    monkeypatch.setattr(storage_module.time, "sleep", lambda _: None)
    assert storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    assert study.best_value == 0.5
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.7])


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> None:
        raise away()

    clock = iter(range(1000))
    monkeypatch.setattr(storage_module.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(storage_module.time, "sleep", lambda _: None)
    with pytest.raises(StorageAwayError, match=r"not answered for 5 s .*closed the connection"):
        patiently(ask, 5.0)


def test_other_errors_surface_at_once() -> None:
    def ask() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        patiently(ask)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "must be a URL such as postgresql"),
        ("postgresql://u:secret@127.0.0.1:9/o", r"postgresql://u@127.0.0.1:9/o.*start the server"),
        ("postgresql+nodriver://u:secret@h/o", "must be a URL|can't be opened"),
        ("sqlite:////no/such/folder/optuna.db", "can't be opened: unable to open database file"),
    ],
)
def test_what_cannot_be_opened_is_told_without_the_password(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_not_waited_for() -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with pytest.raises(OperationalError, match="disk is full"):
        patiently(ask)
    assert len(asked) == 1
