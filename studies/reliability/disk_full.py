"""A disk that gets full in the middle of a search: is the best model delivered, is all readable?

A small fit (60 handwritten digits of 3 classes, the embedded backbone) writes to a tmpfs of 96 MB;
after its first finished trial another file takes all that is left. Then that file goes, and the
same call is made again. Where mounting isn't permitted, the part is left out, and says so.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("disk_full.json")
_SIZE_MB, _NAME, _N_TRIALS = 96, "it", 3


def run(quick: bool = False) -> dict[str, Any]:
    """Fill the disk under a fit.

    Args:
        quick: makes no difference.
    """
    import autotl
    import autotl.search.budget as budget
    from autotl.datasets import digits
    from autotl.progress import Progress

    pictures, labels = digits()
    kept = np.flatnonzero(np.isin(labels, list("012")))[:60]
    found: dict[str, Any] = {"size_mb": _SIZE_MB}

    class Filler(Progress):
        """Fills the disk when the first trial has ended."""

        def __init__(self, filler: Path | None) -> None:
            self.filler = filler
            self.notes: list[str] = []

        def trial_ended(self, *_: object) -> None:
            if self.filler is not None and not self.filler.exists():
                _fill(self.filler)

        def note(self, message: str) -> None:
            self.notes.append(message)

    def fit(output: Path, progress: Progress) -> Any:
        return autotl.fit(
            (pictures[kept], labels[kept]),
            time_budget_s=None,
            n_trials=_N_TRIALS,
            backbones=["embedded"],
            device="cpu",
            output_dir=output,
            study_name=_NAME,
            progress=progress,
        )

    before = budget.UNLIMITED_EPOCHS
    budget.UNLIMITED_EPOCHS = 1
    try:
        with _disk() as folder:
            if folder is None:
                return {"skipped": "mounting a tmpfs isn't permitted"}
            output, watch = folder / "out", Filler(folder / "filler")
            found["first"] = _outcome(fit, output, watch, pictures[kept[:3]])
            found["notes"] = [note for note in watch.notes if "full" in note]
            (folder / "filler").unlink(missing_ok=True)
            found["unreadable"] = _unreadable(output)
            found["second"] = _outcome(fit, output, Filler(None), pictures[kept[:3]])
            found["unreadable_afterwards"] = _unreadable(output)
            trials = output / _NAME / "trials"
            found["n_trials_in_the_end"] = len(list(trials.glob("*.json")))
    finally:
        budget.UNLIMITED_EPOCHS = before
    print(found, flush=True)
    if not quick:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _outcome(fit: Any, output: Path, progress: Any, pictures: Any) -> dict[str, Any]:
    """What a call gave; whether the model on disk predicts."""
    import autotl

    try:
        recommendation = fit(output, progress)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    saved = autotl.load(recommendation.model_path)
    return {
        "strategy": recommendation.strategy,
        "n_trials": len(recommendation.leaderboard()),
        "notes": [note for note in recommendation.summary()["notes"] if "full" in note],
        "saved_model_predicts": len(saved.predict(pictures)) == len(pictures),
    }


def _unreadable(output: Path) -> list[str]:
    """Files that are corrupt: JSON, arrays, tensors and databases."""
    from safetensors import safe_open

    found = []
    for file in output.rglob("*"):
        try:
            if file.suffix == ".json":
                json.loads(file.read_text())
            elif file.suffix == ".npz":
                with np.load(file) as arrays:
                    for name in arrays:
                        arrays[name]
            elif file.suffix == ".safetensors":
                with safe_open(file, framework="pt"):
                    pass
            elif file.suffix == ".db":
                with sqlite3.connect(file) as database:
                    if database.execute("pragma integrity_check").fetchone() != ("ok",):
                        found.append(file.name)
        except Exception as error:
            found.append(f"{file.relative_to(output)}: {type(error).__name__}")
    return found


def _fill(file: Path) -> None:
    block = b"0" * 2**20
    with file.open("wb", buffering=0) as opened:
        while block:
            try:
                opened.write(block)
            except OSError:
                block = block[: len(block) // 2]


@contextmanager
def _disk() -> Iterator[Path | None]:
    """A tmpfs; None where there can't be one."""
    folder = tempfile.mkdtemp(prefix="autotl-disk-")
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield Path(folder) if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=False)
        Path(folder).rmdir()


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv[1:])))
