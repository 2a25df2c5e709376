"""Time and memory of analysing and fitting a bottleneck model, as the data set grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from autotl.strategies import STRATEGIES
from autotl.strategies.base import SilentReporter
from autotl.strategies.bottleneck import BottleneckConfig
from autotl.config import FitConfig
from autotl.preparation import prepare
from autotl.progress import Progress
from autotl.runtime import NEVER

folder, cache, disk_gb = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
started = time.perf_counter()
config = FitConfig(
    backbones=("embedded",), time_budget_s=None, n_trials=1, disk_cache_gb=disk_gb
)
task = prepare(folder, None, None, config, cache, NEVER, Progress()).task
analysed = time.perf_counter()
backbone = task.backbones["embedded"]
features = task.store.features(backbone, (backbone.num_stages,))
computed = time.perf_counter()
config = BottleneckConfig(backbone="embedded", layers="last", head="svm", C=0.01, balanced=False)
result = STRATEGIES["bottleneck"].run(config, task, SilentReporter())
print(json.dumps({
    "analyse_s": analysed - started,
    "features_s": computed - analysed,
    "fit_s": time.perf_counter() - computed,
    "accuracy": result.score,
    "feature_bytes": features.nbytes,
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""


def measure(folder: Path, cache: Path, disk_gb: float) -> dict[str, Any]:
    """Seconds of the steps and the peak of resident memory, in a process of its own.

    Args:
        folder: pictures, a class per sub-folder.
        cache: an empty folder.
        disk_gb: what the cache may hold.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder), str(cache), str(disk_gb)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
