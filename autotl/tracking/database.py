"""The database of an MLflow store that is a file: there as a whole, or not at all."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from filelock import FileLock

_AT_WORK_S = 30.0
"""A database that was written to so lately may be another process's, about to be complete."""
_FIRST = ("experiments", "runs", "registered_models")
"""Tables of MLflow's, one of which holds something in any store that was ever opened."""


def make_whole(file: Path) -> None:
    """Make a store's database unless it is there; one that a kill left half made gives way.

    MLflow makes its tables in dozens of steps, and never opens again what only some of them were
    made of. So they are made in a file beside, which then takes its place. What gives way is kept
    as ``NAME.half-made``; it holds no experiment.

    Args:
        file: of the database; its folder exists.

    Raises:
        sqlite3.Error: if the file is no database, or is locked.
    """
    if file.exists() and not _is_half_made(file):
        return
    with FileLock(file.with_name(f".{file.name}.lock")):
        while not file.exists() or _is_half_made(file):
            if not file.exists():
                _put(file)
            elif abs(time.time() - file.stat().st_mtime) > _AT_WORK_S:
                os.replace(file, file.with_name(f"{file.name}.half-made"))
            else:
                time.sleep(0.2)


def _put(file: Path) -> None:
    """Make it in a file beside, and move that to its place unless MLflow itself was faster."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    try:
        _make(part)
        try:
            os.link(part, file)
        except OSError:
            if not file.exists():  # links can't be made there
                os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _is_half_made(file: Path) -> bool:
    """Whether MLflow has begun to make it, took not all steps, and nothing was put in."""
    with closing(sqlite3.connect(file, timeout=60.0)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if not {"alembic_version", _FIRST[0]} <= names:
            return False
        if any(
            database.execute(f"SELECT EXISTS (SELECT 1 FROM {name})").fetchone()[0]  # noqa: S608
            for name in _FIRST
            if name in names
        ):
            return False
        reached = database.execute("SELECT version_num FROM alembic_version").fetchone()
    from mlflow.store.db.utils import _get_latest_schema_revision

    return bool(reached != (_get_latest_schema_revision(),))


def _make(file: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{file}")
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
