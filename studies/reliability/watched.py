"""Inputs tried in a child process that may be killed, hang or eat memory: each is an outcome."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HANG_S = 5.0
MAX_BYTES = 2 * 2**30
_GIVE_UP_S = 30.0
"""Wall time without an answer after which the child is killed."""


@dataclass
class Outcomes:
    """What came of inputs.

    Attributes:
        counts: by outcome: ``read``, ``refused``, and the findings ``wrong error``, ``crash``,
            ``hang`` and ``memory``.
        findings: (input's name, outcome, detail) of those that may not be.
        slowest_s: processor seconds of the slowest.
        peak_bytes: of resident memory of the largest child.
    """

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_bytes: int = 0

    def add(self, name: str, outcome: str, detail: str = "", seconds: float = 0.0) -> None:
        """Count one; a read or refused one that took too long is a hang."""
        self.slowest_s = max(self.slowest_s, seconds)
        if outcome in ("read", "refused") and seconds > HANG_S:
            outcome, detail = "hang", f"{seconds:.1f} s"
        self.counts[outcome] += 1
        if outcome not in ("read", "refused"):
            self.findings.append((name, outcome, detail))
            print(f"  {outcome}: {name}: {detail}", flush=True)

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n_inputs": sum(self.counts.values()),
            **{k.replace(" ", "_"): self.counts[k] for k in OUTCOMES},
            "slowest_cpu_s": round(self.slowest_s, 2),
            "peak_gib": round(self.peak_bytes / 2**30, 2),
        }


OUTCOMES = ("read", "refused", "wrong error", "crash", "hang", "memory")


def _child(pipe: Connection, make_reader: Callable[[], Callable[[bytes], None]]) -> None:
    from autotl.errors import AutotlError

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells of every fault there
    read = make_reader()
    pipe.send(("ready", "", 0.0, 0))
    while True:
        content = pipe.recv_bytes()
        _forget_peak()
        started = time.process_time()
        try:
            read(content)
            outcome, detail = "read", ""
        except AutotlError as error:
            outcome, detail = "refused", str(error)[:200]
        except MemoryError:
            outcome, detail = "memory", "MemoryError"
        except BaseException as error:
            outcome, detail = "wrong error", f"{type(error).__name__}: {error}"[:300]
        seconds = time.process_time() - started
        pipe.send((outcome, detail, seconds, _peak_bytes()))


def _forget_peak() -> None:
    """Start the kernel's count of the largest resident memory anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """The largest resident memory since then; unlike ``ru_maxrss`` without the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def try_all(
    inputs: list[tuple[str, bytes]], make_reader: Callable[[], Callable[[bytes], None]]
) -> Outcomes:
    """Read each input in a child process, which is replaced when it dies, hangs or grows.

    Args:
        inputs: names and contents.
        make_reader: makes, in the child, the function that reads a content; an
            :class:`~autotl.errors.AutotlError` of it is a clean refusal.
    """
    outcomes = Outcomes()
    left = iter(inputs)
    item = next(left, None)
    while item is not None:
        pipe, other = get_context("spawn").Pipe()
        child = get_context("spawn").Process(target=_child, args=(other, make_reader), daemon=True)
        child.start()
        other.close()
        pipe.recv()
        while item is not None:
            name, content = item
            try:
                pipe.send_bytes(content)
                if not pipe.poll(_GIVE_UP_S):
                    outcomes.add(name, "hang", f"no answer in {_GIVE_UP_S:g} s")
                    item = next(left, None)
                    break
                outcome, detail, seconds, peak = pipe.recv()
            except (EOFError, OSError):
                child.join(5)
                outcomes.add(name, "crash", f"exit code {child.exitcode}")
                item = next(left, None)
                break
            if peak > MAX_BYTES:
                outcome, detail = "memory", f"{peak / 2**30:.2f} GiB"
            outcomes.peak_bytes = max(outcomes.peak_bytes, peak)
            outcomes.add(name, outcome, detail, seconds)
            item = next(left, None)
        child.kill()
        child.join()
    return outcomes
