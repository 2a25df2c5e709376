"""Several processes on one study: 8 x 100 short trials in SQLite, and in PostgreSQL.

Each trial is asked for, draws two parameters, reports three values, gets two attributes and is
told, through the storage that a fit opens. Counted are trials that are missing, not finished,
numbered twice or without all that was said of them, and errors of the processes.

PostgreSQL is Debian's package, see :mod:`studies.postgresql`; without it that part is left out, and
says so.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from studies.postgresql import server, why_not

FILE = Path(__file__).with_name("contention.json")
_STUDY = "contention"


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
    reason = why_not()
    if reason:
        found["postgresql"] = {"skipped": reason}
    else:
        with server() as own:
            found["postgresql"] = _contend(own.url, 8, n_trials)
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


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv[1:])))
