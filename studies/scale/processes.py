"""Processes below another one, as Linux's ``/proc`` tells."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def below(pid: int) -> list[int]:
    """Ids of all processes that descend from a process."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(place.name)] = int(_stat(place)[1])
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def command_of(pid: int) -> str:
    """A process's command line; empty if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, of those below it, and of those that it has waited for."""
    ticks = 0
    for own in (pid, *below(pid)):
        with suppress(OSError):
            values = _stat(Path(f"/proc/{own}"))
            ticks += sum(map(int, values[11 : 15 if own == pid else 13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(place: Path) -> list[str]:
    """The values behind the command's name."""
    return (place / "stat").read_text().rpartition(")")[2].split()
