"""What the analyzer takes beyond the forward pass, and how its memory grows with the pictures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np

from autotl.analysis import transferability
from autotl.analysis.examination import MAX_WATCHED, examine
from autotl.analysis.sufficiency import measure_sufficiency
from autotl.analysis.transferability import score_all
from autotl.backbones.zoo import Backbone, open_backbone
from autotl.data.near_duplicates import near_duplicates
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelView
from studies.analyzer.problems import imagenet_backbones, labelled_pictures_of, new_store

_N_BASE = 512
_N_CLASSES = 10
_BLOCK = 10_000


class Mixed:
    """Each picture a mixture of two of a few: as many as wanted that differ and take no memory."""

    def __init__(self, n_pictures: int, size: int) -> None:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (_N_BASE, 8, 8, 3), dtype=np.uint8)
        fine = np.repeat(np.repeat(coarse, -(-size // 8), axis=1), -(-size // 8), axis=2)
        self._base = np.ascontiguousarray(fine[:, :size, :size]) // 2
        self.shape = (n_pictures, size, size, 3)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._base[rows % _N_BASE] + self._base[(rows // _N_BASE + 3 * rows) % _N_BASE]


def _view(n_pictures: int, size: int) -> PixelView:
    return PixelView(cast(Any, Mixed(n_pictures, size)), np.arange(n_pictures))


def photographs(n_pictures: int, size: int) -> tuple[PixelView, np.ndarray]:
    """Photographs of clothes and, where these end, of rubbish; mixtures where they aren't there.

    Returns:
        Pictures and labels of up to 16 classes, in random order.
    """
    parts = [labelled_pictures_of(name, size, n_pictures) for name in ("clothing10", "trashnet6")]
    clothes, rubbish = parts
    if clothes is None or rubbish is None:
        return _view(n_pictures, size), np.arange(n_pictures) % _N_CLASSES
    pixels = np.concatenate([clothes[0], rubbish[0]])[:n_pictures]
    labels = np.concatenate([clothes[1], clothes[1].max() + 1 + rubbish[1]])[:n_pictures]
    order = np.random.default_rng(0).permutation(len(pixels))
    return PixelView(pixels[order], np.arange(len(order))), labels[order]


def seconds(backbone: Backbone, n_pictures: int, repeats: int) -> dict[str, float]:
    """CPU seconds of the pass, of the analyzer's figures beyond it, and of near-duplicates.

    The least of some repeats. The examination looks on while pictures pass (channel statistics): it
    is timed once all features are held, so that only the watched pictures pass, whose own seconds
    are taken off.
    """
    view, labels = photographs(n_pictures, backbone.image_size)
    is_train = np.arange(n_pictures) % 5 != 0
    train, validation = np.flatnonzero(is_train), np.flatnonzero(~is_train)
    last_four = range(max(1, backbone.num_stages - 3), backbone.num_stages + 1)
    last = [backbone.num_stages]
    watched = np.arange(min(MAX_WATCHED, len(train)))
    parts: dict[str, Callable[[ActivationStore], object]] = {
        "pass_s": lambda store: store.features(backbone, last),
        "examine_s": lambda store: examine(backbone, store, labels, train),
        "sufficiency_s": lambda store: measure_sufficiency(
            *(backbone.name, store.features(backbone, last_four)),
            *(labels, train, validation, {}),
        ),
        "duplicates_s": lambda store: near_duplicates(
            *(view.__getitem__, n_pictures),
            store.features(backbone, range(1, backbone.num_stages + 1)),
        ),
    }
    least = dict.fromkeys((*parts, "watched_s"), float("inf"))

    def timed(name: str, work: Callable[[ActivationStore], object], store: ActivationStore) -> None:
        started = time.process_time()
        work(store)
        least[name] = min(least[name], time.process_time() - started)

    for _ in range(repeats):
        with new_store(backbone, view) as store:
            store.features(backbone, last, np.arange(16))  # opens and warms up
            for name, work in parts.items():
                timed(name, work, store)
        with new_store(backbone, view) as store:
            store.features(backbone, last, np.arange(n_pictures - 16, n_pictures))
            timed("watched_s", lambda own: own.features(backbone, last, watched), store)
    least["examine_s"] -= least.pop("watched_s")
    figures = least["examine_s"] + least["sufficiency_s"]
    return {
        **{name: round(value, 2) for name, value in least.items()},
        "figures_share": round(figures / least["pass_s"], 3),
        "duplicates_share": round(least["duplicates_s"] / least["pass_s"], 3),
    }


def scores(n_samples: int, num_features: int) -> dict[str, Any]:
    """CPU seconds of all transferability scores, and by how much taking some samples moves them."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_samples) % 20
    centres = 0.6 * rng.standard_normal((20, 64), dtype=np.float32)
    mixing = 0.12 * rng.standard_normal((64, num_features), dtype=np.float32)
    features = np.empty((n_samples, num_features), dtype=np.float32)
    for start in range(0, n_samples, _BLOCK):
        own = labels[start : start + _BLOCK]
        hidden = centres[own] + rng.standard_normal((len(own), 64), dtype=np.float32)
        noise = 0.4 * rng.standard_normal((len(own), num_features), dtype=np.float32)
        features[start : start + _BLOCK] = np.maximum(0, hidden @ mixing + noise + 0.2)
    started = time.process_time()
    found = score_all(features, labels)
    taken = time.process_time() - started
    with mock.patch.object(transferability, "MAX_SAMPLES", n_samples):
        exact = score_all(features, labels)
    moved = {name: float(f"{found[name] / exact[name] - 1:.1g}") for name in exact}
    return {"scores_s": round(taken, 1), "moved": moved}


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
        similarity, transferability = examine(backbone, store, labels, np.arange(n_pictures))
        taken = time.perf_counter() - started
    figures = {
        "seconds": round(taken, 1),
        "peak_rss_mb": _peak_rss_mb(),
        "features_mb": round(min(n_pictures, 20_000) * backbone.num_features * 4 / 2**20),
        "n_watched": similarity.n_samples,
        "n_scored": transferability.n_samples,
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
