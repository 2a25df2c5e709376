"""Runs a study's workers on this machine: in this process, or in several."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.errors import AutotlError
from autotl.progress import Progress
from autotl.runtime import n_cpus
from autotl.search.study import StudySpec, run_worker
from autotl.strategies.base import Task
from autotl.tracking.base import FitRun

_POLL_S = 0.2


def run_search(
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    progress: Progress,
    n_workers: int = 1,
) -> bool:
    """Run the study's trials to the end.

    Args:
        spec: of a study that exists.
        task: what to train on.
        profile: of the data set.
        fit_run: the record under which trials are recorded.
        progress: whoever watches.
        n_workers: processes; 1: this one.

    Returns:
        False if the user interrupted it.

    Raises:
        AutotlError: if every worker process died.
    """
    if n_workers == 1:
        return run_worker(spec, task, profile, fit_run, progress)
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    threads = max(1, n_cpus() // n_workers)
    workers = [
        context.Process(
            target=_work, args=(spec, task, profile, fit_run, events, threads, worker), daemon=True
        )
        for worker in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    finished = True
    try:
        while any(worker.is_alive() for worker in workers) or not events.empty():
            _pass_on(events, progress)
    except KeyboardInterrupt:
        finished = False
        for worker in workers:
            if worker.pid is not None and worker.is_alive():
                worker.terminate()
        while any(worker.is_alive() for worker in workers):
            _pass_on(events, progress)  # a process ends only when what it sent is read
    for worker in workers:
        worker.join()
    codes = [worker.exitcode for worker in workers]
    if finished and all(codes):
        raise AutotlError(f"all {n_workers} workers died (exit codes {codes}); see their output")
    if any(codes) and finished:
        progress.note(f"{sum(map(bool, codes))} of {n_workers} workers died (exit codes {codes})")
    return finished


def _pass_on(events: Any, progress: Progress) -> None:
    try:
        method, arguments = events.get(timeout=_POLL_S)
    except queue.Empty:
        return
    getattr(progress, method)(*arguments)


class _QueueProgress(Progress):
    """Sends what happens to the process that shows it."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def trial_started(self, number: int, strategy: str) -> None:
        self._events.put(("trial_started", (number, strategy)))

    def epoch(self, number: int, progress: float, score: float) -> None:
        self._events.put(("epoch", (number, progress, score)))

    def trial_ended(
        self, number: int, strategy: str, state: str, value: float | None, seconds: float
    ) -> None:
        self._events.put(("trial_ended", (number, strategy, state, value, seconds)))

    def note(self, message: str) -> None:
        self._events.put(("note", (message,)))


def _interrupt(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the record of the trial is written in peace
    raise KeyboardInterrupt


def _work(
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    events: Any,
    threads: int,
    worker: int,
) -> None:
    """One worker process: records its running trial before it ends on a signal."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; one answers it
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(threads)
    run_worker(spec, task, profile, fit_run, _QueueProgress(events), worker)
