"""From a data set to a task: read, decode, split, lock the test set away, profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autotl.allowance import make_room, memory_cache_bytes, mirrors_in
from autotl.analysis.profile import DatasetProfile
from autotl.analysis.ranking import MAX_CANDIDATES, RankedBackbone
from autotl.backbones.speed import Speed, measure_forward
from autotl.backbones.zoo import Backbone
from autotl.candidates import open_backbones, scoring_s, speeds_of
from autotl.config import FitConfig
from autotl.data import (
    ImageTable,
    Split,
    duplicate_groups,
    expected_test_size,
    make_split,
    tell_of_oddities,
    tell_of_overlaps,
)
from autotl.errors import InputError
from autotl.metrics import resolve_metric
from autotl.profiling import (
    affordable_pictures,
    epoch_s,
    look,
    looking_backbone,
    make_profile,
    rank_candidates,
)
from autotl.progress import Progress
from autotl.reading import decode, name_of, read, source_of
from autotl.resuming import EarlierPart
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelStore, PixelView, PixelViews
from autotl.runtime import Deadline, resolve_device
from autotl.search.budget import CLOSING_S, MIN_EPOCHS, affordable_epochs
from autotl.strategies.base import Task


@dataclass(frozen=True)
class LockedTest:
    """The test set: opened once, after the decision.

    Attributes:
        table: all samples; for the names of pictures.
        samples: ``(n_test,) int64``, rows of ``table``.
        stores: decoded pictures by size.
        groups: ``(n_test,) int64``, which group each sample is of; None: they are independent.
    """

    table: ImageTable
    samples: NDArray[np.int64]
    stores: Mapping[int, PixelStore]
    groups: NDArray[np.int64] | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """``(n_test,) int64``."""
        return self.table.labels[self.samples]

    def pixels(self, image_size: int) -> PixelView:
        """The test pictures at a size."""
        return self.stores[image_size].view(self.samples)


@dataclass(frozen=True)
class Prepared:
    """A data set ready to be learnt from.

    Attributes:
        name: of its folder or file; ``pictures`` if it has none.
        source: its folder or file, absolute, or URL; empty if it came from memory.
        test_source: that of a test set of its own; None: there is none.
        task: what strategies may touch.
        profile: what is known of it.
        test: locked away.
        quarantine: pairs of (picture, reason), pictures left out: unreadable ones, and training
            copies of a given test set.
        development: ``(n_samples,) int64``, rows of the test's table: the task's samples in order.
        links: ``(n_links, 2) int64``, rows of the test's table that show the same picture in other
            pixels.
    """

    name: str
    source: str
    task: Task
    profile: DatasetProfile
    test: LockedTest
    quarantine: tuple[tuple[str, str], ...]
    development: NDArray[np.int64]
    links: NDArray[np.int64]
    test_source: str | None = None


def prepare(
    dataset: Any,
    test: Any,
    group: Any,
    config: FitConfig,
    folder: Path,
    deadline: Deadline,
    progress: Progress,
    earlier: EarlierPart | None = None,
    *,
    only_measured: bool = False,
) -> Prepared:
    """Read and decode a data set, split it and measure it.

    Args:
        dataset: of any kind that :func:`autotl.fit` takes.
        test: a test set of its own, or None.
        group: what keeps samples together, as for :func:`autotl.fit`.
        config: the settings.
        folder: the cache, where decoded pictures and features are kept for later fits.
        deadline: of the whole fit; decides how many epochs a trial may plan.
        progress: whoever watches.
        earlier: of a study that goes on: its split stays.
        only_measured: nothing is trained, so that a data set of which nothing can be held out will
            do, such as copies of a few pictures; not where it has parts of its own.

    Raises:
        InputError: what is wrong with the data set or the settings, or differs from the study's.
        BackboneUnavailableError: if a backbone that was asked for can't be had.
    """
    device = resolve_device(config.device)
    backbones = open_backbones(config, device.type, progress)

    progress.phase("read", deadline.shown_s)
    mirrors = mirrors_in(None if only_measured else folder, config, progress)
    table = read(dataset, test, group, config, mirrors)
    if earlier is not None:
        left_out = earlier.identity.left_out
        backbones = {name: own for name, own in backbones.items() if name not in left_out}
        earlier.refuse_others(name_of(dataset), table, backbones, config)

    progress.phase("decode", deadline.shown_s)
    quota = make_room(config, folder, backbones, "" if earlier is None else earlier.name)
    table, stores = decode(table, backbones, quota, config, progress)
    first = next(iter(stores.values()))

    progress.phase("profile", deadline.shown_s)
    many = len(backbones) > MAX_CANDIDATES
    looking = looking_backbone(backbones) if many else next(iter(backbones.values()))
    if many:  # training is timed only with those that are kept
        speeds = dict.fromkeys(backbones, measure_forward(looking, device))
    else:
        speeds = speeds_of(backbones, device, quota, deadline, only_measured=only_measured)
    store = ActivationStore(
        PixelViews(stores, np.arange(len(table))),
        speeds,
        device,
        quota,
        memory_cache_bytes(config, device),
        shared=config.workers > 1,
    )
    search_s = _search_s(deadline, table, speeds)
    passing = {looking.name: speeds[looking.name]} if many else speeds
    affordable = affordable_pictures(passing, search_s, only_measured=only_measured)
    looked = look(first, store, looking, affordable, config.seed)
    for told in looked.not_looked_for:
        progress.note(told)
    links = looked.links
    digests = first.digests.tolist()
    groups = duplicate_groups(digests, table.groups, links)
    overlaps = tell_of_overlaps(table, digests, groups, links, progress.note)
    ranking: tuple[RankedBackbone, ...] = ()
    if many:
        ranking = rank_candidates(backbones, store, table, groups, search_s, config.seed)
        _tell_of_ranking(ranking, progress)
        backbones = {entry.name: backbones[entry.name] for entry in ranking if entry.kept}
        speeds = speeds_of(backbones, device, quota, deadline, only_measured=only_measured)
        store = store.with_speeds(speeds)
        search_s = _search_s(deadline, table, speeds)
    if earlier is not None:
        split = earlier.split
    else:
        try:
            split = _split(table, groups, speeds, search_s, config.seed, progress)
        except InputError as error:
            if not only_measured or table.parts is not None:
                raise
            progress.note(f"all of it is measured, but a fit would refuse it: {error}")
            split = Split.without_held_out(len(table))
    tell_of_oddities(table, digests, links, progress.note)
    own_groups = groups[split.development]
    task = task_of(table, stores, split, own_groups, backbones, speeds, store, config, device)
    profile = make_profile(
        task, table, split, looked, search_s, first, ranking, only_measured=only_measured
    )
    return Prepared(
        name=name_of(dataset),
        source=source_of(dataset),
        task=task,
        profile=profile,
        test=LockedTest(table, split.test, stores, groups[split.test]),
        quarantine=(
            *((entry.name, entry.reason) for entry in table.quarantine),
            *((table.name(overlap.sample), overlap.reason(table)) for overlap in overlaps),
        ),
        development=split.development,
        links=links,
        test_source=None if test is None else source_of(test),
    )


def task_of(
    table: ImageTable,
    stores: Mapping[int, PixelStore],
    split: Split,
    groups: NDArray[np.int64] | None,
    backbones: Mapping[str, Backbone],
    speeds: Mapping[str, Speed],
    store: ActivationStore,
    config: FitConfig,
    device: torch.device,
) -> Task:
    """What trials train on: the development samples of a data set.

    Args:
        table: all samples.
        stores: decoded pictures by size.
        split: which samples are whose.
        groups: of the development samples.
        backbones: the candidates.
        speeds: of each.
        store: activations of all samples.
        config: the settings.
        device: where trials run.
    """
    labels = table.labels[split.development]
    views = PixelViews(stores, split.development)
    return Task(
        labels=labels,
        n_classes=table.n_classes,
        folds=split.folds,
        metric=resolve_metric(config.metric, labels),
        backbones=backbones,
        pixels=views,
        store=store.of_samples(views),
        speeds=speeds,
        device=device,
        seed=config.seed,
        groups=groups,
    )


def _search_s(deadline: Deadline, table: ImageTable, speeds: Mapping[str, Speed]) -> float:
    """What the end of the fit leaves to the search, in seconds."""
    n_test = expected_test_size(len(table), table.parts)
    return deadline.left_s() - CLOSING_S - scoring_s(n_test, speeds)


def _tell_of_ranking(ranking: Sequence[RankedBackbone], progress: Progress) -> None:
    kept = [entry.name for entry in ranking if entry.kept]
    progress.note(
        f"of {len(ranking)} backbones {len(kept)} are tried, whose features tell the classes apart "
        f"best: {', '.join(kept)}"
    )
    for entry in ranking:
        if entry.accuracy is None:
            progress.note(f"{entry.name}: {entry}")


def _split(
    table: ImageTable,
    groups: NDArray[np.int64],
    speeds: Mapping[str, Speed],
    search_s: float,
    seed: int,
    progress: Progress,
) -> Split:
    """As many folds as leave trials of some length in the time, else one hold-out.

    Fewer folds before a hold-out: two validate every sample for little more time than one takes to
    validate a fifth, and schedules longer than such trials' hardly train better
    (``studies/schedule``).
    """
    split = make_split(table.labels, groups, table.parts, seed=seed)
    most = len(split.folds)
    with_most = _longest_trial(split, speeds, search_s)
    if most == 1 or with_most >= MIN_EPOCHS:
        return split
    for n_folds in (3, 2, 1):
        if n_folds >= most:
            continue
        fewer = make_split(table.labels, groups, table.parts, seed=seed, n_folds=n_folds)
        with_fewer = _longest_trial(fewer, speeds, search_s)
        if with_fewer >= MIN_EPOCHS:
            break
    if with_fewer < MIN_EPOCHS / 2:  # networks can't be trained either way
        return split
    how = f"by {len(fewer.folds)}-fold" if len(fewer.folds) > 1 else "on one hold-out, not by"
    how += " instead of" if len(fewer.folds) > 1 else ""
    progress.note(
        f"validating {how} {most}-fold cross-validation: the time allows {with_fewer} instead "
        f"of {with_most} epochs a trial (a larger budget changes that)"
    )
    return fewer


def _longest_trial(split: Split, speeds: Mapping[str, Speed], search_s: float) -> int:
    """Epochs that a trial of the fastest backbone can afford."""
    return max(affordable_epochs(search_s, epoch_s(speed, split)) for speed in speeds.values())
