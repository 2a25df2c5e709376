"""One process at a time chooses a study's next trial, and one clock for all that work on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from autotl.search.storage import patiently

_KEY = 0x6175746F
"""Of autotl's locks among a database's."""
_N_ROUND_TRIPS = 3


@contextmanager
def turn(storage: RDBStorage, study_id: int, folder: Path) -> Iterator[None]:
    """The right to choose a study's next trial.

    PostgreSQL keeps it, and gives it to another when whoever had it is gone; elsewhere it is a lock
    on a file.

    Args:
        storage: of the study.
        study_id: Optuna's.
        folder: with the file.
    """
    if storage.engine.dialect.name != "postgresql":
        with FileLock(folder / "ask.lock"):
            yield
        return
    connection = patiently(lambda: _locked(storage, study_id))
    try:
        yield
    finally:
        try:
            connection.execute(text("SELECT pg_advisory_unlock(:k, :s)"), _key(study_id))
        except DBAPIError:  # the server went away, and the lock with it
            connection.invalidate()
        connection.close()


def _locked(storage: RDBStorage, study_id: int) -> Connection:
    connection = storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        connection.execute(text("SELECT pg_advisory_lock(:k, :s)"), _key(study_id))
    except BaseException:
        connection.invalidate()
        connection.close()
        raise
    return connection


def _key(study_id: int) -> dict[str, int]:
    return {"k": _KEY, "s": study_id}


def clock_ahead_s(storage: RDBStorage) -> float:
    """Seconds by which the storage's clock is ahead of this machine's; a file's is this one's."""
    if storage.engine.dialect.name != "postgresql":
        return 0.0
    asked = text("SELECT extract(epoch FROM clock_timestamp())")
    best = (float("inf"), 0.0)
    with patiently(storage.engine.connect) as connection:
        for _ in range(_N_ROUND_TRIPS):
            before = time.time()
            there = float(connection.execute(asked).scalar_one())
            after = time.time()
            best = min(best, (after - before, there - (before + after) / 2))
    return best[1]
