"""Whether what is kept holds the best candidate, on data sets at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from autotl.analysis.labelled import stratified_rows
from autotl.analysis.ranking import rank_backbones
from autotl.backbones.speed import Speed
from autotl.backbones.zoo import EMBEDDED, Backbone
from autotl.data import duplicate_groups, make_split, read_dataset
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelViews, decode_table
from autotl.reuse.quota import DiskQuota
from autotl.strategies.linear import solve_linear
from studies.ranking.candidates import DATA

IMAGE_SIZE = 64
MAX_TRAIN, MAX_TEST = 1300, 900
GROUPED = {"bccd_cells3", "fsdd_spectrograms10", "omniglot136"}
DEPTHS = (1, 4)
"""The evidence: features of so many of the last stages."""


@dataclass(frozen=True)
class Measured:
    """A data set seen through all candidates.

    Attributes:
        labels: ``(n,) int64``, training samples first.
        groups: ``(n,) int64``.
        n_train: how many train.
        features: by candidate and number of last stages, ``(n, d)``.
        truth: by candidate, accuracy on the test part of a support vector machine on the last four
            stages, fitted to all training samples.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    n_train: int
    features: dict[tuple[str, int], NDArray[np.float32]]
    truth: dict[str, float]


def measure(dataset: str, candidates: dict[str, Backbone], folder: Path) -> Measured:
    """Pass a data set through every candidate and fit to all of it."""
    group = "group" if dataset in GROUPED else None
    table = read_dataset(DATA / dataset / "meta.csv", image="file", label="class", group=group)
    table, pixels = decode_table(table, IMAGE_SIZE, DiskQuota(folder, 10**9))
    groups = duplicate_groups(pixels.digests.tolist(), table.groups)
    split = make_split(table.labels, groups, seed=0, test_fraction=1 / 3)
    rng = np.random.default_rng(0)
    train = split.development[stratified_rows(table.labels[split.development], MAX_TRAIN, rng)]
    test = split.test[stratified_rows(table.labels[split.test], MAX_TEST, rng)]
    rows = np.concatenate([train, test])
    labels, n = table.labels[rows], len(train)
    features, truth = {}, {}
    for name, backbone in candidates.items():
        speed = Speed("fp32", True, (0.0, 1e-3), (0.0, 0.0))
        views = PixelViews({IMAGE_SIZE: pixels}, rows)
        store = ActivationStore(views, {name: speed}, torch.device("cpu"), None, memory_bytes=10**9)
        last = backbone.num_stages
        parts = [store.features(backbone, [depth]) for depth in range(max(1, last - 3), last + 1)]
        for depths in DEPTHS:
            features[name, depths] = np.concatenate(parts[-depths:], axis=1)
        fitted = solve_linear(
            features[name, 4][:n],
            labels[:n],
            table.n_classes,
            head="svm",
            C="auto",
            balanced=False,
            seed=0,
        )
        right = fitted.predict_proba(features[name, 4][n:]).argmax(axis=1) == labels[n:]
        truth[name] = float(right.mean())
    return Measured(labels, groups[rows], n, features, truth)


def outcome(
    measured: Measured, candidates: dict[str, Backbone], depths: int, seed: int
) -> dict[str, float]:
    """What one ranking gives away, in points, and how many pictures it passes."""
    names = [name for name, found_depths in measured.features if found_depths == depths]
    names = [name for name in names if name in candidates]
    ranking = rank_backbones(
        {name: candidates[name].n_parameters for name in names},
        lambda name, samples: measured.features[name, depths][samples],
        measured.labels,
        np.arange(measured.n_train),
        measured.groups,
        seed=seed,
    )
    best = max(measured.truth[name] for name in names)
    kept = [entry.name for entry in ranking if entry.kept]
    return {
        "loss": 100 * (best - max(measured.truth[name] for name in kept)),
        "loss_of_first": 100 * (best - measured.truth[kept[0]]),
        "passes": float(sum(entry.n_pictures for entry in ranking)),
        "n_kept": float(len(kept)),
        "n_bad_kept": float(sum(name.startswith(("noise-0.4", "random")) for name in kept)),
    }


def without_embedded(candidates: dict[str, Backbone]) -> dict[str, Backbone]:
    """The other nine: on most of these data sets the embedded one is the best by far."""
    return {name: backbone for name, backbone in candidates.items() if name != EMBEDDED}
