"""What the analyzer takes beyond the forward pass, and how its memory grows with the pictures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from autotl.analysis.examination import examine
from autotl.backbones.zoo import Backbone, open_backbone
from autotl.reuse.pixels import PixelView
from studies.analyzer.problems import imagenet_backbones, new_store

_N_BASE = 512
_N_CLASSES = 10


class Repeated:
    """A few pictures, over and over: as many as wanted that take no memory."""

    def __init__(self, n_pictures: int, size: int) -> None:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (_N_BASE, 8, 8, 3), dtype=np.uint8)
        fine = np.repeat(np.repeat(coarse, -(-size // 8), axis=1), -(-size // 8), axis=2)
        self._base = np.ascontiguousarray(fine[:, :size, :size])
        self.shape = (n_pictures, size, size, 3)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._base[rows % _N_BASE]


def _view(n_pictures: int, size: int) -> PixelView:
    return PixelView(cast(Any, Repeated(n_pictures, size)), np.arange(n_pictures))


def seconds(backbone: Backbone, n_pictures: int, repeats: int) -> dict[str, float]:
    """CPU seconds of the pass alone and with all that the analyzer does, the least of some."""
    view = _view(n_pictures, backbone.image_size)
    labels = np.arange(n_pictures) % _N_CLASSES
    train = np.flatnonzero(np.arange(n_pictures) % 5 != 0)
    least = {"pass_s": float("inf"), "all_s": float("inf")}

    def timed(name: str, work: Callable[[Any], object]) -> None:
        with new_store(backbone, view) as store:
            store.features(backbone, [backbone.num_stages], np.arange(16))  # opens and warms up
        with new_store(backbone, view) as store:
            started = time.process_time()
            work(store)
            least[name] = min(least[name], time.process_time() - started)

    for _ in range(repeats):
        timed("pass_s", lambda store: store.features(backbone, [backbone.num_stages]))
        timed("all_s", lambda store: examine(backbone, store, labels, train))
    beyond = least["all_s"] - least["pass_s"]
    return {
        **{name: round(value, 2) for name, value in least.items()},
        "beyond_share": round(beyond / least["pass_s"], 3),
    }


def peak(n_pictures: int) -> dict[str, float]:
    """Seconds and peak memory of the embedded backbone's examination, in a process of its own."""
    command = [sys.executable, "-m", "studies.analyzer.cost", str(n_pictures)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def _peak_rss_mb() -> int:
    """Of this program alone: what ``getrusage`` tells begins with the parent's peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak_line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(peak_line.split()[1]) // 1024


def _main(n_pictures: int) -> None:
    backbone = open_backbone("embedded")
    view = _view(n_pictures, backbone.image_size)
    labels = np.arange(n_pictures) % _N_CLASSES
    with new_store(backbone, view) as store:
        store.features(backbone, [backbone.num_stages], np.arange(128))
        started = time.perf_counter()
        similarity, scores = examine(backbone, store, labels, np.arange(n_pictures))
        taken = time.perf_counter() - started
    figures = {
        "seconds": round(taken, 1),
        "peak_rss_mb": _peak_rss_mb(),
        "features_mb": round(min(n_pictures, 20_000) * backbone.num_features * 4 / 2**20),
        "n_watched": similarity.n_samples,
        "n_scored": scores.n_samples,
    }
    print(json.dumps(figures))


def backbones() -> dict[str, Backbone]:
    """Those whose time is told."""
    return {
        "embedded": open_backbone("embedded"),
        **imagenet_backbones(("mobilenetv2 (torchvision)",)),
    }


if __name__ == "__main__":
    _main(int(sys.argv[1]))
