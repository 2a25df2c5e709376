"""The analyzer's figures of every task of the outcome table, by backbone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autotl.analysis.examination import examine
from autotl.analysis.learning_curve import accuracies
from autotl.analysis.sufficiency import measure_sufficiency
from studies.outcomes.tasks import SIZES, SOURCES, OutcomeTask, TaskName, open_task

FILE = Path(__file__).with_name("figures.json")
SCORES = (
    "linear_accuracy",
    "log_me",
    "h_score",
    "k_nn_accuracy",
    "centroid_accuracy",
    "parc",
    "trans_rate",
    "n_leep",
)


def figures_of(opened: OutcomeTask, n_classes: int) -> dict[str, float | list[float] | None]:
    """All figures of one task and backbone; test pictures are not looked at."""
    task = opened.task
    (backbone,) = task.backbones.values()
    train, validation = task.folds[0].train, task.folds[0].validation
    labels = task.labels[opened.development]
    similarity, transferability = examine(backbone, task.store, task.labels, train)
    depths = range(max(1, backbone.num_stages - 3), backbone.num_stages + 1)
    features = task.store.features(backbone, depths)
    found = measure_sufficiency(
        backbone.name, features, task.labels, train, validation, {}, task.seed
    )
    right = [
        accuracies(features, task.labels, fold.train, fold.validation, np.array([len(fold.train)]))
        for fold in task.folds
    ]
    source = similarity.source
    return {
        "n_samples": float(len(labels)),
        "n_classes": float(n_classes),
        "samples_per_class": len(labels) / n_classes,
        "imbalance": float(np.bincount(labels).max() / np.bincount(labels).min()),
        "distance": similarity.distance,
        "distance_by_stage": list(similarity.per_stage),
        "frechet": None if source is None else source.frechet,
        "prototypes": None if source is None else source.prototypes,
        "two_nn": found.two_nn,
        "levina_bickel": found.levina_bickel,
        "doubling_gain": found.learning_curve.gain,
        "ridge_accuracy": float(np.mean([r.mean() for r in right])),
        **{name: transferability.scores.get(name) for name in SCORES},
    }


def measure_all(
    backbones: tuple[str, ...], cache: Path, log: Callable[[str], None], file: Path = FILE
) -> pd.DataFrame:
    """Figures of every task; a task that the file has is not measured again."""
    rows: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    for dataset in SOURCES:
        for n_train in SIZES:
            for backbone in backbones:
                name = TaskName(dataset, n_train)
                key = f"{name}-{backbone}"
                opened = None if key in rows else open_task(name, backbone, cache)
                (own,) = (opened.task.backbones if opened else {backbone: None}).values()
                if opened is None or own is None:
                    continue
                rows[key] = {
                    "dataset": dataset,
                    "n_train": n_train,
                    "backbone": backbone,
                    "weights_hash": own.weights_hash,
                    **figures_of(opened, opened.task.n_classes),
                }
                log(f"figures of {key}")
        file.write_text(json.dumps(rows, indent=0, allow_nan=False))
    return load(file)


def load(file: Path = FILE) -> pd.DataFrame:
    """One row for each task and backbone; ``None`` is NaN."""
    return pd.DataFrame(list(json.loads(file.read_text()).values()))
