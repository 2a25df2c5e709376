"""Trials an hour with one and with two workers on two cores, a thread for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from studies.scale.pictures import write_digits

_CODE = """
import json, os, sys, time
import autotl
from autotl.progress import Progress

class Times(Progress):
    begun, ended = None, []
    def trial_started(self, *_):
        self.begun = self.begun or time.perf_counter()
    def trial_ended(self, *_):
        self.ended.append(time.perf_counter())
    def phase(self, name, left=None):
        if self.ended and name != "search":  # what is measured is over
            print(json.dumps({"seconds": self.ended[-1] - self.begun}), flush=True)
            os._exit(0)

if __name__ == "__main__":
    data, output, workers, n_trials = sys.argv[1:]
    autotl.fit(
        data, output_dir=output, workers=int(workers), n_trials=int(n_trials), time_budget_s=None,
        strategies=["scratch"], backbones=["embedded"], device="cpu", warm_start=False,
        space={"scratch.epochs": [7, 8, 9, 10]}, study_name="workers", progress=Times(),
    )
"""


_LOOP = """
import sys, time
import torch
from autotl.backbones.zoo import open_backbone

torch.set_num_threads(1)
network = open_backbone("embedded").create(10, pretrained=False)
x, y = torch.zeros(32, 3, 64, 64), torch.zeros(32, dtype=torch.int64)
n, until = -3, float("inf")
while time.perf_counter() < until:
    torch.nn.functional.cross_entropy(network(x), y).backward()
    n += 1
    if n == 0:
        print("ready", flush=True)
        until = float(sys.stdin.readline()) + time.perf_counter()
print(n)
"""
"""Training steps alone, without autotl: what the machine makes of two processes."""


def run(quick: bool = False) -> dict[str, Any]:
    """The same search with one worker and with two, in turn.

    Args:
        quick: 6 trials once instead of 12 in each of three rounds.

    Returns:
        Median trials an hour, from the first's begin to the last's end, what two workers are to
        one, and what two processes are to one that only train, without autotl: cores that share
        what they compute with don't do twice as much.
    """
    n_trials, n_rounds = (6, 1) if quick else (12, 3)
    found: dict[str, Any] = {"n_trials": n_trials, "load_before": os.getloadavg()[0]}
    per_hour: dict[int, list[float]] = {1: [], 2: []}
    steps: dict[int, list[int]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="autotl-scale-") as name:
        data = write_digits(Path(name) / "digits", 120)
        script = Path(name) / "fit.py"
        script.write_text(_CODE)
        for k in range(n_rounds):
            for n_workers in (1, 2) if k % 2 == 0 else (2, 1):
                steps[n_workers].append(_steps(n_workers, quick))
                place = Path(name) / f"{k}-{n_workers}"
                seconds = _seconds(script, data, place, n_workers, n_trials)
                per_hour[n_workers].append(3600 * n_trials / seconds)
                print(n_workers, steps[n_workers][-1], round(per_hour[n_workers][-1]), flush=True)
    ratios = [two / one for one, two in zip(per_hour[1], per_hour[2], strict=True)]
    allowed = [two / one for one, two in zip(steps[1], steps[2], strict=True)]
    return found | {
        "trials_per_hour": {n: round(median(own), 1) for n, own in per_hour.items()},
        "two_to_one": [round(ratio, 2) for ratio in ratios],
        "machine_allows": [round(ratio, 2) for ratio in allowed],
        "median": round(median(ratios), 2),
        "median_allowed": round(median(allowed), 2),
    }


def _seconds(script: Path, data: Path, output: Path, n_workers: int, n_trials: int) -> float:
    """From the first trial's begin to the last one's end."""
    done = subprocess.run(
        [sys.executable, str(script), str(data), str(output), str(n_workers), str(n_trials)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def _steps(n: int, quick: bool) -> int:
    """Training steps of so many processes in the same time."""
    loops = [
        subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(n)
    ]
    for loop in loops:
        assert loop.stdout is not None
        loop.stdout.readline()
    for loop in loops:
        assert loop.stdin is not None
        loop.stdin.write("5\n" if quick else "20\n")
        loop.stdin.flush()
    return sum(int(loop.communicate()[0]) for loop in loops)
