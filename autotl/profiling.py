"""The data set's profile: what passes through the backbones before the search, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.capacity import measure_capacity
from autotl.analysis.channels import ChannelWatcher, LayerMoments
from autotl.analysis.examination import MAX_IMAGES, MAX_WATCHED, Transferability, examine
from autotl.analysis.labelled import draw_rows, stratified_rows
from autotl.analysis.profile import BackboneProfile, DatasetProfile
from autotl.analysis.ranking import RankedBackbone, rank_backbones
from autotl.analysis.similarity import DomainSimilarity
from autotl.analysis.size import measure_size
from autotl.analysis.sufficiency import Sufficiency, measure_sufficiency
from autotl.backbones.speed import Speed
from autotl.backbones.zoo import EMBEDDED, Backbone
from autotl.data import ImageTable, Split, duplicate_groups, make_split, near_duplicates
from autotl.errors import InputError
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelStore
from autotl.search.budget import affordable_epochs
from autotl.strategies.base import Task

ANALYSIS_SHARE = 0.1
"""Of the time for the search, the most that passes for the analysis may take."""
MAX_COMPARED = 500_000
"""Pictures that are searched for near-duplicates: about a minute and a gigabyte."""


def affordable_pictures(
    speeds: Mapping[str, Speed], search_s: float, *, only_measured: bool = False
) -> float:
    """Pictures that pass through all backbones in a bounded share of the time.

    Where nothing will be trained, no more than a sample's, whatever the time.
    """
    pass_s = sum(speed.forward_s for speed in speeds.values())
    most = max(MAX_WATCHED, ANALYSIS_SHARE * search_s / max(pass_s, 1e-9))
    return min(most, MAX_IMAGES) if only_measured else most


@dataclass(frozen=True)
class Look:
    """What a first pass over all pictures found, before they are split.

    Attributes:
        links: ``(m, 2) int64``, samples that show the same picture.
        backbone: whose pass it was.
        watcher: what it noted; None: the pictures didn't pass.
        not_looked_for: near-duplicates that weren't looked for, and why, a sentence each.
    """

    links: NDArray[np.int64]
    backbone: str
    watcher: ChannelWatcher | None
    not_looked_for: tuple[str, ...] = ()

    def noted(self, samples: NDArray[np.int64]) -> dict[str, list[LayerMoments]]:
        """By backbone, channel statistics of these samples, as far as they were watched."""
        return {} if self.watcher is None else {self.backbone: self.watcher.moments(samples)}


def look(
    pictures: PixelStore, store: ActivationStore, backbone: Backbone, affordable: float, seed: int
) -> Look:
    """Find near-duplicates by pixels, and by features where there is time for all to pass.

    The features are those that the bottleneck strategy reads. Pictures of the test part pass too,
    so that no copy of them is trained on; nothing that is noted of them is used. Of more than
    :data:`MAX_COMPARED` pictures a sample is searched.
    """
    everything = pictures.view(np.arange(len(pictures.rows)))
    n = len(everything)
    features, watcher = None, None
    skipped = []
    if n > affordable:
        skipped.append(
            f"crops of other pictures weren't looked for: more than {int(affordable):,} pictures "
            f"would have had to pass through {backbone.name} first"
        )
    else:
        watched = np.random.default_rng(seed).permutation(n)[:MAX_WATCHED]
        watcher = ChannelWatcher(watched)
        depths = range(1, backbone.num_stages + 1)
        features = store.features(backbone, depths, watcher=watcher)
    compared = draw_rows(n, MAX_COMPARED, seed)
    if len(compared) < n:
        features = None if features is None else features[compared]
        skipped.append(
            f"near-duplicates were looked for among {len(compared):,} of the {n:,} pictures, drawn "
            "at random; equal pixels among all"
        )
    links = near_duplicates(
        lambda rows: everything[compared[rows]],
        len(compared),
        features,
        seed,
    )
    return Look(compared[links], backbone.name, watcher, tuple(skipped))


def looking_backbone(backbones: Mapping[str, Backbone]) -> Backbone:
    """Of many candidates the one for the first pass: the embedded one, else the smallest."""
    return min(backbones.values(), key=lambda b: (b.name != EMBEDDED, b.n_parameters, b.name))


def rank_candidates(
    backbones: Mapping[str, Backbone],
    store: ActivationStore,
    table: ImageTable,
    groups: NDArray[np.int64],
    search_s: float,
    seed: int,
) -> tuple[RankedBackbone, ...]:
    """Rank many candidates by the features of their last four stages on growing subsets.

    By those of the last stage alone the candidate with the best bottleneck fit was dropped more
    often (``studies/ranking``). Looks only at samples that train in the first fold, whether it is
    one of several or the only one. Networks are held one at a time; their features are kept.

    Args:
        backbones: the candidates.
        store: of all samples.
        table: all samples.
        groups: ``(n_samples,) int64``, what stays on one side of a split.
        search_s: seconds for the search; bounds the rounds after the first.
        seed: of the split and of sampling.
    """

    def features(name: str, samples: NDArray[np.int64]) -> NDArray[np.float32]:
        backbone = backbones[name]
        found = store.features(backbone, _last_stages(backbone), samples)
        store.release(backbone)
        return found

    return rank_backbones(
        {name: backbone.n_parameters for name, backbone in backbones.items()},
        features,
        table.labels,
        _training_samples(table, groups, seed),
        groups,
        seed=seed,
        limit_s=ANALYSIS_SHARE * search_s,
    )


def _last_stages(backbone: Backbone) -> range:
    """Depths of the last four stages."""
    return range(max(1, backbone.num_stages - 3), backbone.num_stages + 1)


def _training_samples(table: ImageTable, groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Samples of the first fold's training part, by cross-validation and by one hold-out.

    Which it will be is decided later, by the speed of the candidates that are kept. With fewer
    folds than usual every sample is validated by some fold, as with as many.
    """
    split = make_split(table.labels, groups, table.parts, seed=seed)
    samples = split.development[split.folds[0].train]
    if len(split.folds) > 1:
        with suppress(InputError):  # no hold-out can be made: then none will be
            split = make_split(table.labels, groups, table.parts, seed=seed, n_folds=1)
            samples = np.intersect1d(samples, split.development[split.folds[0].train])
    return samples


