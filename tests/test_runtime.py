"""The machine and the clock."""

from __future__ import annotations

import math

import pytest
import torch

from autotl import runtime
from autotl.errors import InputError
from autotl.runtime import Deadline, environment, n_cpus, peak_memory_bytes, resolve_device


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(runtime.time, "time", lambda: now[0])
    return now


def test_deadline_passes_at_its_time(clock: list[float]) -> None:
    deadline = Deadline.after(10.0)
    assert deadline.left_s() == 10.0
    clock[0] += 9.5
    assert not deadline.passed
    clock[0] += 0.5
    assert deadline.passed
    clock[0] += 5.0
    assert deadline.left_s() == -5.0
    assert deadline.shown_s == 0.0


def test_earlier_deadline(clock: list[float]) -> None:
    assert Deadline.after(10.0).earlier(4.0).left_s() == 6.0


def test_no_deadline_never_passes() -> None:
    never = Deadline.after(None)
    assert math.isinf(never.left_s())
    assert not never.passed
    assert never.shown_s is None
    assert never.earlier(1e9) == never


def test_auto_device_is_a_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


def test_named_device() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["warp", "cuda:99", "gpu", ""])
def test_absent_device_is_named_with_the_remedy(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' can't be used .*give 'auto'"):
        resolve_device(name)


def test_machine_is_described() -> None:
    found = environment()
    assert torch.__version__.startswith(found["torch"].partition("+")[0])
    assert {"python", "platform", "n_cpus", "autotl", "timm"} <= found.keys()
    assert int(found["n_cpus"]) == n_cpus() >= 1


def test_absent_package_is_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_PACKAGES", ("no-such-package",))
    assert environment()["no-such-package"] == "absent"


def test_peak_memory_is_in_bytes() -> None:
    held = peak_memory_bytes(torch.device("cpu"))
    assert 50e6 < held < 1e12  # a process that has loaded torch holds megabytes
