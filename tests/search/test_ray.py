"""Ray: what is refused without it; a cluster is started by the slow test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotl.search.executors.ray as ray_module
from autotl.errors import InputError
from autotl.progress import Progress
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
