"""The embedded backbone on real images: linear SVM, fine-tuning, scratch; one row per data set.

    python -m studies.embedded_transfer [--quick] [--seeds N] [--columns NAME ...] [--sets NAME ...]

Every figure is accuracy on a test part that shares no group with the training images. The settings
are fixed beforehand and the same in every row: nothing is chosen on the test part. The data lie in
``../shared/data`` beside the repository. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from autotl.backbones.speed import measure_speed
from autotl.backbones.zoo import EMBEDDED, open_backbone
from autotl.data import Fold, ImageTable, make_split, read_dataset
from autotl.metrics import METRICS, accuracy
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelViews, decode_table
from autotl.reuse.quota import DiskQuota
from autotl.strategies.base import SilentReporter, Strategy, StrategyConfig, Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig
from autotl.strategies.finetune import Finetune, FinetuneConfig
from autotl.strategies.linear import solve_linear
from autotl.strategies.scratch import Scratch, ScratchConfig

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ROWS = (
    ("clothing10", 300),
    ("clothing10", 1000),
    ("fsdd_spectrograms10", 300),
    ("omniglot136", 1000),
    ("sign_digits10", 300),
    ("trashnet6", 1000),
)
GROUPED = {"bccd_cells3", "fsdd_spectrograms10", "omniglot136"}
MAX_TEST = 1000
EPOCHS = {300: 30, 1000: 20}
COLUMNS = ("svm", "svm_random", "finetune_1", "finetune_0.1", "scratch")


def configs(epochs: int, mirror: bool) -> dict[str, tuple[Strategy, StrategyConfig]]:
    """The settings of every column but ``svm_random``."""
    training = {
        "backbone": EMBEDDED,
        "epochs": epochs,
        "augmentation": "light",
        "mirror": mirror,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "balanced": False,
    }
    tuned = {"freeze_depth": 0, "lr": 2e-3, "head": "random", **training}
    svm = BottleneckConfig(backbone=EMBEDDED, layers="last_4", head="svm", C=0.01, balanced=False)
    return {
        "svm": (Bottleneck(), svm),
        "finetune_1": (Finetune(), FinetuneConfig(lr_ratio=1.0, **tuned)),
        "finetune_0.1": (Finetune(), FinetuneConfig(lr_ratio=0.1, **tuned)),
        "scratch": (Scratch(), ScratchConfig(n_removed=0, lr=2e-3, **training)),
    }


def make_task(table: ImageTable, n_train: int, seed: int, folder: Path) -> Task:
    """A task whose one fold trains on ``n_train`` images and predicts the test part."""
    backbone = open_backbone(EMBEDDED)
    quota = DiskQuota(folder, 2 * 10**9)
    table, store = decode_table(table, backbone.image_size, quota)
    split = make_split(
        table.labels, table.groups, seed=seed, test_fraction=min(1 / 3, MAX_TEST / len(table))
    )
    train = stratified(table.labels, split.development, n_train, seed)
    views = PixelViews({backbone.image_size: store}, np.arange(len(table)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    speeds = {EMBEDDED: measure_speed(backbone, device)}
    return Task(
        labels=table.labels,
        n_classes=table.n_classes,
        folds=(Fold(train, split.test),),
        metric=METRICS["accuracy"],
        backbones={EMBEDDED: backbone},
        pixels=views,
        store=ActivationStore(views, speeds, device, quota),
        speeds=speeds,
        device=device,
        seed=seed,
    )


def stratified(
    labels: NDArray[np.int64], samples: NDArray[np.int64], n: int, seed: int
) -> NDArray[np.int64]:
    """``n`` of the samples, of every class its share, at least one of each."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(samples)
    place = np.empty(len(shuffled))
    for label in np.unique(labels[shuffled]):
        own = np.flatnonzero(labels[shuffled] == label)
        place[own] = np.arange(len(own)) / len(own)
    return np.sort(shuffled[np.argsort(place, kind="stable")[:n]])


def svm_on_random_weights(task: Task, config: BottleneckConfig) -> float:
    """Accuracy of the same SVM on the same features of a network that was never trained."""
    backbone = task.backbones[EMBEDDED]
    fold = task.folds[0]
    network = backbone.create(task.n_classes, pretrained=False, seed=task.seed).to(task.device)
    pixels = task.pixels(backbone.image_size)
    first = max(1, backbone.num_stages - 3)
    features = []
    with torch.inference_mode():
        network.train()  # the statistics that BatchNorm of an untrained network lacks
        calibration = torch.from_numpy(pixels[fold.train[:256]]).to(task.device)
        network(backbone.normalise(calibration))
        network.eval()
        for start in range(0, len(pixels), 256):
            samples = np.arange(start, min(start + 256, len(pixels)))
            x = backbone.normalise(torch.from_numpy(pixels[samples]).to(task.device))
            pooled = network.features(x, range(first, network.num_stages + 1))
            features.append(torch.cat(pooled, dim=1).cpu().numpy())
    values = np.concatenate(features)
    solved = solve_linear(
        values[fold.train],
        task.labels[fold.train],
        task.n_classes,
        head="svm",
        C=config.C,
        balanced=False,
        seed=task.seed,
    )
    return accuracy(task.labels[fold.validation], solved.predict_proba(values[fold.validation]))


def measure(
    dataset: str, n_train: int, seed: int, epochs: int, columns: Collection[str] = COLUMNS
) -> dict[str, float]:
    """One row: accuracy by column, and the number of test images."""
    group = "group" if dataset in GROUPED else None
    table = read_dataset(DATA / dataset / "meta.csv", image="file", label="class", group=group)
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(table, n_train, seed, Path(folder))
        row: dict[str, float] = {"n_test": float(len(task.folds[0].validation))}
        mirror = dataset in {"clothing10", "trashnet6", "sign_digits10"}
        for column, (strategy, config) in configs(epochs, mirror).items():
            if column in columns:
                row[column] = strategy.run(config, task, SilentReporter()).metrics["accuracy"]
            if isinstance(config, BottleneckConfig) and "svm_random" in columns:
                row["svm_random"] = svm_on_random_weights(task, config)
    return row


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m studies.embedded_transfer"
    )
    parser.add_argument("--quick", action="store_true", help="two rows, few epochs")
    parser.add_argument("--seeds", type=int, default=1, help="repeats, averaged")
    parser.add_argument(
        "--columns", nargs="+", choices=COLUMNS, default=COLUMNS, help="what to measure"
    )
    parser.add_argument("--sets", nargs="+", help="names of data sets (default: every row)")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(json.dumps({"skipped": f"no data beside the repository ({DATA.name} is absent)"}))
        return
    rows = ROWS[:1] + ROWS[2:3] if arguments.quick else ROWS
    if arguments.sets:
        rows = tuple(row for row in rows if row[0] in arguments.sets)
    columns = [name for name in COLUMNS if name in arguments.columns]
    print(f"{'data set, training images':<32}" + "".join(f"{name:>14}" for name in columns))
    figures: dict[str, dict[str, float]] = {}
    started = time.time()
    for dataset, n_train in rows:
        epochs = 4 if arguments.quick else EPOCHS[n_train]
        repeats = [
            measure(dataset, n_train, seed, epochs, columns) for seed in range(arguments.seeds)
        ]
        row = {name: float(np.mean([repeat[name] for repeat in repeats])) for name in repeats[0]}
        name = f"{dataset}, {n_train}"
        figures[name] = row
        print(f"{name:<32}" + "".join(f"{row[c]:>14.3f}" for c in columns), flush=True)
    print(json.dumps({"seconds": round(time.time() - started), "rows": figures}))


if __name__ == "__main__":
    main()
