"""What frozen features say of a data set: similarity and transferability, from one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.channels import ChannelWatcher, LayerMoments
from autotl.analysis.labelled import stratified_rows
from autotl.analysis.left_out import left_out_right
from autotl.analysis.moments import Features, Labels
from autotl.analysis.reference import find_reference
from autotl.analysis.similarity import FRECHET, DomainSimilarity, channel_similarity, similarity_of
from autotl.analysis.transferability import score_all
from autotl.backbones.zoo import Backbone
from autotl.reuse.activations import ActivationStore

MAX_IMAGES = 20_000
"""Of a larger data set a stratified sample passes through the network."""
MAX_WATCHED = 512
"""Pictures whose statistics are taken at every BatchNorm."""
MAX_SCORED = 1_000
"""Samples whose labels the transferability scores look at."""
LINEAR = "linear_accuracy"
"""The score that a linear classifier gives, beside those of the last features alone."""
_PER_CLASS = 5
"""Of more classes than leave so many samples each, some classes are scored."""


@dataclass(frozen=True)
class Transferability:
    """How well the frozen penultimate features tell the classes apart, without any training.

    Attributes:
        scores: by the names of :data:`~autotl.analysis.transferability.SCORES`, and
            :data:`LINEAR`; greater is better, and only the same score of the same data set
            compares.
        n_samples: that were looked at, of the training part: of copies of a picture one.
        accuracy_error: standard error of the k-NN accuracy, from so few samples (Agresti and Coull
            1998); that of the centroids' accuracy is about the same.
        reason: why there are no scores; empty otherwise.
        new_groups_accuracy: :data:`LINEAR` where samples of one group (patient, speaker) don't
            speak for each other; None: the samples come in no groups.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    n_samples: int = 0
    accuracy_error: float | None = None
    reason: str = ""
    new_groups_accuracy: float | None = None


def examine(
    backbone: Backbone,
    store: ActivationStore,
    labels: Labels,
    train: NDArray[np.int64],
    *,
    max_images: int = MAX_IMAGES,
    seed: int = 0,
    noted: Sequence[LayerMoments] | None = None,
    pictures: NDArray[np.int64] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> tuple[DomainSimilarity, Transferability]:
    """Similarity and transferability of a data set for a backbone.

    One forward pass makes both, and what the store keeps of it serves the bottleneck strategy: with
    at most ``max_images`` pictures nothing is left for that to compute. Of more pictures a
    stratified sample of the training part is examined.

    Args:
        backbone: with pretrained weights.
        store: of the development samples.
        labels: ``(n_samples,) int64``, of the development samples.
        train: ``(n_train,) int64``, the samples that may be measured and whose labels may be
            looked at; validation samples are passed through the network only.
        max_images: the most to pass through the network.
        seed: of sampling.
        noted: what an earlier pass noted of training pictures; None: some are watched now.
        pictures: ``(n_samples,) int64``, equal for samples that show the same picture, of which one
            is scored: a copy would tell its copy's label. None: all differ.
        groups: ``(n_samples,) int64``, of which group each sample is; None: they come in none.
    """
    rng = np.random.default_rng(seed)
    passed = np.arange(len(labels))
    measured = train
    if len(labels) > max_images:
        passed = measured = train[stratified_rows(labels[train], max_images, rng)]
    watcher = None
    if noted is None:
        watched = measured[stratified_rows(labels[measured], MAX_WATCHED, rng)]
        watcher = ChannelWatcher(rng.permutation(watched))
    everything = store.features(backbone, [backbone.num_stages], passed, watcher)
    features = everything[np.searchsorted(passed, measured)]
    moments = noted if watcher is None else watcher.moments()
    similarity = channel_similarity(moments or (), backbone.num_stages)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        stage = _first_not_finite(backbone, store, measured[~finite][:1])
        told = (
            f"the features of {int((~finite).sum()):,} of {len(features):,} pictures aren't finite,"
            f" from stage {stage} of {backbone.num_stages} on"
        )
        return similarity, Transferability(reason=told)
    similarity = _with_reference(similarity, backbone, features, labels[measured])
    if pictures is not None:
        distinct = np.sort(np.unique(pictures[measured], return_index=True)[1])
        if len(distinct) < len(measured):
            features, measured = features[distinct], measured[distinct]
    found = score(features, labels[measured], rng)
    if found.scores:
        fitted = measured[stratified_rows(labels[measured], MAX_SCORED, rng)]
        accuracy = linear_accuracy(backbone, store, labels, fitted)
        found = replace(found, scores={**found.scores, LINEAR: accuracy})
        if groups is not None:
            accuracy = linear_accuracy(backbone, store, labels, fitted, groups)
            found = replace(found, new_groups_accuracy=accuracy)
    return similarity, found


def _first_not_finite(backbone: Backbone, store: ActivationStore, rows: NDArray[np.int64]) -> int:
    """The first stage, from 1, whose features of these pictures aren't finite; the last is so."""
    stages = range(1, backbone.num_stages + 1)
    return next(
        stage for stage in stages if not np.isfinite(store.features(backbone, [stage], rows)).all()
    )


def linear_accuracy(
    backbone: Backbone,
    store: ActivationStore,
    labels: Labels,
    rows: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
) -> float:
    """How often a linear classifier is right on samples that it was fitted without.

    By the features that the bottleneck strategy reads most often: the last four stages'. NaN where
    they aren't finite.

    Args:
        backbone: with pretrained weights.
        store: of the development samples.
        labels: ``(n_samples,) int64``, of the development samples.
        rows: ``(n,) int64``, ascending, the samples that are looked at.
        groups: ``(n_samples,) int64``, samples that are left out together; None: one by one.
    """
    depths = range(max(1, backbone.num_stages - 3), backbone.num_stages + 1)
    features = store.features(backbone, depths, rows)
    if not np.isfinite(features).all():
        return float("nan")
    together = None if groups is None else groups[rows]
    return float(left_out_right(features, labels[rows], together).mean())


def _with_reference(
    similarity: DomainSimilarity, backbone: Backbone, features: Features, labels: Labels
) -> DomainSimilarity:
    """Adds the distance from reference statistics; without BatchNorm the value comes from it."""
    reference, note = find_reference(backbone)
    if reference is None or len(features) < 2:
        return replace(similarity, note=note)
    source = reference.distance(features, labels)
    if similarity.n_samples:  # BatchNorm was there: its distance, or what was wrong, is told
        return replace(similarity, source=source)
    return DomainSimilarity(
        similarity_of(source.frechet, FRECHET),
        distance=source.frechet,
        n_samples=len(features),
        source=source,
    )


def score(features: Features, labels: Labels, rng: np.random.Generator) -> Transferability:
    """The transferability scores of a stratified sample; with very many classes, of some of them.

    Args:
        features: ``(n, d) float32``, finite.
        labels: ``(n,) int64``.
        rng: of sampling.
    """
    names = np.unique(labels)
    most = MAX_SCORED // _PER_CLASS
    if len(names) > most:
        kept = np.flatnonzero(np.isin(labels, rng.choice(names, most, replace=False)))
        features, labels = features[kept], labels[kept]
    rows = stratified_rows(labels, MAX_SCORED, rng)
    features, labels = features[rows], labels[rows]
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        few = (
            "classes of different pictures" if len(counts) < 2 else "different pictures of a class"
        )
        return Transferability(reason=f"fewer than two {few}")
    scores = score_all(features, labels)
    p = (scores["k_nn_accuracy"] * len(rows) + 2) / (len(rows) + 4)
    return Transferability(scores, len(rows), float(np.sqrt(p * (1 - p) / (len(rows) + 4))))
