"""Up to 128 workers whose trials sleep: what all but training costs, and what limits.

Plan, sampler, pruner, records, Optuna's storage on PostgreSQL and an MLflow server are the real
ones; a trial sleeps instead of training, and reports five scores. Each worker is a process, forked
so that torch is loaded once. Efficiency is the time slept by the time that the workers took, all of
them, from a common start to the last one's end.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotl.config import make_config
from autotl.metrics import all_metrics
from autotl.preparation import Prepared, prepare
from autotl.progress import Progress
from autotl.runtime import NEVER
from autotl.strategies import STRATEGIES
from autotl.strategies.base import TrialResult
from studies.postgresql import Server, server, why_not
from studies.reliability.outage import Server as MlflowServer
from studies.scale.pictures import write_digits
from studies.scale.processes import cpu_s

_NAME, _N_REPORTS, _DRAIN_S = "simulated", 5, 300.0


def run(quick: bool = False) -> dict[str, Any]:
    """Run a study with each number of workers.

    Args:
        quick: 1, 8 and 32 workers with trials of 10 s; else up to 128, and trials of 30 s.

    Returns:
        Figures by number of workers; ``skipped`` with a reason where there is no PostgreSQL.
    """
    if why_not():
        return {"skipped": why_not()}
    sizes, trial_s, n_each = ((1, 8, 32), 10.0, 3) if quick else ((1, 8, 32, 128), 30.0, 4)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"trial_s": trial_s, "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="autotl-scale-") as name:
        folder = Path(name)
        config = make_config({"backbones": ["embedded"], "device": "cpu"})
        data = write_digits(folder / "digits", 300)
        prepared = prepare(str(data), None, None, config, folder / "cache", NEVER, Progress())
        mlflow = MlflowServer(folder)
        mlflow.start()
        try:
            for n in sizes:
                with server(n_connections=2 * n + 40) as database:
                    found[str(n)] = _measured(
                        n, n_each, trial_s, prepared, database, mlflow.uri, folder / str(n)
                    )
                print(n, found[str(n)], flush=True)
        finally:
            mlflow.stop()
    return found


class Sleeping:
    """A strategy whose trials sleep.

    Args:
        real: what it is besides.
        trial_s: seconds of each.
    """

    def __init__(self, real: Any, trial_s: float) -> None:
        self._real = real
        self._trial_s = trial_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run(self, config: Any, task: Any, reporter: Any) -> TrialResult:
        """Sleep, and reach about as much as any other."""
        samples = np.concatenate([fold.validation for fold in task.folds])
        labels = task.labels[samples]
        probabilities = np.full((len(samples), task.n_classes), 0.01, dtype=np.float32)
        probabilities[np.arange(len(samples)), labels] = 0.9
        for k in range(1, _N_REPORTS + 1):
            time.sleep(self._trial_s / _N_REPORTS)
            reporter.report(k / _N_REPORTS, 0.9, {})
        metrics = all_metrics(labels, probabilities)
        return TrialResult(0.9, metrics, samples, probabilities, self._trial_s, 1, 1)


def _measured(
    n: int,
    n_each: int,
    trial_s: float,
    prepared: Prepared,
    database: Server,
    tracking: str,
    folder: Path,
) -> dict[str, Any]:
    import autotl.search.study as study_module
    from autotl.tracking.mlflow import MlflowFitRun, Recorder
    from autotl.tracking.spool import Spool

    study_module.STRATEGIES = {  # type: ignore[assignment]
        name: Sleeping(own, trial_s) for name, own in STRATEGIES.items()
    }
    spec = study_module.StudySpec(
        name=_NAME,
        storage=database.url,
        folder=folder,
        strategies=tuple(STRATEGIES),
        seed=0,
        n_trials=n * n_each,
        deadline=NEVER,
    )
    folder.mkdir()
    study_module.create_study(spec, prepared.profile)
    gc.collect()  # no connection is inherited
    context = multiprocessing.get_context("fork")
    ours, its = context.Pipe(duplex=False)
    go, run_id = context.Event(), f"fit-{n}"
    spool = Spool.of_fit(folder.absolute(), tracking, None)
    spool.make()
    record = Recorder(spool)
    children = [
        context.Process(target=_work, args=(spec, prepared, MlflowFitRun(record, run_id), go, its))
        for _ in range(n)
    ]
    for child in children:
        child.start()
    fit = MlflowFitRun.start(tracking, f"{_NAME}-{n}", folder, run_id=run_id)
    time.sleep(2.0)
    before = cpu_s(database.pid)
    started = time.monotonic()
    go.set()
    its.close()
    told = []
    while len(told) < n:
        told.append(ours.recv())
    wall_s = time.monotonic() - started
    database_s = cpu_s(database.pid) - before
    for child in children:
        child.join()
    drained = time.monotonic()
    is_sent = fit.wait(_DRAIN_S)
    lag_s = time.monotonic() - drained
    fit.end("complete")
    n_trials = sum(own["n_trials"] for own in told)
    return {
        "n_trials": n_trials,
        "efficiency": round(n_trials * trial_s / (n * wall_s), 3),
        "trials_per_hour": round(3600 * n_trials / wall_s),
        "turn_wait_s": round(sum(own["wait_s"] for own in told) / n_trials, 3),
        "turn_s": round(sum(own["hold_s"] for own in told) / n_trials, 4),
        "turns_busy": round(sum(own["hold_s"] for own in told) / wall_s, 3),
        "worker_cpu_s": round(sum(own["cpu_s"] for own in told) / n_trials, 3),
        "database_cpu_s": round(database_s / n_trials, 4),
        "mlflow_lag_s": round(lag_s, 1) if is_sent else None,
    }


def _work(spec: Any, prepared: Prepared, record: Any, go: Any, told: Any) -> None:
    """One worker: run trials, and tell what they took."""
    import autotl.search.study as study_module

    wait_s, hold_s, plain = [], [], study_module.turn

    @contextmanager
    def timed(*arguments: Any) -> Iterator[None]:
        began = time.monotonic()
        with plain(*arguments):
            entered = time.monotonic()
            wait_s.append(entered - began)
            yield
            hold_s.append(time.monotonic() - entered)

    study_module.turn = timed
    store = study_module.TrialStore
    saved: list[int] = []
    plain_save = store.save
    store.save = lambda self, own: (saved.append(own.number), plain_save(self, own))[1]  # type: ignore[method-assign]
    go.wait()
    before = time.process_time()
    study_module.run_worker(
        spec, prepared.task, prepared.profile, record, Progress(), is_elsewhere=True
    )
    told.send(
        {
            "n_trials": len(saved),
            "wait_s": sum(wait_s),
            "hold_s": sum(hold_s),
            "cpu_s": time.process_time() - before,
        }
    )
