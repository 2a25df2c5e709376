"""``autotl worker``: the slots of a machine, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import autotl.cli.slots as slots_module
from autotl.cli.slots import IS_SLOT, MIN_SLOT_BYTES, Slots
from autotl.errors import InputError
from autotl.runtime import visible_gpus

Run = Callable[..., Result]


def test_a_gpu_has_one_slot_unless_more_are_wanted_and_fit() -> None:
    free = [8 * MIN_SLOT_BYTES, 2 * MIN_SLOT_BYTES]
    assert Slots.on(None, ("0", "3"), free).n == 2
    four = Slots.on(4, ("0", "3"), free)
    assert [four.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(4)] == list("0303")
    with pytest.raises(InputError, match=r"3 share GPU 3 with 4.0 GB free; .* --slots 10"):
        Slots.on(6, ("0", "3"), free)


def test_without_gpus_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "n_cpus", lambda: 8)
    assert Slots.on(None, (), []) == Slots(1)
    assert Slots(4).environment(3) == {IS_SLOT: "4", "OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize(
    ("n", "visible", "named"),
    [(2, None, ("0", "1")), (2, "3, GPU-5f", ("3", "GPU-5f")), (0, None, ()), (1, "2,9", ("2",))],
)
def test_gpus_are_named_as_they_are_visible(n: int, visible: str | None, named: Any) -> None:
    assert visible_gpus(n, visible) == named


def test_a_slot_that_dies_is_replaced_and_one_that_helped_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slot 0 is killed once and then helps; slot 1 can't help."""
    code = (
        "import os, signal, sys, pathlib\n"
        "if os.environ['CUDA_VISIBLE_DEVICES'] == '1': sys.exit(2)\n"
        f"seen = pathlib.Path({str(tmp_path / 'seen')!r})\n"
        "if not seen.exists(): seen.touch(); os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    plain, started = subprocess.Popen, []

    def start(command: list[str], **options: Any) -> Any:
        started.append(options["env"]["CUDA_VISIBLE_DEVICES"])
        return plain([sys.executable, "-c", code], **options)

    monkeypatch.setattr(slots_module.subprocess, "Popen", start)
    assert Slots(2, ("0", "1")).run() == 0
    assert sorted(started) == ["0", "0", "1"]


def test_a_study_that_does_not_appear_is_an_error_of_the_user(run: Run, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    result = run("worker", "--study", "s", "--storage", storage, "--wait", "0", "--device", "cpu")
    assert result.exit_code == 2
    assert "no study 's' in that storage after 0 s (known: none)" in result.stderr
    assert IS_SLOT not in os.environ
