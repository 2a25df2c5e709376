"""The slots of a worker's machine: a process for each, with a share of the GPUs and the cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotl.errors import InputError
from autotl.runtime import n_cpus, visible_gpus

IS_SLOT = "AUTOTL_SLOTS"
"""Set in the processes of slots: how many there are on the machine."""
MIN_SLOT_BYTES = 2 * 2**30
"""GPU memory that a slot must have: torch and CUDA alone take about half a GB."""
_DRIVER = Path("/proc/driver/nvidia/version")
_MAX_RESTARTS = 3
_POLL_S = 0.2
_FREE = (
    "import torch\nfor i in range(torch.cuda.device_count()): print(torch.cuda.mem_get_info(i)[0])"
)


@dataclass(frozen=True)
class Slots:
    """What processes a machine runs.

    Attributes:
        n: how many.
        gpus: as in ``CUDA_VISIBLE_DEVICES``; empty: they run on the CPU.
    """

    n: int
    gpus: tuple[str, ...] = ()

    @classmethod
    def of_machine(cls, n: int | None, device: str | None) -> Slots:
        """One for each GPU that this process may use, or as many as wanted.

        Args:
            n: wanted; None: one for each GPU, or one.
            device: as for :func:`autotl.fit`; with ``cpu`` or a certain GPU they aren't spread.

        Raises:
            InputError: if the GPUs' memory doesn't suffice for so many.
        """
        if device not in (None, "auto", "cuda"):
            return cls(n or 1)
        free = _free_bytes()
        return cls.on(n, visible_gpus(len(free), os.environ.get("CUDA_VISIBLE_DEVICES")), free)

    @classmethod
    def on(cls, n: int | None, gpus: Sequence[str], free_bytes: Sequence[int]) -> Slots:
        """On these GPUs; arguments and errors as of :meth:`of_machine`."""
        if not gpus:
            return cls(n or 1)
        n = n or len(gpus)
        shares = [len(range(i, n, len(gpus))) for i in range(len(gpus))]
        for gpu, share, free in zip(gpus, shares, free_bytes, strict=True):
            if share * MIN_SLOT_BYTES > free:
                fit = sum(int(own // MIN_SLOT_BYTES) for own in free_bytes)
                raise InputError(
                    f"--slots must leave each slot {MIN_SLOT_BYTES / 2**30:g} GB of GPU memory, "
                    f"but {share} share GPU {gpu} with {free / 2**30:.1f} GB free; give at most "
                    f"--slots {fit}"
                )
        return cls(n, tuple(gpus))

    def environment(self, slot: int) -> dict[str, str]:
        """What a slot's process finds in its environment."""
        threads = str(max(1, n_cpus() // self.n))
        found = {IS_SLOT: str(self.n), "OMP_NUM_THREADS": threads}
        if self.gpus:
            found["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return found

    def prepare(self) -> None:
        """Make this process the only slot."""
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[0]

    def run(self) -> int:
        """Run this command in a process for each slot; the exit code: 0 if any of them helped.

        A process that dies is replaced, up to three times each.
        """
        code = "from autotl.cli import main; main()"
        command = [sys.executable, "-c", code, *sys.argv[1:]]

        def start(slot: int) -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, env={**os.environ, **self.environment(slot)})

        running = {slot: start(slot) for slot in range(self.n)}
        n_restarts = dict.fromkeys(running, 0)
        codes: list[int] = []
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            while running:
                time.sleep(_POLL_S)
                for slot, process in list(running.items()):
                    ended = process.poll()
                    if ended is None:
                        continue
                    if ended < 0 and n_restarts[slot] < _MAX_RESTARTS:
                        n_restarts[slot] += 1
                        running[slot] = start(slot)
                    else:
                        codes.append(ended)
                        del running[slot]
        except KeyboardInterrupt:
            for process in running.values():
                process.terminate()
            codes += [process.wait() for process in running.values()]
        finally:
            signal.signal(signal.SIGTERM, before)
        return 0 if 0 in codes else max(codes, default=0)


def _free_bytes() -> list[int]:
    """Free memory of each GPU; asked for in another process, so that this one takes none."""
    if not _DRIVER.is_file():
        return []
    done = subprocess.run([sys.executable, "-c", _FREE], capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()] if done.returncode == 0 else []


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
