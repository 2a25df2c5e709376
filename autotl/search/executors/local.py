"""Runs a study's workers on this machine: in this process, or in several."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from autotl.analysis.profile import DatasetProfile
from autotl.errors import AutotlError, DiskFullError, is_disk_full
from autotl.progress import Progress
from autotl.runtime import n_cpus, visible_gpus
from autotl.search.objective import HUNG_S
from autotl.search.study import StudySpec, run_worker
from autotl.search.takeover import bound_of, fail_trial
from autotl.strategies.base import Task
from autotl.tracking.base import FitRun

_POLL_S = 0.2
_DISK_FULL = 74
"""Exit code of a worker that can write no more, as of sysexits' EX_IOERR."""
_LATE = 1.25
"""A worker whose trial should have ended itself so many times its bound ago is killed."""


def run_search(
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    progress: Progress,
    n_workers: int = 1,
) -> bool:
    """Run the study's trials to the end.

    Of several workers, one that dies in a trial (a crash in native code, the kernel's killer of
    processes that take too much memory) or hangs in one takes that trial with it, which has failed,
    and is replaced. One worker is this process: what kills it ends the fit, which then goes on by
    the same command.

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
        DiskFullError: if a worker could write no more.
    """
    if n_workers == 1:
        return run_worker(spec, task, profile, fit_run, progress)
    threads = max(1, n_cpus() // n_workers)
    team = _Team(spec, fit_run, progress, (spec, task, profile, fit_run), threads)
    for _ in range(n_workers):
        team.start()
    finished = True
    try:
        team.watch(n_replacements=2 * n_workers)
    except KeyboardInterrupt:
        finished = False
        team.interrupt()
        team.watch(n_replacements=0)
    codes = [process.exitcode for process in team.all]
    if finished and _DISK_FULL in codes:
        raise DiskFullError("the disk is full: the workers ended")
    if finished and all(codes):
        raise AutotlError(f"all {len(codes)} workers died (exit codes {codes}); see their output")
    return finished


@dataclass
class _Worker:
    """A worker process and what it does.

    Attributes:
        process: it.
        events: what it tells; a pipe of its own, since a queue that it shares with others stays
            locked if it dies in the middle of a message.
        trial: number of the trial that it runs; None: between two.
        begun: when that began, in seconds of :func:`time.monotonic`.
        bound_s: seconds after which that counts as hung; None: not asked yet.
        is_hung: whether it was killed for that.
    """

    process: Any
    events: Connection
    trial: int | None = None
    begun: float = 0.0
    bound_s: float | None = None
    is_hung: bool = False


class _Team:
    """The workers of a study.

    Args:
        spec: of the study.
        fit_run: the record under which trials are recorded.
        progress: whoever watches.
        work: what each worker gets.
        threads: of each.
    """

    def __init__(
        self,
        spec: StudySpec,
        fit_run: FitRun,
        progress: Progress,
        work: tuple[StudySpec, Task, DatasetProfile, FitRun],
        threads: int,
    ) -> None:
        self._spec = spec
        self._fit_run = fit_run
        self._progress = progress
        self._work = work
        self._threads = threads
        self._gpus = _gpus_of(work[1].device)
        self._alive: list[_Worker] = []
        self.all: list[Any] = []

    def start(self) -> None:
        """Start a worker."""
        context = multiprocessing.get_context("spawn")
        ours, its = context.Pipe(duplex=False)
        process = context.Process(
            target=_work, args=(*self._work, its, self._threads, len(self.all)), daemon=True
        )
        with _only(self._gpus[len(self.all) % len(self._gpus)] if self._gpus else None):
            process.start()
        its.close()
        self.all.append(process)
        self._alive.append(_Worker(process, ours))

    def interrupt(self) -> None:
        """Tell all to end their trials and themselves."""
        for worker in self._alive:
            worker.process.terminate()

    def watch(self, n_replacements: int) -> None:
        """Pass on what workers tell until all have ended; replace so many that die in a trial."""
        while self._alive:
            for events in wait([worker.events for worker in self._alive], timeout=_POLL_S):
                worker = next(own for own in self._alive if own.events is events)
                if self._hear(worker):
                    continue
                worker.events.close()
                worker.process.join()
                self._alive.remove(worker)
                code = worker.process.exitcode
                if code and code != _DISK_FULL and self._bury(worker) and n_replacements:
                    n_replacements -= 1
                    self.start()
            for worker in self._alive:
                self._kill_if_hung(worker)

    def _hear(self, worker: _Worker) -> bool:
        """Pass on what a worker tells next; False if that was all."""
        try:
            method, arguments = worker.events.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return False
        if method == "trial_started":
            worker.trial, worker.begun, worker.bound_s = arguments[0], time.monotonic(), None
        elif method == "trial_ended":
            worker.trial = None
        getattr(self._progress, method)(*arguments)
        return True

    def _bury(self, worker: _Worker) -> bool:
        """Tell of a worker that died, and record the trial that it ran; whether it ran one."""
        code = worker.process.exitcode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        how = "hung and was killed" if worker.is_hung else how
        self._progress.note(f"a worker {how}" + ("" if worker.trial is None else " in a trial"))
        if worker.trial is None:
            return False
        record = fail_trial(self._spec, worker.trial, f"its worker process {how}")
        if record is not None:
            end = {"state": record.state, "error": record.error}
            self._fit_run.tag_trial(record.run_id, end)
            self._progress.trial_ended(
                record.number, record.strategy, record.state, None, record.seconds
            )
        return True

    def _kill_if_hung(self, worker: _Worker) -> None:
        if worker.trial is None or worker.is_hung:
            return
        took_s = time.monotonic() - worker.begun
        if took_s > HUNG_S and worker.bound_s is None:
            worker.bound_s = bound_of(self._spec, worker.trial)
        if worker.bound_s is not None and took_s > _LATE * worker.bound_s:
            worker.is_hung = True
            worker.process.kill()


def _gpus_of(device: torch.device) -> tuple[str, ...]:
    """Those among which workers are spread; none if there is no choice."""
    if device.type != "cuda" or device.index is not None:
        return ()
    return visible_gpus(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))


@contextmanager
def _only(gpu: str | None) -> Iterator[None]:
    """Let a process that is started now see one GPU only; None: all that this one sees."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        yield
    finally:
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        elif gpu is not None:
            del os.environ["CUDA_VISIBLE_DEVICES"]


class _PipeProgress(Progress):
    """Sends what happens to the process that shows it."""

    def __init__(self, events: Connection) -> None:
        self._events = events

    def trial_started(self, number: int, strategy: str) -> None:
        self._events.send(("trial_started", (number, strategy)))

    def epoch(self, number: int, progress: float, score: float) -> None:
        self._events.send(("epoch", (number, progress, score)))

    def trial_ended(
        self, number: int, strategy: str, state: str, value: float | None, seconds: float
    ) -> None:
        self._events.send(("trial_ended", (number, strategy, state, value, seconds)))

    def note(self, message: str) -> None:
        self._events.send(("note", (message,)))


def _interrupt(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the record of the trial is written in peace
    raise KeyboardInterrupt


def _work(
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    events: Connection,
    threads: int,
    worker: int,
) -> None:
    """One worker process: records its running trial before it ends on a signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; one answers it
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(threads)
    try:
        run_worker(spec, task, profile, fit_run, _PipeProgress(events), worker)
    except Exception as error:
        if is_disk_full(error):
            sys.exit(_DISK_FULL)
        raise
