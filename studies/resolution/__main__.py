"""The same weights at several picture sizes, on the outcome table's tasks.

    python -m studies.resolution [--quick] [--recipes last_4-svm] [--backbones embedded]

Every task of 300 development images, every resolution: test score, processor seconds of the
features, or of the training. Rows are appended to ``--work``; a run goes on where the last one
stopped. The last line is one JSON object: per backbone and resolution the mean gain in points over
the first resolution, and its 95 % interval over data sets.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.stats import t

from studies.outcomes.configs import Entry, entries
from studies.outcomes.measure import measure
from studies.outcomes.tasks import (
    BACKBONES,
    IMAGENET,
    MAX_EPOCHS,
    SHARED,
    SOURCES,
    TaskName,
    open_study_backbone,
    open_task,
)
from studies.outcomes.units import IMBALANCED

SIZES = {"embedded": (64, 96, 128), IMAGENET: (64, 128, 224)}
N_TRAIN = 300
QUICK = ("weather4", "sign_digits10")


def shorter_side(dataset: str) -> int:
    """Median of the shorter sides of a data set's first 200 pictures, in pixels."""
    files = sorted((SHARED / "data" / dataset).rglob("*.*g"))[:200]
    sides = []
    for file in files:
        with Image.open(file) as image:
            sides.append(min(image.size))
    return int(np.median(sides))


def entry_of(recipe: str, backbone: str, dataset: str) -> Entry:
    """The outcome table's config of that name."""
    made = entries(
        backbone,
        open_study_backbone(backbone).num_stages,
        MAX_EPOCHS[N_TRAIN],
        is_imbalanced=dataset in IMBALANCED,
    )
    return next(entry for entry in made if entry.name == recipe)


def measured(dataset: str, backbone: str, recipe: str, size: int, work: Path) -> dict[str, Any]:
    """One row: a recipe at a resolution."""
    opened = open_task(TaskName(dataset, N_TRAIN), backbone, work / "pixels", image_size=size)
    found = measure(entry_of(recipe, backbone, dataset), opened, seed=0)
    return {
        "dataset": dataset,
        "backbone": backbone,
        "recipe": recipe,
        "size": size,
        "test": found["test"],
        "validation": found["validation"],
        "seconds": found["seconds"],
        "forward_ms": 1000 * opened.forward_s,
        "side": shorter_side(dataset),
    }


def gains(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Per backbone, recipe and resolution: points gained over the smallest one, interval, cost."""
    found = {}
    for (backbone, recipe), own in rows.groupby(["backbone", "recipe"]):
        scores = 100 * own.pivot(index="dataset", columns="size", values="test")
        times = own.groupby("size")[["seconds", "forward_ms"]].median()
        base = scores.columns[0]
        for size in scores.columns[1:]:
            gain = (scores[size] - scores[base]).dropna()
            half = t.ppf(0.975, len(gain) - 1) * gain.std() / np.sqrt(len(gain))
            found[f"{backbone}/{recipe}/{size}"] = {
                "gain": round(float(gain.mean()), 2),
                "low": round(float(gain.mean() - half), 2),
                "high": round(float(gain.mean() + half), 2),
                "worst": round(float(gain.min()), 1),
                "n_datasets": len(gain),
                "times_seconds": round(float(times.seconds[size] / times.seconds[base]), 2),
                "times_forward": round(float(times.forward_ms[size] / times.forward_ms[base]), 2),
            }
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.resolution")
    parser.add_argument("--quick", action="store_true", help="two data sets, the recipe alone")
    parser.add_argument("--recipes", default="last_4-svm")
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--datasets", default=",".join(SOURCES))
    parser.add_argument("--sizes", default="", help="of the pictures; default: SIZES")
    parser.add_argument("--work", type=Path, default=Path("~/.cache/autotl/resolution"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    work = args.work.expanduser()
    work.mkdir(parents=True, exist_ok=True)
    file = work / "rows.jsonl"
    rows = [json.loads(line) for line in file.open()] if file.is_file() else []
    keys = ("dataset", "backbone", "recipe", "size")
    done = {tuple(row[key] for key in keys) for row in rows}
    for dataset in QUICK if args.quick else args.datasets.split(","):
        for backbone in args.backbones.split(","):
            sizes = [int(size) for size in args.sizes.split(",") if size] or SIZES[backbone]
            for recipe in args.recipes.split(","):
                for size in sizes:
                    if (dataset, backbone, recipe, size) in done:
                        continue
                    rows.append(measured(dataset, backbone, recipe, size, work))
                    with file.open("a") as lines:
                        lines.write(json.dumps(rows[-1]) + "\n")
                    print({k: rows[-1][k] for k in (*keys, "test", "seconds")}, flush=True)
    table = pd.DataFrame(rows)
    index = ["backbone", "recipe", "dataset", "side"]
    print((100 * table.pivot(index=index, columns="size", values="test")).round(1).to_string())
    print(json.dumps(gains(table)))


if __name__ == "__main__":
    main()
