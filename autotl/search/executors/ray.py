"""Runs a study's workers on a Ray cluster; the only place that knows Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autotl.errors import AutotlError, InputError
from autotl.progress import Progress
from autotl.search.study import StudySpec

_POLL_S = 1.0
_REPLACEMENTS = 3
"""For each worker, of those that die."""
_LATE_S = 10.0
"""After the deadline a worker may take so long to end before it is killed."""


@dataclass(frozen=True)
class RayWorkers:
    """What is asked of a Ray cluster.

    Attributes:
        n: workers at most; as many run as the cluster has room for.
        cpus: of each.
        gpus: of each.
        address: of the cluster; ``auto``: the one that this machine belongs to; ``local``: a new
            one.
    """

    n: int
    cpus: float
    gpus: float
    address: str


def require_ray(dataset: Any) -> None:
    """See that a fit on this data set can use Ray.

    Raises:
        InputError: if Ray is absent, or the data set is in memory.
    """
    if find_spec("ray") is None:
        raise InputError("executor='ray' needs Ray: pip install 'autotl[ray]'")
    if not isinstance(dataset, str | Path):
        raise InputError(
            "executor='ray' needs a data set that all nodes can see, a folder or a table, but got "
            f"a {type(dataset).__name__} in memory"
        )


def run_on_ray(
    work: Callable[..., bool],
    arguments: tuple[Any, ...],
    spec: StudySpec,
    workers: RayWorkers,
    progress: Progress,
) -> bool:
    """Run a study's workers on a cluster to the end.

    A worker that dies, with its node or alone, is replaced; its trial goes on elsewhere. Workers
    for which there is no room wait until the cluster grows.

    Args:
        work: the worker's function, which joins the study; False if it was interrupted.
        arguments: of it, plain values.
        spec: of a study that is published.
        workers: how many, and what each needs.
        progress: whoever watches.

    Returns:
        False if the user interrupted it.

    Raises:
        InputError: if there is no such cluster, or no worker can be placed or can help.
        AutotlError: if all workers died.
    """
    import ray

    _connect(workers)
    try:
        team = _Team(work, arguments, workers, progress)
        try:
            team.watch(spec)
        except KeyboardInterrupt:
            team.stop()
            return False
        return True
    finally:
        ray.shutdown()


def _connect(workers: RayWorkers) -> None:
    import ray

    try:
        ray.init(
            address=None if workers.address == "local" else workers.address,
            log_to_driver=False,
            include_dashboard=False if workers.address == "local" else None,
            logging_level="ERROR",
        )
    except Exception as error:  # Ray raises plain ones, too
        ray.shutdown()  # what it has started so far
        raise InputError(
            f"no Ray cluster at ray_address={workers.address!r} "
            f"({' '.join(str(error).split())[:200]}); start one with `ray start --head`, or give "
            "ray_address='local'"
        ) from error
    total = ray.cluster_resources()
    wanted = {"CPU": workers.cpus, "GPU": workers.gpus}
    lacking = [f"{n:g} {name}" for name, n in wanted.items() if n > 0 and name not in total]
    if lacking:
        ray.shutdown()
        raise InputError(
            f"no node of the Ray cluster has what a worker needs: {', '.join(lacking)} (the "
            f"cluster has {_told(total)}); change worker_cpus or worker_gpus"
        )


def _told(resources: dict[str, float]) -> str:
    return ", ".join(f"{n:g} {name}" for name, n in resources.items() if name in ("CPU", "GPU"))


class _Team:
    """The workers of a study on a cluster.

    Args:
        work: of each.
        arguments: of it.
        workers: how many, and what each needs.
        progress: whoever watches.
    """

    def __init__(
        self,
        work: Callable[..., bool],
        arguments: tuple[Any, ...],
        workers: RayWorkers,
        progress: Progress,
    ) -> None:
        import ray

        self._task = ray.remote(work).options(
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            max_retries=0,
            scheduling_strategy="SPREAD",
            name="autotl worker",
        )
        self._arguments = arguments
        self._progress = progress
        self._n_left = _REPLACEMENTS * workers.n
        self._running = [self._start() for _ in range(workers.n)]

    def _start(self) -> Any:
        return self._task.remote(*self._arguments)

    def watch(self, spec: StudySpec) -> None:
        """Replace workers that die, until all have ended or the time is up."""
        import ray

        n_useful, reasons = 0, []
        while self._running:
            ended, self._running = ray.wait(self._running, timeout=_POLL_S)
            for reference in ended:
                try:
                    ray.get(reference)
                    n_useful += 1
                except ray.exceptions.RayTaskError as error:  # it can't help, and says why
                    reasons.append(_reason(error))
                    self._progress.note(f"a worker on Ray left: {reasons[-1]}")
                except ray.exceptions.RayError as error:
                    reasons.append(_reason(error))
                    self._progress.note(f"a worker on Ray died: {reasons[-1]}")
                    if self._n_left:
                        self._n_left -= 1
                        self._running.append(self._start())
            if spec.deadline.left_s() < -_LATE_S:
                break
        self.stop()
        if reasons and not n_useful:
            raise AutotlError(f"no worker on Ray could help: {reasons[-1]}")

    def stop(self) -> None:
        """End the workers: what is running waits for others, what waits for room isn't begun."""
        import ray

        for reference in self._running:
            ray.cancel(reference)
        until = time.monotonic() + _LATE_S
        while self._running and time.monotonic() < until:
            _, self._running = ray.wait(self._running, timeout=_POLL_S)
        for reference in self._running:
            ray.cancel(reference, force=True)


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    return " ".join(str(cause).split())[:300]
