"""What fixed views and shifted activation maps cost in accuracy, against fresh augmentation.

Fine-tuning above a freeze depth, once with new augmentation in every epoch, once with K fixed views
whose activations can be stored, once with flip and shift of the stored maps, once without any.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from autotl.backbones.speed import measure_speed
from autotl.backbones.zoo import open_backbone
from autotl.data import Fold, read_dataset
from autotl.metrics import METRICS
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelViews, decode_table
from autotl.reuse.quota import DiskQuota
from autotl.strategies import STRATEGIES
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.finetune import FinetuneConfig
from studies.reuse.pictures import real_folder

N_TRAIN, N_TEST, EPOCHS = 800, 600, 12
DATA, DEPTHS, SEEDS = ("clothing10", "trashnet6", "omniglot136"), [2, 4], [0, 1]
VARIANTS = ("none", "maps", "light", "light/4", "medium", "medium/4", "medium/8")


def runs(
    folders: list[Path], depths: list[int], seeds: list[int], done: Path
) -> Iterator[dict[str, object]]:
    """Accuracy of each data set, depth, variant and seed; what ``done`` has isn't run again."""
    known = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
    for folder in folders:
        task = None
        for seed in seeds:
            for depth in depths:
                for variant in VARIANTS:
                    key = {"data": folder.name, "depth": depth, "variant": variant, "seed": seed}
                    found = next((k for k in known if key.items() <= k.items()), None)
                    if found is None:
                        task = task or _task(folder, done.parent)
                        found = key | {"accuracy": _accuracy(task, depth, variant, seed)}
                        with done.open("a") as file:
                            file.write(json.dumps(found) + "\n")
                    yield found


def _task(folder: Path, cache: Path) -> Task:
    backbone = open_backbone("embedded")
    device = torch.device("cpu")
    quota = DiskQuota(cache / "cache", 10**10)
    table, store = decode_table(read_dataset(folder), backbone.image_size, quota)
    samples = np.random.default_rng(0).permutation(len(table))[: N_TRAIN + N_TEST]
    views = PixelViews({backbone.image_size: store}, samples)
    speeds = {backbone.name: measure_speed(backbone, device)}
    order = np.arange(len(samples))
    return Task(
        labels=table.labels[samples],
        n_classes=table.n_classes,
        folds=(Fold(order[:N_TRAIN], order[N_TRAIN:]),),
        metric=METRICS["accuracy"],
        backbones={backbone.name: backbone},
        pixels=views,
        store=ActivationStore(views, speeds, device, None, 4 * 10**9),
        speeds=speeds,
        device=device,
    )


def _accuracy(task: Task, depth: int, variant: str, seed: int) -> float:
    policy, _, n_views = variant.partition("/")
    config = FinetuneConfig(
        backbone="embedded",
        lr=2e-3,
        epochs=EPOCHS,
        weight_decay=0.05,
        label_smoothing=0.0,
        augmentation=policy,
        mirror=policy != "none",
        balanced=False,
        n_views=int(n_views or 0),
        freeze_depth=depth,
        lr_ratio=0.3,
        head="random",
    )
    result = STRATEGIES["finetune"].run(
        config, dataclasses.replace(task, seed=seed), SilentReporter()
    )
    return result.score


def table(work: Path, quick: bool) -> dict[str, dict[str, float]]:
    """Mean accuracy of each variant, by data set and freeze depth.

    Args:
        work: where what is done already stands.
        quick: one data set, one depth, one seed.
    """
    folders = [folder for name in DATA if (folder := real_folder(name)) is not None]
    depths, seeds = ([4], [0]) if quick else (DEPTHS, SEEDS)
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs(folders[:1] if quick else folders, depths, seeds, work / "views.jsonl"):
        row = found.setdefault(f"{run['data']}, depth {run['depth']}", {})
        row.setdefault(str(run["variant"]), []).append(float(str(run["accuracy"])))
    means = {
        name: {variant: float(np.mean(values)) for variant, values in row.items()}
        for name, row in found.items()
    }
    for name, row in means.items():
        print(f"  {name}: " + ", ".join(f"{v} {a:.3f}" for v, a in row.items()))
    return means
