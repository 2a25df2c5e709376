"""The machine: its devices, what it is made of, and how much time is left. Loads torch lazily."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from autotl.errors import InputError

if TYPE_CHECKING:
    import torch

_PACKAGES = ("autotl", "torch", "timm", "optuna", "mlflow", "scikit-learn", "numpy", "pandas")


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is the first GPU, or the CPU without one.

    Raises:
        InputError: if torch doesn't know the name or this machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"device {name!r} can't be used ({reason}); give 'auto', 'cpu' or 'cuda'"
        ) from error
    return device


def n_cpus() -> int:
    """CPU cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus(n: int, visible: str | None) -> tuple[str, ...]:
    """The GPUs as ``CUDA_VISIBLE_DEVICES`` names them.

    Args:
        n: that torch sees.
        visible: what that variable says now; None: nothing.
    """
    named = [part.strip() for part in (visible or "").split(",") if part.strip()]
    return tuple(named[:n]) if named else tuple(map(str, range(n)))


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: on a GPU by torch since the last reset, else by the process."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this process could still take: of the machine, and of its control groups.

    Args:
        root: where ``/proc`` and ``/sys`` are.
    """
    with suppress(OSError, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return max(0, min(int(line.split()[1]) * 1024, _left_in_control_groups(root)))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_memory_bytes(device: torch.device) -> int:
    """Memory that this process could still take: on a GPU its own, else the machine's."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory_bytes()


def _left_in_control_groups(root: Path) -> int:
    """The least that a limit of this process's group (cgroup v2) or of one above it leaves.

    Cached file pages that the kernel would drop at once don't count as used.
    """
    left = sys.maxsize
    try:
        own = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return left
    top = root / "sys/fs/cgroup"
    for line in own:
        if line.startswith("0::/"):
            path = top / line[4:]
            for group in (path, *path.parents):
                with suppress(OSError, ValueError):  # no limit is "max", which isn't a number
                    limit = int((group / "memory.max").read_text())
                    used = int((group / "memory.current").read_text())
                    left = min(left, limit - used + _droppable_bytes(group))
                if group == top:
                    break
    return left


def _droppable_bytes(group: Path) -> int:
    with suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                return int(line.split()[1])
    return 0


def free_disk_bytes(folder: Path) -> int:
    """Bytes free for this user on the disk of a folder, which need not exist yet; 0 if unknown."""
    for place in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def environment() -> Mapping[str, str]:
    """What a result may depend on: versions, the operating system, the processor and its use."""
    import torch

    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "n_cpus": str(n_cpus()),
        "n_threads": str(torch.get_num_threads()),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


@dataclass(frozen=True)
class Deadline:
    """A point in time, and whether it has come.

    Attributes:
        at: in seconds of :func:`time.time`, so that several processes can share it; None: never.
    """

    at: float | None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """The deadline that many seconds from now; None: never."""
        return cls(None if seconds is None else time.time() + seconds)

    def left_s(self) -> float:
        """Seconds left, below 0 when it has passed, infinite without a deadline."""
        return float("inf") if self.at is None else self.at - time.time()

    @property
    def shown_s(self) -> float | None:
        """Seconds left for a display, None without a deadline."""
        return None if self.at is None else max(0.0, self.left_s())

    def earlier(self, seconds: float) -> Deadline:
        """The deadline that many seconds before this one."""
        return Deadline(None if self.at is None else self.at - seconds)

    @property
    def passed(self) -> bool:
        return self.left_s() <= 0


NEVER = Deadline(None)
"""A deadline that never comes."""
