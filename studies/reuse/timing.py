"""Fair timings on a shared machine: candidates in turn, in one process, and their medians."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from autotl.errors import InputError
from autotl.runtime import n_cpus


def interleaved(
    candidates: Mapping[str, Callable[[], float]], repeats: int, *, n_warmup: int = 1
) -> dict[str, float]:
    """Medians of figures that are measured in turn, so that a slow minute hits all alike.

    Every other round goes through the candidates backwards: none always comes after the same one.

    Args:
        candidates: by name, what measures once and returns a figure, e.g. seconds.
        repeats: rounds that count, at least 1.
        n_warmup: rounds before those, which don't.

    Returns:
        Median figure by name.
    """
    if repeats < 1:
        raise InputError(f"repeats must be at least 1, but got {repeats}")
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(n_warmup + repeats):
        names = list(candidates)
        for name in names if round_number % 2 == 0 else reversed(names):
            figure = candidates[name]()
            if round_number >= n_warmup:
                figures[name].append(figure)
    return {name: statistics.median(values) for name, values in figures.items()}


def machine() -> dict[str, str | int]:
    """What timings depend on: processor, cores, GPU, versions. No names of hosts or places."""
    found: dict[str, str | int] = {
        "processor": _processor(),
        "n_cpus": n_cpus(),
        "n_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    """The processor's model name, or its kind where the system doesn't tell."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
