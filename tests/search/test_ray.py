"""Ray: what is refused, and how a team is looked after, with a cluster that is played.

The slow test starts a real one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import autotl.search.executors.ray as ray_module
from autotl.errors import AutotlError, InputError
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.executors.ray import RayWorkers, require_ray, run_on_ray


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_module, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'autotl\[ray\]'"):
        require_ray("pictures/")


def test_data_in_memory_is_refused() -> None:
    with pytest.raises(InputError, match=r"all nodes can see.* but got a tuple in memory"):
        require_ray(([], []))


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class PlayedCluster:
    """Ray's functions, on tasks that end at once as the script says: True, or an error.

    Args:
        script: what becomes of each task, in the order in which they are begun; None: it runs until
            it is cancelled.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, script: list[Any]) -> None:
        self.script = script
        self.cancelled: list[tuple[int, bool]] = []
        self.n_begun = 0

    def init(self, **_: Any) -> None: ...

    def shutdown(self) -> None: ...

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, _: Any) -> PlayedCluster:
        return self

    def options(self, **_: Any) -> Any:
        def begin(*_: Any) -> int:
            self.n_begun += 1
            return self.n_begun - 1

        return SimpleNamespace(remote=begin)

    def wait(self, running: list[int], timeout: float) -> tuple[list[int], list[int]]:
        gone = {number for number, _ in self.cancelled}
        ended = [own for own in running if self.script[own] is not None or own in gone][:1]
        return ended, [own for own in running if own not in ended]

    def get(self, number: int) -> Any:
        if isinstance(self.script[number], Exception):
            raise self.script[number]
        return self.script[number]

    def cancel(self, number: int, force: bool = False) -> None:
        self.cancelled.append((number, force))


Play = Callable[..., tuple[PlayedCluster, Notes]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, make_spec: Callable[..., Any]) -> Play:
    """Runs a team of two on a played cluster."""

    def run(script: list[Any], **changes: Any) -> tuple[PlayedCluster, Notes]:
        cluster, watch = PlayedCluster(script), Notes()
        monkeypatch.setitem(sys.modules, "ray", cluster)
        workers = RayWorkers(2, 1.0, changes.pop("gpus", 0.0), "auto")
        assert run_on_ray(print, (), make_spec(**changes), workers, watch)
        return cluster, watch

    return run


def test_the_dead_are_replaced_and_those_who_leave_are_not(play: Play) -> None:
    cluster, watch = play([RayError("node gone"), RayTaskError("no data"), True])
    assert cluster.n_begun == 3
    assert watch.notes == [
        "a worker on Ray died: node gone",
        "a worker on Ray left: no data",
    ]


def test_if_no_worker_can_help_it_is_said(play: Play) -> None:
    with pytest.raises(AutotlError, match="no worker on Ray could help: no data"):
        play([RayTaskError("no data")] * 2)
    with pytest.raises(AutotlError, match="no worker on Ray could help: dead"):
        play([RayError("dead")] * 8)  # two, and three replacements for each


def test_at_the_deadline_those_that_run_are_ended(play: Play) -> None:
    cluster, _ = play([None, True], deadline=Deadline(1.0))
    assert cluster.cancelled == [(0, False)]


def test_what_no_node_has_is_refused(play: Play) -> None:
    with pytest.raises(InputError, match=r"needs: 1 GPU \(the cluster has 2 CPU\); change worker"):
        play([], gpus=1.0)


def die_once(folder: str) -> bool:
    """Die as a worker does whose node is gone; the replacement lives."""
    (Path(folder) / str(os.getpid())).touch()
    if len(list(Path(folder).iterdir())) == 1:
        os._exit(1)
    return True


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_too_large_ones_are_refused(
    make_spec: Callable[..., Any], tmp_path: Path
) -> None:
    watch = Notes()
    folder = tmp_path / "seen"
    folder.mkdir()
    workers = RayWorkers(1, 1.0, 0.0, "local")
    assert run_on_ray(die_once, (str(folder),), make_spec(), workers, watch)
    assert len(list(folder.iterdir())) == 2
    assert watch.notes[0].startswith("a worker on Ray died")
    with pytest.raises(InputError, match=r"what a worker needs: 1 GPU \(the cluster has \d+ CPU"):
        run_on_ray(die_once, (str(folder),), make_spec(), RayWorkers(1, 1.0, 1.0, "local"), watch)
