"""What computing frozen things once is worth: the figures behind the reuse engine.

python -m studies.reuse [--quick] [--part NAME ...] [--work FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autotl.backbones.zoo import open_backbone, random_backbone
from autotl.data import read_dataset
from autotl.strategies.base import Task
from autotl.strategies.bottleneck import BottleneckConfig
from studies.reuse import (
    compiled,
    depths,
    first,
    folds,
    gradients,
    growth,
    heads,
    loop,
    same,
    threads,
    views,
    whole,
)
from studies.reuse.pictures import as_jpeg, jpeg_folder, real_folder
from studies.reuse.problem import open_problem, random_weights, shortened
from studies.reuse.timing import machine

DATA = "clothing10"


class Study:
    """The parts, each a method that prints its table and returns its figures.

    Args:
        work: folder for pictures, weights and caches.
        quick: few pictures, trials and repeats.
    """

    def __init__(self, work: Path, quick: bool) -> None:
        self._work = work
        self._quick = quick

    def _folder(self) -> Path:
        """Photographs at the size of users' files, or drawn pictures where there are none."""
        source = real_folder(DATA)
        if source is None:
            return jpeg_folder(self._work / "drawn", 2_000, 256, 10, 0)
        return as_jpeg(source, self._work / DATA, 256)

    def _cache(self, name: str) -> Path:
        folder = self._work / "caches" / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _backbones(self) -> tuple[str, ...]:
        return ("embedded", random_weights("resnet18", self._work / "weights"))

    def same(self) -> dict[str, Any]:
        """1: the same predictions with and without the store."""
        problem = open_problem(self._folder(), "embedded", self._cache("same"))
        task = shortened(problem.task, 320, 160)
        return same.compare(task, problem.profile, 24, 2 if self._quick else 4)

    def depths(self) -> dict[str, Any]:
        """2: seconds of an epoch by freeze depth."""
        found = {}
        for name in self._backbones()[: 1 if self._quick else 2]:
            problem = open_problem(self._folder(), name, self._cache("depths"))
            large = name == "embedded"
            task = shortened(problem.task, 1_280 if large else 640, 320 if large else 160)
            repeats = 3 if large and not self._quick else 1
            print(f"  {name.partition('@')[0]}")
            found[name.partition("@")[0]] = depths.measure(task, name, repeats, 4)
        return found

    def folds(self) -> dict[str, Any]:
        """2: trials of five folds under augmentation, by freeze depth."""
        problem = open_problem(self._folder(), "embedded", self._cache("folds"))
        task = shortened(problem.task, 640, 160)
        epochs, repeats = (2, 1) if self._quick else (4, 2)
        return {"rows": folds.measure(task, "embedded", 5, epochs, repeats)}

    def heads(self) -> dict[str, Any]:
        """2: head training and linear classifiers on stored activations."""
        folder = self._folder()
        problem = open_problem(folder, "embedded", self._cache("heads"))
        task = shortened(problem.task, 1_280, 320)
        return {
            "head_epoch": heads.head_epochs(task, "embedded", folder, 1 if self._quick else 5),
            "bottleneck_study": heads.bottleneck_study(task, "embedded"),
        }

    def whole(self) -> dict[str, Any]:
        """3: a search's trials against the usual way, by lever."""
        levers = tuple(whole.LEVERS)[: 1 if self._quick else None]
        rows = whole.compare(
            self._folder(),
            "embedded",
            self._cache("whole"),
            n_trials=24,
            n_train=320 if self._quick else 800,
            n_validation=160 if self._quick else 400,
            max_epochs=2 if self._quick else 6,
            levers=levers,
        )
        return {"rows": rows}

    def loop(self) -> dict[str, Any]:
        """4: pictures per second with nothing frozen."""
        folder, repeats = self._folder(), 2 if self._quick else 7
        return self._by_backbone(
            "loop", lambda name, task: loop.images_per_s(task, name, folder, 12, repeats)
        )

    def gradients(self) -> dict[str, Any]:
        """2 and 4: weight gradients on small maps, as torch computes them and as products."""
        found: dict[str, Any] = {}
        backbones = (
            open_backbone("embedded"),
            *(random_backbone("resnet18", 112), random_backbone("resnet50", 224)),
        )
        for backbone in backbones[: 1 if self._quick else 3]:
            repeats = 3 if self._quick else 9
            found[backbone.name] = row = gradients.measure(backbone, 32, repeats)
            print(f"  {backbone.name}, {backbone.image_size} px: step {row['ratio']:.2f}")
            for own in row["convolutions"]:
                print(
                    f"    {own['kind']}: forward {own['forward_s']:.4f} s, weights "
                    f"{own['torch_s']:.4f} s, {own['products_s']:.4f} s, ratio {own['ratio']:.2f}",
                    flush=True,
                )
        return found

    def compiled(self) -> dict[str, Any]:
        """4: training steps with torch.compile and without it."""
        repeats = 2 if self._quick else 7
        return self._by_backbone(
            "compiled", lambda name, task: compiled.steps(task, name, 12, repeats)
        )

    def threads(self) -> dict[str, Any]:
        """4: trainings side by side, a thread each, or one on all cores."""
        repeats = 1 if self._quick else 5
        return self._by_backbone(
            "threads",
            lambda name, task: threads.side_by_side(name, task.speeds[name], 4.0, repeats),
        )

    def _by_backbone(
        self, cache: str, measure: Callable[[str, Task], Mapping[str, float | None]]
    ) -> dict[str, Any]:
        """What is measured with each backbone, on a short task."""
        found = {}
        for name in self._backbones()[: 1 if self._quick else 2]:
            problem = open_problem(self._folder(), name, self._cache(cache))
            short_name = name.partition("@")[0]
            found[short_name] = measure(name, shortened(problem.task, 640, 160))
            print(f"  {short_name}: {found[short_name]}", flush=True)
        return found

    def first(self) -> dict[str, Any]:
        """5: seconds to the first model."""
        folder = self._folder()
        problem = open_problem(folder, "embedded", self._cache("first"))
        config = BottleneckConfig(
            backbone="embedded", layers="last_4", head="svm", C=0.01, balanced=False
        )
        task = problem.task
        return first.seconds_to_first_model(
            read_dataset(folder), task, task.backbones["embedded"], config, 1 if self._quick else 5
        )

    def growth(self) -> dict[str, Any]:
        """6: time and memory as the data set grows."""
        found: dict[str, Any] = {}
        for n in (1_000, 4_000) if self._quick else (1_000, 10_000, 100_000):
            folder = jpeg_folder(self._work / f"drawn{n}", n, 96, 10, 0)
            for name, disk_gb in (("ample", 20.0), ("tight", n * 64 * 64 * 3 / 3e9)):
                row = growth.measure(folder, self._cache("growth"), disk_gb)
                found[f"{n} {name}"] = row
                print(f"  {n:>7} pictures, {name} quota: {row}", flush=True)
        return found

    def views(self) -> dict[str, Any]:
        """What fixed views and shifted maps cost in accuracy."""
        return views.table(self._work, self._quick)


PARTS = (
    *("same", "depths", "folds", "heads", "whole", "loop", "gradients", "compiled", "threads"),
    *("first", "growth", "views"),
)


def main() -> None:
    """Print each part's table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m studies.reuse")
    parser.add_argument("--quick", action="store_true", help="few pictures, trials and repeats")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="only these")
    parser.add_argument("--work", type=Path, help="keep pictures and weights there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        study = Study(arguments.work or Path(temporary), arguments.quick)
        figures: dict[str, Any] = {"machine": machine()}
        for name in arguments.part:
            part: Callable[[], dict[str, Any]] = getattr(study, name)
            print(f"{name}: {part.__doc__}", flush=True)
            started = time.perf_counter()
            figures[name] = part() | {"seconds": round(time.perf_counter() - started)}
            print(f"  {json.dumps(figures[name])}", flush=True)
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
