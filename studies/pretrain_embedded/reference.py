"""Makes the embedded backbone's reference statistics from the images that it was trained on.

    python -m studies.pretrain_embedded.reference [--weights FILE] [--per-class N] [--workers N]

Draws the first images of every class that the weights' header names, and writes mean, covariance
and class means of their penultimate features beside the weights, tied to those weights by their
hash. Make it again whenever the weights change. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from autotl.analysis.reference import Reference, find_reference, place_of
from autotl.backbones.speed import Speed
from autotl.backbones.weights import read_header
from autotl.backbones.zoo import Backbone, open_backbone
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelView
from studies.pretrain_embedded.draw import draw_class
from studies.pretrain_embedded.evaluate import IMAGE_SIZE, TIMM_NAME, WEIGHTS


def _draw(job: tuple[str, int, int, int]) -> np.ndarray:
    family, index, n_images, seed = job
    return draw_class(family, index, n_images, seed=seed, size=IMAGE_SIZE)


def training_images(weights: Path, per_class: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of every class that weights were trained on, as drawn, without augmentation.

    Args:
        weights: the file, whose header says what was drawn.
        per_class: how many; at most as many as were trained on are drawn.
        workers: drawing processes; 1: this one.

    Returns:
        ``(n, 64, 64, 3) uint8`` and labels ``(n,) int64``.
    """
    config = json.loads(read_header(weights)["config"])
    n_images = min(per_class, config["n_images"])
    jobs = [
        (family, index, n_images, config["seed"])
        for family, n_classes in config["classes"].items()
        for index in range(n_classes)
    ]
    if workers == 1:
        drawn = [_draw(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers) as pool:
            drawn = list(pool.map(_draw, jobs, chunksize=8))
    return np.concatenate(drawn), np.repeat(np.arange(len(jobs)), n_images)


def penultimate(backbone: Backbone, images: np.ndarray) -> np.ndarray:
    """The features that a classifier reads, ``(n, num_features) float32``."""
    unmeasured = (0.0,) * (backbone.num_stages + 1)
    store = ActivationStore(
        lambda size: PixelView(images, np.arange(len(images))),
        {backbone.name: Speed("fp32", False, unmeasured, unmeasured)},
        torch.device("cpu"),
    )
    return store.features(backbone, [backbone.num_stages])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.pretrain_embedded.reference")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the published file")
    parser.add_argument("--per-class", type=int, default=10, help="images per class")
    parser.add_argument("--workers", type=int, default=2, help="drawing processes")
    args = parser.parse_args(argv)
    began = time.monotonic()
    name = "embedded" if args.weights == WEIGHTS else f"{TIMM_NAME}@{args.weights}"
    backbone = open_backbone(name)
    images, labels = training_images(args.weights, args.per_class, args.workers)
    print(f"drew {len(images):,} images in {time.monotonic() - began:.0f} s", flush=True)
    features = penultimate(backbone, images)
    source = "images that this project draws itself (studies/pretrain_embedded)"
    reference = Reference.measure(features, labels, backbone, source)
    file = place_of(backbone)
    assert file is not None
    reference.save(file)
    found, problem = find_reference(backbone)
    if found is None:
        raise SystemExit(problem)
    print(f"wrote {file}")
    figures = {
        **found.summary(),
        "file_bytes": file.stat().st_size,
        "own_frechet": round(found.distance(features[::7], labels[::7]).frechet, 4),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
