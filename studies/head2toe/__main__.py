"""Stages' maps averaged over cells, and the most useful features selected: what that is worth.

    python -m studies.head2toe [--quick] [--work FOLDER] [--variants all,cells-selected-0.3]

On all tasks of the outcome table, with both backbones: test scores of a linear SVM on the features
of all stages, means over the folds' models. Rows are appended to ``--work``; a run goes on where
the last one stopped. The last line is one JSON object: per backbone and variant the mean gain
in points over ``all``, its 95 % interval over data sets, the worst task, and processor seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import t

from autotl.strategies.bottleneck import CELLS_WIDTH, depths_of
from autotl.strategies.linear import n_selected, solve_linear, solve_selected
from studies.outcomes.tasks import BACKBONES, OutcomeTask, open_task, task_names
from studies.outcomes.units import IMBALANCED

Array = NDArray[np.float32]
VARIANTS: dict[str, tuple[int, str, float]] = {
    "all": (0, "ridge", 1.0),
    "all-lasso-0.5": (0, "lasso", 0.5),
    "all-lasso-0.25": (0, "lasso", 0.25),
    "cells": (CELLS_WIDTH, "ridge", 1.0),
    "cells-lasso-0.1": (CELLS_WIDTH, "lasso", 0.1),
    "cells-lasso-0.3": (CELLS_WIDTH, "lasso", 0.3),
    "cells-selected-0.3": (CELLS_WIDTH, "ridge", 0.3),
}
"""By name: the greatest width of a stage, what features are selected by, the share that is kept."""
_STEPS = 40


def group_lasso(x: Array, labels: NDArray[np.int64], n_classes: int) -> Array:
    """Norms of the features' weights ``(n_features,)`` in a softmax probe under the L2,1 norm.

    Head2Toe's relevance. Accelerated proximal gradient (Beck and Teboulle 2009) at 0.5, 0.2 and
    0.05 of the least penalty that keeps no feature.

    Args:
        x: ``(n, n_features)``, standardised.
        labels: ``(n,)``.
        n_classes: number of classes.
    """
    n, one_hot = len(x), np.eye(n_classes, dtype=np.float32)[labels]
    bias = np.log(one_hot.mean(axis=0) + 1e-6)

    def slope(weight: Array) -> Array:
        gradient: Array = x.T @ (softmax(x @ weight + bias, axis=1) - one_hot) / n
        return gradient

    v = np.random.default_rng(0).standard_normal(x.shape[1]).astype(np.float32)
    for _ in range(15):  # power iteration
        v = x.T @ (x @ (v / np.linalg.norm(v)))
    steepest = float(np.linalg.norm(v)) / n / 2
    weight = np.zeros((x.shape[1], n_classes), dtype=np.float32)
    greatest = np.linalg.norm(slope(weight), axis=1).max()
    for share in (0.5, 0.2, 0.05):
        ahead, momentum = weight, 1.0
        for _ in range(_STEPS):
            moved = ahead - slope(ahead) / steepest
            norm = np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
            new = moved * np.maximum(0.0, 1.0 - share * greatest / steepest / norm)
            after = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
            ahead = new + (momentum - 1.0) / after * (new - weight)
            weight, momentum = new, after
    norms: Array = np.linalg.norm(weight, axis=1)
    return norms


def score(opened: OutcomeTask, variant: str, balanced: bool) -> dict[str, float]:
    """Test and validation scores of a variant, and the processor seconds of all folds."""
    max_width, kind, kept = VARIANTS[variant]
    task = opened.task
    (backbone,) = task.backbones.values()
    features = task.store.features(
        backbone, depths_of("all", backbone.num_stages), max_width=max_width
    )
    common: Any = {"head": "svm", "C": "auto", "balanced": balanced, "seed": task.seed}
    started, tests = time.process_time(), []
    predicted = np.zeros((len(task.labels), task.n_classes), dtype=np.float32)
    for fold in task.folds:
        x, labels = features[fold.train], task.labels[fold.train]
        columns = np.arange(features.shape[1])
        if kind == "lasso":
            scale = np.where(x.std(axis=0) < 1e-6, 1.0, x.std(axis=0))
            norms = group_lasso((x - x.mean(axis=0)) / scale, labels, task.n_classes)
            n_kept = n_selected(len(norms), kept)
            columns = np.sort(np.argsort(-norms, kind="stable")[:n_kept])
            solved = solve_linear(x[:, columns], labels, task.n_classes, **common)
        else:
            solved = solve_selected(x, labels, task.n_classes, kept=kept, **common)
        p = solved.predict_proba(features[opened.test][:, columns])
        tests.append(opened.metric.score(task.labels[opened.test], p))
        predicted[fold.validation] = solved.predict_proba(features[fold.validation][:, columns])
    seconds = time.process_time() - started
    validated = np.concatenate([fold.validation for fold in task.folds])
    validation = opened.metric.score(task.labels[validated], predicted[validated])
    return {"test": float(np.mean(tests)), "validation": validation, "seconds": seconds}


def gains(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Points gained over ``all``, tasks of one data set taken together."""
    found = {}
    for backbone, own in rows.groupby("backbone"):
        tests = 100 * own.pivot(index=["dataset", "n_train"], columns="variant", values="test")
        for variant in VARIANTS:
            if variant not in tests:
                continue
            gain = (tests[variant] - tests["all"]).dropna()
            means = gain.groupby("dataset").mean()
            half = t.ppf(0.975, len(means) - 1) * means.std() / np.sqrt(len(means))
            found[f"{backbone}/{variant}"] = {
                "gain": round(float(means.mean()), 2),
                "low": round(float(means.mean() - half), 2),
                "high": round(float(means.mean() + half), 2),
                "worst": round(float(gain.min()), 1),
                "n_tasks": len(gain),
                "seconds": round(float(own[own.variant == variant].seconds.mean()), 2),
            }
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.head2toe")
    parser.add_argument("--quick", action="store_true", help="two data sets of 100 images")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--work", type=Path, default=Path("~/.cache/autotl/head2toe"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    work = args.work.expanduser()
    work.mkdir(parents=True, exist_ok=True)
    file = work / "rows.jsonl"
    rows = [json.loads(line) for line in file.open()] if file.is_file() else []
    keys = ("dataset", "n_train", "backbone", "variant")
    done = {tuple(row[key] for key in keys) for row in rows}
    names = [n for n in task_names() if not args.quick or n.n_train == 100]
    for name in names[:2] if args.quick else names:
        for backbone in BACKBONES:
            wanted = [(name.dataset, name.n_train, backbone, v) for v in args.variants.split(",")]
            missing = [key for key in wanted if key not in done]
            opened = open_task(name, backbone, work / "pixels") if missing else None
            for key in missing:
                assert opened is not None  # something is missing
                found = score(opened, key[-1], balanced=name.dataset in IMBALANCED)
                rows.append(dict(zip(keys, key, strict=True)) | found)
                with file.open("a") as lines:
                    lines.write(json.dumps(rows[-1]) + "\n")
                print(*key, round(found["test"], 4), flush=True)
    print(json.dumps(gains(pd.DataFrame(rows))))


if __name__ == "__main__":
    main()
