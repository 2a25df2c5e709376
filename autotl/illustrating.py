"""What the page of an analysis shows beyond its figures: pictures, duplicates, a map of features.

All of it comes from the development samples; of the locked test set only a number is told.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.analysis import Analysis
from autotl.analysis.feature_map import MAX_MAPPED, FeatureMap, map_features
from autotl.analysis.labelled import stratified_rows
from autotl.data import duplicate_groups
from autotl.preparation import Prepared
from autotl.recommend.analysis_page import (
    MAX_PICTURES,
    MAX_REPEATED,
    MAX_SHOWN_TIMES,
    AnalysisContents,
    LabelledPicture,
    RepeatedPicture,
)

MAX_PICTURES_PER_CLASS = 12
"""In the grid of samples."""
_MIN_MAPPED = 100
_PASS_S = 1.0
_HELD_SHARE = 0.99


def illustrate(prepared: Prepared, analysis: Analysis, *, thorough: bool) -> AnalysisContents:
    """Collect all that the page of an analysis shows.

    Args:
        prepared: the data set.
        analysis: of it.
        thorough: whether seconds may pass for a better map; else it is made by principal
            components, of as many samples as a second allows.
    """
    repeated, n_repeated, n_hidden = _repeated(prepared)
    return AnalysisContents(
        title=prepared.name,
        analysis=analysis,
        pictures=_grid(prepared),
        repeated=repeated,
        n_repeated=n_repeated,
        n_repeated_in_test=n_hidden,
        feature_map=_map(prepared, thorough),
    )


def _grid(prepared: Prepared) -> tuple[LabelledPicture, ...]:
    """Some pictures of each class, of as many classes as there is room for, the largest first."""
    labels, rng = prepared.task.labels, np.random.default_rng(prepared.task.seed)
    counts = np.bincount(labels, minlength=prepared.task.n_classes)
    classes = np.argsort(-counts, kind="stable")[:MAX_PICTURES]
    each = min(MAX_PICTURES_PER_CLASS, MAX_PICTURES // len(classes))
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:each] for label in classes]
    return _pictures(prepared, np.concatenate(chosen))


def _repeated(prepared: Prepared) -> tuple[tuple[RepeatedPicture, ...], int, int]:
    """Pictures that occur more than once, those with different labels first.

    Returns:
        Those to show, how many there are, and how many more the locked test set holds.
    """
    task, table = prepared.task, prepared.test.table
    digests = next(iter(prepared.test.stores.values())).digests
    shown_by = duplicate_groups(digests.tolist(), links=prepared.links)
    development = prepared.development
    in_test = np.bincount(shown_by[prepared.test.samples], minlength=len(table))
    times = np.bincount(shown_by[development], minlength=len(table))
    found = []
    for picture in np.flatnonzero(times > 1):
        samples = np.flatnonzero(shown_by[development] == picture)
        found.append((len(np.unique(task.labels[samples])) < 2, -len(samples), samples))
    found.sort(key=lambda entry: (*entry[:2], int(entry[2][0])))
    repeated = tuple(
        RepeatedPicture(
            _pictures(prepared, samples[:MAX_SHOWN_TIMES]),
            n_samples=len(samples),
            same_label=same_label,
            same_pixels=len(np.unique(digests[development[samples]])) == 1,
        )
        for same_label, _, samples in found[:MAX_REPEATED]
    )
    return repeated, len(found), int((in_test > 1).sum())


def _pictures(prepared: Prepared, samples: NDArray[np.int64]) -> tuple[LabelledPicture, ...]:
    """Development samples with their pictures, decoded as the sharpest backbone sees them."""
    pixels = prepared.task.pixels(max(prepared.test.stores))[samples]
    names = prepared.profile.class_names
    return tuple(
        LabelledPicture(
            pixels=pixels[i],
            name=prepared.test.table.name(int(prepared.development[sample])),
            label=names[prepared.task.labels[sample]],
        )
        for i, sample in enumerate(samples)
    )


def _map(prepared: Prepared, thorough: bool) -> FeatureMap:
    """By the last stage of the first backbone."""
    task = prepared.task
    backbone = next(iter(task.backbones.values()))
    most = MAX_MAPPED
    if not thorough and task.store.features_held_share(backbone) < _HELD_SHARE:
        forward_s = task.speeds[backbone.name].forward_s
        most = max(_MIN_MAPPED, min(most, int(_PASS_S / max(forward_s, 1e-9))))
    samples = stratified_rows(task.labels, most, np.random.default_rng(task.seed))
    return map_features(
        task.store.features(backbone, [backbone.num_stages], samples),
        task.labels[samples],
        backbone.name,
        len(task.labels),
        neighbours=thorough,
        seed=task.seed,
    )
