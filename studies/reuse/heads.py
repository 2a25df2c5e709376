"""All stages frozen: head training and linear classifiers against computing it all again."""

from __future__ import annotations

import statistics
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig
from studies.reuse.depths import config_at, epoch_seconds
from studies.reuse.loading import Prepared, Source
from studies.reuse.problem import keeping, keeping_nothing
from studies.reuse.usual import open_training, predict, train_epoch

LAYERS = ("last", "second_last", "last_2", "all")
CS = (1e-3, 1e-2, 1e-1)
HEADS = ("svm", "logistic")


def head_epochs(task: Task, backbone: str, folder: Path, repeats: int) -> dict[str, float]:
    """Seconds of an epoch of training the head alone, training and validation.

    Against the usual loop on JPEG files, with as many samples of the folder.

    Args:
        task: the problem.
        backbone: its name.
        folder: its JPEG files.
        repeats: rounds, in turn.
    """
    opened = task.backbones[backbone]
    fold = task.folds[0]
    samples = np.random.default_rng(0).permutation(len(fold.train) + len(fold.validation))
    train, validation = samples[: len(fold.train)], samples[len(fold.train) :]
    config = config_at(backbone, opened.num_stages, epochs=6)
    source = Source(folder, opened, task.device, prepared=Prepared())
    training = open_training(config, source, train.tolist(), 0)
    shown = source.evaluation(validation.tolist())
    kept = keeping(task)
    own: list[float] = []
    usual: list[float] = []
    for round_number in range(repeats + 1):
        own_now = epoch_seconds(config, kept)
        started = time.perf_counter()
        train_epoch(training)
        predict(training.network, shown, training.speed)
        if round_number:  # the first starts the loader's processes and fills the store
            own += own_now
            usual.append(time.perf_counter() - started)
    found = {"autotl_s": statistics.median(own), "usual_s": statistics.median(usual)}
    return found | {"ratio": found["usual_s"] / found["autotl_s"]}


def bottleneck_study(task: Task, backbone: str) -> dict[str, Any]:
    """24 trials of layers, heads and C, with the store and with features computed in each."""
    configs = [
        BottleneckConfig(backbone=backbone, layers=layers, head=head, C=C, balanced=False)
        for layers, head, C in product(LAYERS, HEADS, CS)
    ]
    kept, nothing = keeping(task), keeping_nothing(task)
    seconds = {"on": 0.0, "off": 0.0}
    scores: dict[str, list[float]] = {"on": [], "off": []}
    for config in configs:
        for name, own in (("on", kept), ("off", nothing)):
            started = time.perf_counter()
            scores[name].append(Bottleneck().run(config, own, SilentReporter()).score)
            seconds[name] += time.perf_counter() - started
    return {
        "n_trials": len(configs),
        "on_s": seconds["on"],
        "off_s": seconds["off"],
        "ratio": seconds["off"] / seconds["on"],
        "same_scores": scores["on"] == scores["off"],
    }