def make_profile(
    task: Task,
    table: ImageTable,
    split: Split,
    looked: Look,
    search_s: float,
    pictures: PixelStore,
    ranking: tuple[RankedBackbone, ...] = (),
    *,
    only_measured: bool = False,
) -> DatasetProfile:
    """What is known of the development samples.

    Args:
        task: with them.
        table: all samples.
        split: of the table.
        looked: the first pass.
        search_s: seconds for the search; bounds the analysis and the epochs of a trial.
        pictures: all of the table's, decoded.
        ranking: that the task's backbones were chosen by; empty: they weren't.
        only_measured: whether nothing will be trained: then of more than
            :data:`~autotl.analysis.examination.MAX_IMAGES` samples only a sample passes.
    """
    development, labels = split.development, task.labels
    affordable = affordable_pictures(task.speeds, search_s, only_measured=only_measured)
    noted = looked.noted(development[split.folds[0].train])
    shown = duplicate_groups(pictures.digests.tolist(), links=looked.links)[development]
    groups = None if table.groups is None else task.groups
    examined = _examine(task, affordable, noted, shown, groups)
    return DatasetProfile(
        size=measure_size(
            labels,
            table.n_classes,
            pictures.original_sizes[development],
            pictures.is_grey[development],
            pictures.digests[development],
            n_test=len(split.test),
            pictures=shown,
        ),
        backbones={
            name: BackboneProfile(
                num_stages=backbone.num_stages,
                n_parameters=backbone.n_parameters,
                image_size=backbone.image_size,
                samples_per_parameter=len(labels) / backbone.n_parameters,
                similarity=examined[name][0],
                transferability=examined[name][1],
                speed=task.speeds[name],
                max_epochs=affordable_epochs(search_s, epoch_s(task.speeds[name], split)),
            )
            for name, backbone in task.backbones.items()
        },
        n_folds=len(split.folds),
        class_names=table.class_names,
        fingerprint=table.fingerprint,
        n_quarantined=len(table.quarantine),
        sufficiency=(
            _sufficiency(task, shown) if only_measured or len(labels) <= affordable else None
        ),
        ranking=ranking,
        not_looked_for=looked.not_looked_for,
        has_groups=table.groups is not None,
    )


def _examine(
    task: Task,
    affordable: float,
    noted: Mapping[str, list[LayerMoments]],
    pictures: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
) -> dict[str, tuple[DomainSimilarity, Transferability]]:
    """Each backbone against the data set."""
    return {
        name: examine(
            backbone,
            task.store,
            task.labels,
            task.folds[0].train,
            max_images=int(min(MAX_IMAGES, affordable)),
            seed=task.seed,
            noted=noted.get(name),
            pictures=pictures,
            groups=groups,
        )
        for name, backbone in task.backbones.items()
    }


def _sufficiency(task: Task, pictures: NDArray[np.int64]) -> Sufficiency:
    """How far the samples go, by the last four stages of the first backbone.

    Of more than :data:`MAX_IMAGES` samples, by those that are examined and a quarter as many more.
    """
    first = next(iter(task.backbones.values()))
    fold, rng = task.folds[0], np.random.default_rng(task.seed)
    train, validation = fold.train, fold.validation
    if len(task.labels) > MAX_IMAGES:
        train = train[stratified_rows(task.labels[train], MAX_IMAGES, rng)]
        validation = validation[stratified_rows(task.labels[validation], MAX_IMAGES // 4, rng)]
    rows = np.union1d(train, validation)
    return measure_sufficiency(
        first.name,
        task.store.features(first, _last_stages(first), rows),
        task.labels[rows],
        np.searchsorted(rows, train),
        np.searchsorted(rows, validation),
        {name: measure_capacity(b, task.n_classes) for name, b in task.backbones.items()},
        task.seed,
        pictures[rows],
        n_train=len(fold.train),
    )


def epoch_s(speed: Speed, split: Split) -> float:
    """Seconds of one epoch on all folds."""
    return sum(
        len(fold.train) * speed.train_s + len(fold.validation) * speed.forward_s
        for fold in split.folds
    )
