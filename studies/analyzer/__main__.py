"""The figures behind the analyzer's domain similarity: sampling, order of domains, cost.

python -m studies.analyzer [--quick] [--part NAME ...]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from autotl.backbones.zoo import open_backbone
from studies.analyzer import cost, measures, sampling
from studies.analyzer.problems import SETS, imagenet_backbones, moments_of, pictures_of
from studies.reuse.timing import machine


def of_samples(quick: bool) -> dict[str, Any]:
    """Few pictures against all of a data set, embedded backbone; coverage of the intervals."""
    backbone = open_backbone("embedded")
    found = {}
    for name in ("drawn", *SETS):
        pictures = pictures_of(name, backbone.image_size, 1_000 if quick else 5_000)
        if pictures is None:
            continue
        layers = moments_of(backbone, pictures)
        found[name] = sampling.sample(
            layers, backbone.num_stages, (10, 50, 200), 100 if quick else 500
        )
        print(f"  {name:20} {json.dumps(found[name])}", flush=True)
    return found


def of_domains(quick: bool) -> dict[str, Any]:
    """Measures of distance by data set, ImageNet weights; do they order the sets as expected?"""
    found: dict[str, Any] = {}
    for name, backbone in imagenet_backbones().items():
        table = {}
        for dataset in SETS:
            pictures = pictures_of(dataset, backbone.image_size, 100 if quick else 1_000)
            if pictures is not None:
                table[dataset] = measures.distances(moments_of(backbone, pictures))
        if not table:
            continue
        found[name] = {
            measure: {
                "tau": round(measures.order_agreement([row[measure] for row in table.values()]), 2),
                **{dataset: round(row[measure], 3) for dataset, row in table.items()},
            }
            for measure in next(iter(table.values()))
        }
        for measure, row in found[name].items():
            print(f"  {name:26} {measure:22} {json.dumps(row)}", flush=True)
    return found


def of_cost(quick: bool) -> dict[str, Any]:
    """CPU seconds beyond the forward pass and of scores alone; peak memory by pictures."""
    found: dict[str, Any] = {}
    n_pictures = 1_000 if quick else 5_000
    for name, backbone in cost.backbones().items():
        found[name] = cost.seconds(backbone, n_pictures, 1 if quick else 3)
        print(f"  {name:26} {n_pictures:,} pictures: {json.dumps(found[name])}", flush=True)
    shape = (20_001, 512) if quick else (100_000, 2_048)
    found["scores"] = cost.scores(*shape)
    print(f"  scores of {shape[0]:,} x {shape[1]:,}: {json.dumps(found['scores'])}", flush=True)
    for n in (1_000, 5_000) if quick else (1_000, 5_000, 20_000, 50_000):
        found[str(n)] = cost.peak(n)
        print(f"  {n:>7,} pictures: {json.dumps(found[str(n)])}", flush=True)
    return found


PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "samples": of_samples,
    "domains": of_domains,
    "cost": of_cost,
}


def main() -> None:
    """Print each part's table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m studies.analyzer")
    parser.add_argument("--quick", action="store_true", help="fewer pictures and draws")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="only these")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine()}
    for name in arguments.part:
        print(f"{name}: {PARTS[name].__doc__}", flush=True)
        started = time.perf_counter()
        figures[name] = PARTS[name](arguments.quick)
        figures[name]["seconds"] = round(time.perf_counter() - started)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
