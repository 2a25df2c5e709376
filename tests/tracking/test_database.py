"""A local store that was half made when its maker was killed is made anew; no other file is."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from autotl.tracking.connection import load
from autotl.tracking.database import make_whole
from autotl.tracking.store import MlflowStore


def execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    os.utime(file, (0, 0))  # nobody is at work on it


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database before its first use."""
    file = tmp_path_factory.mktemp("made") / "mlflow.db"
    load(f"sqlite:///{file}")
    make_whole(file)
    assert {path.name for path in file.parent.iterdir()} <= {file.name, f".{file.name}.lock"}
    return file.read_bytes()


def test_a_half_made_store_is_made_anew(made: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(made)
    # As where the kill came between a step and the note that it was taken.
    execute(file, "UPDATE alembic_version SET version_num = '3500859a5d39'")
    store = MlflowStore(f"sqlite:///{file}", tmp_path)
    run = store.create("an id", "a run", 0, {})
    assert store.find("an id") == [run]
    assert (tmp_path / "mlflow.db.half-made").is_file()


def test_what_holds_something_or_is_not_mlflow_s_stays(made: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(made)
    execute(file, "INSERT INTO registered_models (name) VALUES ('a model')")
    other = tmp_path / "other.db"
    execute(other, "CREATE TABLE alembic_version (version_num)", "CREATE TABLE t (x)")
    unused = tmp_path / "unused.db"
    unused.write_bytes(made)
    os.utime(unused, (0, 0))
    for path in (file, other, unused):
        held = path.read_bytes(), path.stat().st_ino
        make_whole(path)
        assert (path.read_bytes(), path.stat().st_ino) == held
    text = tmp_path / "text.db"
    text.write_text("no database, but somebody's file; long enough to be looked at " * 20)
    with pytest.raises(sqlite3.DatabaseError):
        make_whole(text)
