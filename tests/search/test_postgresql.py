"""What only a server does: its locks, its clock, and an outage of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import text

from autotl.search.signs import signs
from autotl.search.storage import PatientStorage, open_storage
from autotl.search.turns import clock_ahead_s, turn
from studies.postgresql import Server, server, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    with server() as own:
        yield own


@pytest.fixture(scope="module")
def storage(postgresql: Server) -> RDBStorage:
    return open_storage(postgresql.url)


def test_one_at_a_time_has_its_turn_and_the_dead_lose_it(
    storage: RDBStorage, postgresql: Server, tmp_path: Path
) -> None:
    entered, order = threading.Event(), []

    def wait_for_turn() -> None:
        with turn(open_storage(postgresql.url), 7, tmp_path):
            order.append("second")
            entered.set()

    thread = threading.Thread(target=wait_for_turn)
    with turn(storage, 7, tmp_path):
        thread.start()
        with turn(storage, 8, tmp_path):  # of another study
            assert not entered.wait(0.5)
        order.append("first")
        with storage.engine.connect() as connection:  # as if this machine were gone
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks "
                    "WHERE locktype = 'advisory' AND granted AND objid = 7"
                )
            )
        assert entered.wait(10)
    thread.join()
    assert order == ["first", "second"]
    with turn(storage, 7, tmp_path):
        pass


def test_clocks_on_one_machine_agree(storage: RDBStorage) -> None:
    assert abs(clock_ahead_s(storage)) < 1.0


def test_a_server_that_is_started_again_is_waited_for(
    storage: RDBStorage, postgresql: Server
) -> None:
    assert isinstance(storage, PatientStorage)
    study = optuna.create_study(study_name="outage", storage=storage)
    trial = study.ask()
    storage.record_heartbeat(trial._trial_id)
    postgresql.stop()
    again = threading.Timer(1.0, postgresql.start)
    again.start()
    study.tell(trial, 0.5)
    again.join()
    assert study.best_value == 0.5
    other = study.ask()
    storage.record_heartbeat(other._trial_id)
    (sign,) = signs(storage, study._study_id).values()
    assert -1.0 < sign.age_s < 60.0
