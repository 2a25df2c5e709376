"""Fit after fit into one folder with a quota: how much is on the disk, and is what counts there?

Small fits (60 handwritten digits of 3 classes, the embedded backbone, a cache of 20 MB at most)
until one is refused. While each runs, the folder is measured ten times a second. In the end the fit
that was refused is run with the quota that the error named.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_QUOTA_GB, _CACHE_GB, _MOST, _N_TRIALS = 0.27, 0.02, 40, 6
_EVERY_S = 0.1


def run(quick: bool = False) -> dict[str, Any]:
    """Fill a folder up to its quota.

    Args:
        quick: makes no difference.
    """
    import autotl
    import autotl.search.budget as budget
    from autotl.allowance import used_bytes
    from autotl.datasets import digits
    from autotl.errors import InputError

    pictures, labels = digits()
    kept = np.flatnonzero(np.isin(labels, list("012")))[:60]
    most: list[int] = []
    afterwards: list[int] = []
    models: list[Path] = []
    found: dict[str, Any] = {"quota_mb": round(1000 * _QUOTA_GB)}

    def fit(output: Path, quota_gb: float) -> None:
        with _watched(output, most):
            made = autotl.fit(
                (pictures[kept], labels[kept]),
                time_budget_s=None,
                n_trials=_N_TRIALS,
                backbones=["embedded"],
                device="cpu",
                seed=len(models),
                output_dir=output,
                disk_quota_gb=quota_gb,
                disk_cache_gb=_CACHE_GB,
                study_name=f"fit {len(models)}",
            )
        models.append(made.model_path)
        afterwards.append(used_bytes(output))
        print(f"fit {len(models)}: {most[-1] / 1e6:.1f} MB at most", flush=True)

    before = budget.UNLIMITED_EPOCHS
    budget.UNLIMITED_EPOCHS = 1
    try:
        with tempfile.TemporaryDirectory(prefix="autotl-quota-") as folder:
            output, quota_gb = Path(folder) / "out", _QUOTA_GB
            try:
                while len(models) < _MOST:
                    fit(output, quota_gb)
            except InputError as error:
                found["refused"] = str(error).replace(folder, "")
                named = re.search(r"at least (\S+)", str(error))
                assert named is not None
                quota_gb = float(named[1])
            found["n_fits"] = len(models)
            found["most_mb"] = round(max(most[: len(models)]) / 1e6, 1)
            found["afterwards_mb"] = [round(n_bytes / 1e6, 1) for n_bytes in afterwards]
            if "refused" in found:
                fit(output, quota_gb)
                found["most_with_the_named_mb"] = round(most[-1] / 1e6, 1)
            losers = [len(list(m.parent.glob("trials/*.safetensors"))) for m in models]
            found["models_of_trials_left"] = losers
            found["trials_left"] = sum(len(list(m.parent.glob("trials/*.json"))) for m in models)
            found["models_that_predict"] = sum(
                len(autotl.load(model).predict(pictures[kept[:3]])) == 3 for model in models
            )
    finally:
        budget.UNLIMITED_EPOCHS = before
    print(found, flush=True)
    return found


@contextmanager
def _watched(folder: Path, most: list[int]) -> Iterator[None]:
    """Append the most bytes that a folder held meanwhile."""
    from autotl.allowance import used_bytes

    ended, peak = threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(_EVERY_S):
            peak[0] = max(peak[0], used_bytes(folder))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        most.append(peak[0])


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv[1:])))
