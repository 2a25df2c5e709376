"""The learning curve's word on more labels, checked: half of the data foretells all of it.

    python -m studies.size [--quick]

For each data set and seed: a fifth is held out; of the rest a stratified half gives the curve,
which foretells the accuracy after training on all of the rest, and that is then measured with the
same classifier. Features are those of the embedded backbone's last four stages. The data lie in
``../shared/data`` beside the repository. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from autotl.analysis.intrinsic import levina_bickel, two_nn
from autotl.analysis.learning_curve import accuracies, foretell_accuracy, measure_learning_curve
from autotl.backbones.zoo import EMBEDDED, Backbone, open_backbone
from autotl.data import make_split, read_dataset, to_pixels

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
Indices = NDArray[np.int64]


def features_of(backbone: Backbone, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pooled features of the last four stages, ``(n, num_features)``."""
    network = backbone.create(1, pretrained=True).eval()
    depths = range(backbone.num_stages - 3, backbone.num_stages + 1)
    found = []
    with torch.no_grad():
        for start in range(0, len(pixels), 128):
            x = backbone.normalise(torch.from_numpy(pixels[start : start + 128]))
            found.append(torch.cat(network.features(x, depths), dim=1).numpy())
    return np.concatenate(found)


def foretold(
    features: NDArray[np.float32], labels: Indices, seed: int
) -> tuple[float, float, float, float, float]:
    """Foretold accuracy with its bounds, the measured one, and that of the half."""
    split = make_split(labels, None, seed=seed)
    train, held_out = split.development, split.test
    half_split = make_split(labels[train], None, seed=seed, test_fraction=0.5)
    half = train[half_split.development]
    n_all = 2 * len(half)
    guess = foretell_accuracy(features, labels, half, held_out, n_all, seed)
    of_half = accuracies(features, labels, half, held_out, np.array([len(half)]), seed).mean()
    sizes = np.array([min(n_all, len(train))])
    measured = accuracies(features, labels, train, held_out, sizes, seed).mean()
    if guess is None:
        nan = float("nan")
        return nan, nan, nan, float(measured), float(of_half)
    return *guess, float(measured), float(of_half)


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m studies.size")
    parser.add_argument("--quick", action="store_true", help="two seeds instead of ten")
    n_seeds = 2 if parser.parse_args().quick else 10
    if not DATA.is_dir():
        print(json.dumps({"skipped": f"no data beside the repository ({DATA.name} is absent)"}))
        return
    torch.set_num_threads(1)
    backbone = open_backbone(EMBEDDED)
    figures: dict[str, float] = {}
    errors, naive, covered = [], [], []
    print("| data set | half | all, foretold | all, measured | error | covered | dimensions |")
    for folder in sorted(path for path in DATA.iterdir() if path.is_dir()):
        table = read_dataset(folder)
        side = backbone.image_size
        pixels = np.stack([to_pixels(table.read(i), side) for i in range(len(table))])
        features = features_of(backbone, pixels)
        rows = np.array([foretold(features, table.labels, seed) for seed in range(n_seeds)])
        guess, low, high, measured, of_half = rows.T
        error, inside = 100 * (guess - measured), (low <= measured) & (measured <= high)
        errors.append(error)
        naive.append(100 * (of_half - measured))
        covered.append(inside)
        dimensions = two_nn(features), levina_bickel(features)
        print(
            f"| {folder.name} | {100 * of_half.mean():.1f} | {100 * guess.mean():.1f} | "
            f"{100 * measured.mean():.1f} | {error.mean():+.1f} ± {error.std():.1f} | "
            f"{inside.sum()} of {n_seeds} | {dimensions[0]:.0f}, {dimensions[1]:.0f} |",
            flush=True,
        )
        figures[f"{folder.name}_error_points"] = round(float(error.mean()), 2)
        figures[f"{folder.name}_absolute_error_points"] = round(float(np.abs(error).mean()), 2)
    figures["absolute_error_points"] = round(float(np.abs(np.stack(errors)).mean()), 2)
    figures["absolute_error_points_of_no_gain"] = round(float(np.abs(np.stack(naive)).mean()), 2)
    figures["covered_share"] = round(float(np.stack(covered).mean()), 3)
    figures |= costs()
    print(json.dumps(figures))


def costs() -> dict[str, float]:
    """Seconds of the processor at 5,000 images and 480 features, 100 classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 5000)
    features = rng.normal(size=(5000, 480)).astype(np.float32)
    features += rng.normal(size=(100, 480)).astype(np.float32)[labels]
    rows = rng.permutation(5000)
    started = time.process_time()
    measure_learning_curve(features, labels, rows[1000:], rows[:1000])
    curve_s = time.process_time() - started
    started = time.process_time()
    two_nn(features)
    levina_bickel(features)
    return {
        "curve_s": round(curve_s, 2),
        "dimension_s": round(time.process_time() - started, 2),
    }


if __name__ == "__main__":
    main()
