"""The machine and the clock."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch

from autotl import runtime
from autotl.errors import InputError
from autotl.runtime import (
    Deadline,
    available_memory_bytes,
    environment,
    free_disk_bytes,
    n_cpus,
    peak_memory_bytes,
    resolve_device,
)


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
    assert int(found["n_threads"]) == torch.get_num_threads()
    assert found["cpu_instructions"]


def test_absent_package_is_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_PACKAGES", ("no-such-package",))
    assert environment()["no-such-package"] == "absent"


def test_peak_memory_is_in_bytes() -> None:
    held = peak_memory_bytes(torch.device("cpu"))
    assert 50e6 < held < 1e12  # a process that has loaded torch holds megabytes


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:  900 kB\nMemFree: 1 kB\nMemAvailable:     500 kB\nx: 1\n"}
TOP = "sys/fs/cgroup"


def test_available_memory_is_the_machines(tmp_path: Path) -> None:
    assert available_memory_bytes(machine(tmp_path, MEMINFO)) == 500 * 1024
    assert 0 < available_memory_bytes() < 1e14


def test_available_memory_without_a_word_of_it(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path) > 1e8
    assert available_memory_bytes(machine(tmp_path, {"proc/meminfo": "MemTotal: 1 kB"})) > 1e8


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        ({"memory.max": "1000", "memory.current": "400"}, 600),
        ({"a/memory.max": "1000", "a/memory.current": "400"}, 600),
        ({"a/b/memory.max": "1000", "a/b/memory.current": "400"}, 600),
        (
            {
                **{"a/memory.max": "1000", "a/memory.current": "900"},
                **{"a/b/memory.max": "500", "a/b/memory.current": "300"},
            },
            100,
        ),
        (
            {
                **{"a/b/memory.max": "1000", "a/b/memory.current": "900"},
                "a/b/memory.stat": "anon 5\ninactive_file 300\nactive_file 7\n",
            },
            400,
        ),
        ({"a/b/memory.max": "1000", "a/b/memory.current": "1200"}, 0),
        ({"a/b/memory.max": "max", "a/b/memory.current": "1200"}, 500 * 1024),
        ({"a/other/memory.max": "1", "a/other/memory.current": "1"}, 500 * 1024),
        ({"a/b/memory.max": "10"}, 500 * 1024),
    ],
)
def test_available_memory_in_control_groups(
    groups: dict[str, str], left: int, tmp_path: Path
) -> None:
    limits = {f"{TOP}/{name}": f"{content}\n" for name, content in groups.items()}
    own = {"proc/self/cgroup": "12:memory:/x\n0::/a/b\n"}
    assert available_memory_bytes(machine(tmp_path, MEMINFO | own | limits)) == left


def test_free_disk_of_a_folder_to_be(tmp_path: Path) -> None:
    free = free_disk_bytes(tmp_path / "not" / "yet")
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1e9
    (tmp_path / "file").write_text("")
    assert free_disk_bytes(tmp_path / "file" / "x") > 0
