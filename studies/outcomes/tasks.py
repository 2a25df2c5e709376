"""The tasks: real data sets at several training sizes, with fixed test sets that share no group."""

from __future__ import annotations

import csv
import dataclasses
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from autotl.backbones.speed import Speed, Way, measure_speed
from autotl.backbones.zoo import EMBEDDED, Backbone, open_backbone
from autotl.data import duplicate_groups, make_split, read_dataset
from autotl.metrics import Metric, resolve_metric
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelViews, decode_table
from autotl.reuse.quota import DiskQuota
from autotl.strategies.base import Task

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
IMAGE_SIZE = 64
SIZES = (100, 300, 1000)
N_FOLDS = {100: 4, 300: 3, 1000: 1}
MAX_EPOCHS = {100: 24, 300: 16, 1000: 12}
"""Of the longest schedules, so that a trial takes seconds on one core."""
MAX_TEST = 1000
WATCHED_TEST = 200
"""Test samples scored after every epoch; all of them at the end."""
_MEMORY_BYTES = 3 * 10**9
_SPLIT_SEED = 7

IMAGENET = "mobilenetv2_100"
_FILES = {IMAGENET: "mobilenetv2_100.torchvision_qat_in1k.fp16.safetensors"}
_WAYS = {EMBEDDED: Way("bf16", True), IMAGENET: Way("fp32", True)}
"""As measured to be fastest on two cores with AMX at 64 pixels; fixed, so that tables agree."""
BACKBONES = (EMBEDDED, IMAGENET)


@dataclass(frozen=True)
class Source:
    """A data set of ``../shared/data``.

    Attributes:
        name: of its folder.
        test: which samples are the test set: ``original`` (its own), ``groups`` (a share of its
            groups) or ``random`` (a third).
        group_share: of the groups, for the test.
        classes: how many of its classes at each size; None: all.
    """

    name: str
    test: str
    group_share: float = 1 / 3
    classes: dict[int, int] | None = None


SOURCES = {
    source.name: source
    for source in (
        Source("clothing10", "original"),
        Source("trashnet6", "random"),
        Source("weather4", "random"),
        Source("sign_digits10", "random"),
        Source("bccd_cells3", "groups"),
        Source("pneumonia_xray2", "original"),
        Source("fsdd_spectrograms10", "groups"),
        Source("omniglot136", "groups", 0.5, {100: 20, 300: 60, 1000: 136}),
    )
}


@dataclass(frozen=True)
class TaskName:
    """A data set at a training size."""

    dataset: str
    n_train: int

    def __str__(self) -> str:
        return f"{self.dataset}-{self.n_train}"


@dataclass(frozen=True)
class OutcomeTask:
    """A task whose test set can be scored.

    Attributes:
        task: for the strategies; its samples are the development ones, then the test ones.
        development: ``(n_development,) int64``, of ``task``.
        test: ``(n_test,) int64``, of ``task``; the first :data:`WATCHED_TEST` are scored after
            every epoch.
        metric: what is maximised, ``auto`` as autotl resolves it on the development samples.
        forward_s: processor seconds of one picture's forward pass, one thread.
    """

    task: Task
    development: NDArray[np.int64]
    test: NDArray[np.int64]
    metric: Metric
    forward_s: float


def task_names(datasets: tuple[str, ...] = tuple(SOURCES)) -> list[TaskName]:
    """All tasks, the middle size first."""
    return [TaskName(dataset, size) for size in (300, 100, 1000) for dataset in datasets]


@lru_cache(maxsize=8)
def open_study_backbone(name: str, image_size: int = IMAGE_SIZE) -> Backbone:
    """A backbone at the study's resolution, or at another one."""
    full = name if name == EMBEDDED else f"{name}@{SHARED / 'weights' / _FILES[name]}"
    return dataclasses.replace(open_backbone(full), name=name, image_size=image_size)


@lru_cache(maxsize=8)
def speed_of(name: str, image_size: int = IMAGE_SIZE) -> tuple[Speed, float]:
    """Speed by stages in processor seconds, and that of a forward pass; of one thread."""
    backbone = open_study_backbone(name, image_size)
    device = torch.device("cpu")
    speed = measure_speed(backbone, device, _WAYS[name])
    network = backbone.create(2, pretrained=False).eval()
    network = network.to(memory_format=speed.memory_format)
    x = torch.zeros(128, 3, image_size, image_size).contiguous(memory_format=speed.memory_format)
    times = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=speed.precision == "bf16"):
                network(x)
            times.append((time.process_time() - started) / len(x))
    forward_s = float(np.median(times[1:]))
    scale = forward_s / speed.forward_s
    return (
        dataclasses.replace(
            speed,
            forward_to=tuple(s * scale for s in speed.forward_to),
            train_from=tuple(s * scale for s in speed.train_from),
        ),
        forward_s,
    )


