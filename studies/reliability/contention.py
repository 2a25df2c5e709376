"""Several processes on one study: 8 x 100 short trials in SQLite, and in PostgreSQL.

Each trial is asked for, draws two parameters, reports three values, gets two attributes and is
told, through the storage that a fit opens. Counted are trials that are missing, not finished,
numbered twice or without all that was said of them, and errors of the processes.

PostgreSQL is Debian's package; a server is started in a temporary folder, by another user where
this is root's process, and spoken to through a socket there. Without the package or a driver for
SQLAlchemy (psycopg2, psycopg or pg8000) that part is left out, and says so.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("contention.json")
_STUDY = "contention"
_DRIVERS = {"psycopg2": "psycopg2", "psycopg": "psycopg", "pg8000": "pg8000"}
_BINARIES = (Path("/usr/local/bin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin")))
_START_S = 60.0


def run(quick: bool = False) -> dict[str, Any]:
    """Let processes work on one study.

    Args:
        quick: 8 x 15 trials instead of 8 x 100.

    Returns:
        Figures by storage; ``skipped`` with a reason where it can't be had.
    """
    n_trials = 15 if quick else 100
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="autotl-contention-") as folder:
        found["sqlite"] = _contend(f"sqlite:///{folder}/optuna.db", 8, n_trials)
    print("sqlite", found["sqlite"], flush=True)
    reason = _why_not()
    if reason:
        found["postgresql"] = {"skipped": reason}
    else:
        with _server() as url:
            found["postgresql"] = _contend(url, 8, n_trials)
    print("postgresql", found["postgresql"], flush=True)
    if not quick:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _contend(url: str, n_processes: int, n_trials: int) -> dict[str, Any]:
    import optuna

    from autotl.search.storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(study_name=_STUDY, storage=open_storage(url), direction="maximize")
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe(duplex=False)
    processes = [
        context.Process(target=_work, args=(url, worker, n_trials, its))
        for worker in range(n_processes)
    ]
    started = time.monotonic()
    for process in processes:
        process.start()
    its.close()
    errors: list[str] = []
    while True:
        try:
            errors.append(ours.recv())
        except EOFError:
            break
    for process in processes:
        process.join()
    seconds = time.monotonic() - started
    trials = optuna.load_study(study_name=_STUDY, storage=open_storage(url)).trials
    whole = [
        trial
        for trial in trials
        if trial.state.is_finished()
        and len(trial.params) == 2
        and len(trial.intermediate_values) == 3
        and len(trial.user_attrs) == 2
        and trial.value == trial.params["x"]
    ]
    said = {(trial.user_attrs["worker"], trial.user_attrs["index"]) for trial in whole}
    return {
        "n_processes": n_processes,
        "n_expected": n_processes * n_trials,
        "n_recorded": len(said),
        "n_numbers": len({trial.number for trial in trials}),
        "n_errors": len(errors) + sum(bool(process.exitcode) for process in processes),
        "errors": sorted(set(errors))[:3],
        "seconds": round(seconds, 1),
    }


def _work(url: str, worker: int, n_trials: int, errors: Any) -> None:
    import optuna

    from autotl.search.storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=worker)
    study = optuna.load_study(study_name=_STUDY, storage=open_storage(url), sampler=sampler)
    for index in range(n_trials):
        try:
            trial = study.ask()
            x = trial.suggest_float("x", 0.0, 1.0)
            trial.suggest_categorical("strategy", ("bottleneck", "finetune", "scratch"))
            for step in range(3):
                trial.report(x * step, step)
            trial.set_user_attr("worker", worker)
            trial.set_user_attr("index", index)
            study.tell(trial, x)
        except Exception as error:
            errors.send(f"{type(error).__name__}: {str(error)[:200]}")


def _why_not() -> str:
    """Why PostgreSQL is left out; empty: it isn't."""
    if _binary("initdb") is None or _binary("postgres") is None:
        return "no initdb and postgres (Debian's package postgresql)"
    if _driver() is None:
        return f"no driver for SQLAlchemy is installed: {', '.join(_DRIVERS)}"
    if os.getuid() == 0 and _other_user() is None:
        return "root's process can't run it, and there is no user postgres or nobody"
    return ""


def _binary(name: str) -> Path | None:
    return next((folder / name for folder in _BINARIES if (folder / name).is_file()), None)


def _driver() -> str | None:
    return next((own for module, own in _DRIVERS.items() if importlib.util.find_spec(module)), None)


def _other_user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


@contextmanager
def _server() -> Iterator[str]:
    """A server in a temporary folder; gives the URL of its database."""
    folder = Path(tempfile.mkdtemp(prefix="autotl-pg-"))
    user = _other_user() if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data, binary = folder / "data", str(_binary("initdb"))
    subprocess.run(
        [binary, "-D", str(data), "-U", "autotl", "-A", "trust"],
        check=True,
        stdout=subprocess.DEVNULL,
        user=user,
        cwd=folder,
    )
    options = ["-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-p", "5432"]
    server = subprocess.Popen(
        [str(_binary("postgres")), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user,
        cwd=folder,
    )
    try:
        url = _url(folder)
        _wait_for(url)
        yield url
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _url(folder: Path) -> str:
    driver = _driver()
    name = "unix_sock" if driver == "pg8000" else "host"
    place = f"{folder}/.s.PGSQL.5432" if driver == "pg8000" else str(folder)
    return f"postgresql+{driver}://autotl@/postgres?{name}={place}"


def _wait_for(url: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    until = time.monotonic() + _START_S
    while True:
        engine = create_engine(url)
        try:
            engine.connect().close()
            return
        except SQLAlchemyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        finally:
            engine.dispose()


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv[1:])))
