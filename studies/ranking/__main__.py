"""Ten backbones at little more than the price of two: what ranking gives away, what it saves.

    python -m studies.ranking [--quick] [--only loss|seconds]

The data and the weights lie in ``../shared`` beside the repository; without them nothing is
measured. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import autotl.preparation
from autotl.config import make_config
from autotl.preparation import prepare
from autotl.progress import Progress
from autotl.runtime import NEVER
from studies.ranking.candidates import DATA, WEIGHTS, open_candidates, write_candidates
from studies.ranking.loss import DEPTHS, IMAGE_SIZE, measure, outcome, without_embedded

SETS = (
    "weather4",
    "trashnet6",
    "sign_digits10",
    "omniglot136",
    "clothing10",
    "bccd_cells3",
    "fsdd_spectrograms10",
    "pneumonia_xray2",
)
TIMED_SET = "trashnet6"


def losses(names: dict[str, str], sets: tuple[str, ...], n_seeds: int) -> dict[str, Any]:
    """Means over data sets and seeds, by candidates and evidence."""
    candidates = open_candidates(names, IMAGE_SIZE)
    chosen = {"ten": candidates, "nine": without_embedded(candidates)}
    found: dict[str, list[dict[str, float]]] = {}
    for dataset in sets:
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(dataset, candidates, Path(folder))
        truth = sorted(measured.truth.items(), key=lambda entry: -entry[1])
        print(f"{dataset}: " + ", ".join(f"{name} {100 * value:.1f}" for name, value in truth))
        for key, those in chosen.items():
            for depths in DEPTHS:
                own = [outcome(measured, those, depths, seed) for seed in range(n_seeds)]
                found.setdefault(f"{key}, {depths} stages", []).extend(own)
                told = " ".join(f"{outcome['loss']:.1f}" for outcome in own)
                print(f"  {key}, evidence of {depths} stages: loss in points {told}", flush=True)
    return {
        key: {
            "best_kept": round(float(np.mean([own["loss"] <= 0 for own in outcomes])), 3),
            "worst_loss": round(max(own["loss"] for own in outcomes), 1),
            **{
                name: round(float(np.mean([own[name] for own in outcomes])), 2)
                for name in outcomes[0]
            },
        }
        for key, outcomes in found.items()
    }


def seconds(names: dict[str, str], repeats: int) -> dict[str, Any]:
    """What preparing a data set takes with two, with ten ranked, and once with ten in full.

    Processor seconds, which other work on the machine changes least; medians of turns.
    """
    ten = list(names.values())
    cases = {"ten_ranked": (ten, 3), "two": (ten[1:3], 3), "ten_unranked": (ten, len(ten))}
    taken: dict[str, list[float]] = {case: [] for case in cases}
    for repeat in range(repeats):
        for case, (given, most) in cases.items():
            if repeat and case == "ten_unranked":
                continue
            config = make_config({"backbones": given, "device": "cpu", "time_budget_s": None})
            with (
                tempfile.TemporaryDirectory() as folder,
                mock.patch.object(autotl.preparation, "MAX_CANDIDATES", most),
            ):
                started, wall = time.process_time(), time.perf_counter()
                prepared = prepare(
                    DATA / TIMED_SET, None, None, config, Path(folder), NEVER, Progress()
                )
                taken[case].append(time.process_time() - started)
                wall = time.perf_counter() - wall
            ranking = prepared.profile.ranking
            print(
                f"{case}: {taken[case][-1]:.1f} s of processor time, {wall:.1f} s on the clock, "
                f"ranking {sum(entry.seconds for entry in ranking):.1f} of these",
                *(f"  {entry.short_name}: {entry}, {entry.kept}" for entry in ranking),
                sep="\n",
                flush=True,
            )
    medians = {case: float(np.median(values)) for case, values in taken.items()}
    return {
        **{f"{case}_s": round(value, 1) for case, value in medians.items()},
        "ranked_ratio": round(medians["ten_ranked"] / medians["two"], 2),
        "unranked_ratio": round(medians["ten_unranked"] / medians["two"], 2),
    }


def main() -> None:
    """Print what is found and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m studies.ranking")
    parser.add_argument("--quick", action="store_true", help="two data sets, one seed, one timing")
    parser.add_argument("--only", choices=("loss", "seconds"), help="one part")
    arguments = parser.parse_args()
    if not (DATA.is_dir() and WEIGHTS.is_dir()):
        print(json.dumps({"skipped": "no data and weights beside the repository (../shared)"}))
        return
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        names = write_candidates(Path(folder))
        if arguments.only != "seconds":
            sets, n_seeds = (SETS[:2], 1) if arguments.quick else (SETS, 4)
            figures["loss"] = losses(names, sets, n_seeds)
        if arguments.only != "loss":
            figures["seconds"] = seconds(names, 1 if arguments.quick else 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