def open_task(
    name: TaskName,
    backbone_name: str,
    cache: Path,
    seed: int = 0,
    image_size: int = IMAGE_SIZE,
) -> OutcomeTask:
    """A task for one backbone.

    Args:
        name: which.
        backbone_name: one of :data:`BACKBONES`.
        cache: folder of the decoded pictures.
        seed: of the training; the samples are the same for all seeds.
        image_size: side of the pictures, in pixels.
    """
    frame = samples_of(name)
    table = read_dataset(frame, image="file", label="class", group="group")
    _, store = decode_table(table, image_size, DiskQuota(cache, 2 * 10**9))
    groups = duplicate_groups(store.digests.tolist(), table.groups)
    split = make_split(
        table.labels, groups, table.parts, seed=_SPLIT_SEED, n_folds=N_FOLDS[name.n_train]
    )
    development = split.development
    order = np.concatenate(
        [development, np.random.default_rng(_SPLIT_SEED).permutation(split.test)]
    )
    labels = table.labels[order]
    views = PixelViews({image_size: store}, order)
    n_development = len(development)
    backbone = open_study_backbone(backbone_name, image_size)
    speed, forward_s = speed_of(backbone_name, image_size)
    own_labels = labels[:n_development]
    metric = resolve_metric("auto", own_labels)
    speeds = {backbone_name: speed}
    device = torch.device("cpu")
    task = Task(
        labels=labels,
        n_classes=table.n_classes,
        folds=split.folds,
        metric=metric,
        backbones={backbone_name: backbone},
        pixels=views,
        store=ActivationStore(views, speeds, device, None, _MEMORY_BYTES),
        speeds=speeds,
        device=device,
        seed=seed,
    )
    return OutcomeTask(
        task=task,
        development=np.arange(n_development),
        test=np.arange(n_development, len(order)),
        metric=metric,
        forward_s=forward_s,
    )


def samples_of(name: TaskName) -> pd.DataFrame:
    """The pictures of a task: columns ``file`` (absolute), ``class``, ``group`` and ``split``.

    Any number of training pictures will do, where the data set has that many.
    """
    source = SOURCES[name.dataset]
    folder = SHARED / "data" / name.dataset
    with (folder / "meta.csv").open(newline="") as file:
        frame = pd.DataFrame(list(csv.DictReader(file)))
    if source.classes is not None:
        names = sorted(frame["class"].unique())
        rng = np.random.default_rng([_SPLIT_SEED, 2])
        kept = rng.permutation(names)[: source.classes[name.n_train]]
        frame = frame[frame["class"].isin(kept)].reset_index(drop=True)
    own = pd.Series([f"own{i}" for i in range(len(frame))])
    frame["group"] = frame["group"].where(frame["group"] != "", own)
    rng = np.random.default_rng([_SPLIT_SEED, 1])
    is_test = _is_test(frame, source, rng)
    labels = frame["class"].factorize(sort=True)[0]
    test = draw_stratified(labels, np.flatnonzero(is_test), MAX_TEST, rng)
    pool = np.flatnonzero(~is_test)
    train = draw_stratified(labels, pool, min(name.n_train, len(pool)), rng)
    parts = [frame.iloc[train].assign(split="train"), frame.iloc[test].assign(split="test")]
    chosen = pd.concat(parts, ignore_index=True)
    chosen["file"] = [str(folder / file) for file in chosen["file"]]
    return chosen[["file", "class", "group", "split"]]


def _is_test(frame: pd.DataFrame, source: Source, rng: np.random.Generator) -> NDArray[np.bool_]:
    if source.test == "original":
        return (frame["orig_split"] != "train").to_numpy()
    if source.test == "groups":
        groups = rng.permutation(np.unique(frame["group"].to_numpy()))
        held = groups[: round(len(groups) * source.group_share)]
        return frame["group"].isin(held).to_numpy()
    held = np.zeros(len(frame), dtype=bool)
    held[rng.permutation(len(frame))[: len(frame) // 3]] = True
    return held


def draw_stratified(
    labels: NDArray[np.int64], pool: NDArray[np.int64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """About ``n`` of the pool in random order, each class by its share, at least four of each.

    Smaller ``n`` take the first ones of larger ``n``, class by class.
    """
    order = rng.permutation(pool)
    rank = np.empty(len(order))
    for label in np.unique(labels[order]):
        members = np.flatnonzero(labels[order] == label)
        rank[members] = np.arange(len(members)) / len(members)
        rank[members[:4]] = -1.0
    chosen = order[np.argsort(rank, kind="stable")[:n]]
    shuffled: NDArray[np.int64] = rng.permutation(chosen)
    return shuffled
