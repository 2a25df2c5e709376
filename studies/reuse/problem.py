"""Tasks for the benchmarks: a folder of pictures, with and without a store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file

from autotl.config import FitConfig
from autotl.data import Fold
from autotl.preparation import Prepared, prepare
from autotl.progress import Progress
from autotl.reuse.activations import ActivationStore
from autotl.reuse.quota import DiskQuota
from autotl.runtime import NEVER
from autotl.strategies.base import Task

MEMORY_BYTES = 6 * 10**9
_SEED = 20_260_101


def random_weights(architecture: str, folder: Path) -> str:
    """Name of a backbone of random weights, which cost what trained ones do, in a file."""
    file = folder / f"{architecture}.safetensors"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng():
            torch.manual_seed(_SEED)
            model = timm.create_model(architecture)
        save_file(model.state_dict(), file, metadata={"timm_name": architecture})
    return f"{architecture}@{file}"


def open_problem(folder: Path, backbone: str, cache: Path) -> Prepared:
    """The data set decoded, split and measured; backbone timed on this machine."""
    config = FitConfig(backbones=(backbone,), time_budget_s=None, n_trials=1)
    return prepare(folder, None, None, config, cache, NEVER, Progress())


def shortened(task: Task, n_train: int, n_validation: int) -> Task:
    """With one fold of so many training and validation samples."""
    fold = task.folds[0]
    order = np.random.default_rng(0).permutation(fold.train)[:n_train]
    return dataclasses.replace(task, folds=(Fold(np.sort(order), fold.validation[:n_validation]),))


def keeping(task: Task, memory_bytes: int = MEMORY_BYTES, quota: DiskQuota | None = None) -> Task:
    """With a new, empty store."""
    store = ActivationStore(task.pixels, task.speeds, task.device, quota, memory_bytes)
    return dataclasses.replace(task, store=store)


def keeping_nothing(task: Task) -> Task:
    """With a store that computes everything each time."""
    return keeping(task, memory_bytes=0)


def in_precision(task: Task, precision: str) -> Task:
    """Trained in a precision, whatever is fastest."""
    speeds = {
        name: dataclasses.replace(speed, precision=precision) for name, speed in task.speeds.items()
    }
    return dataclasses.replace(task, speeds=speeds)
