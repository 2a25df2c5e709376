"""The machine: its devices, what it is made of, and how much time is left. Loads torch lazily."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
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


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: on a GPU by torch since the last reset, else by the process."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment() -> Mapping[str, str]:
    """What a result may depend on: versions of packages, Python, the operating system, cores."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "n_cpus": str(n_cpus()),
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
