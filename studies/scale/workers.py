"""Trials an hour with one and with two workers on two cores, a thread for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from studies.scale.pictures import write_digits

_CODE = """
import json, sys, time
import autotl
from autotl.progress import Progress

class Times(Progress):
    begun, ended = None, []
    def trial_started(self, *_):
        self.begun = self.begun or time.perf_counter()
    def trial_ended(self, number, strategy, state, value, seconds):
        self.ended.append((time.perf_counter(), state, seconds))
    def phase(self, name, left=None):
        if name == "finalists":
            self.n = len(self.ended)

if __name__ == "__main__":
    data, output, workers, n_trials = sys.argv[1:]
    times = Times()
    autotl.fit(
        data, output_dir=output, workers=int(workers), n_trials=int(n_trials), time_budget_s=None,
        strategies=["scratch"], backbones=["embedded"], device="cpu", warm_start=False,
        space={"scratch.epochs": [4, 6, 8]},
        study_name="workers", progress=times,
    )
    ended = times.ended[:int(n_trials)]
    print(json.dumps({
        "seconds": ended[-1][0] - times.begun,
        "of_trials_s": sum(own[2] for own in ended),
        "n_pruned": sum(own[1] == "pruned" for own in ended),
    }))
"""


def run(quick: bool = False) -> dict[str, Any]:
    """The same search with one worker and with two.

    Args:
        quick: 6 trials instead of 24.

    Returns:
        Trials an hour from the first's begin to the last's end, and what two are to one.
    """
    n_trials = 6 if quick else 24
    found: dict[str, Any] = {"n_trials": n_trials, "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="autotl-scale-") as name:
        data = write_digits(Path(name) / "digits", 200)
        script = Path(name) / "fit.py"
        script.write_text(_CODE)
        for n_workers in (1, 2):
            output = Path(name) / str(n_workers)
            arguments = [str(data), str(output), str(n_workers), str(n_trials)]
            variables = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, str(script), *arguments],
                env=variables,
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            figures = json.loads(done.stdout.splitlines()[-1])
            figures["trials_per_hour"] = round(3600 * n_trials / figures["seconds"], 1)
            found[str(n_workers)] = figures
    found["two_to_one"] = round(found["2"]["trials_per_hour"] / found["1"]["trials_per_hour"], 2)
    return found
