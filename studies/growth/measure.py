"""Linear models validated on folds, then fitted to all development samples and tested.

Data sets of ``../shared/data``, drawn anew for each repeat: a third of the samples (of the groups,
where there are any) is the test set, development samples of several sizes come from the others,
class by class, as autotl's own test sets are: where class shares differ by chance between what is
learnt from and what is tested on, folds with equal shares say up to four points too much, which has
nothing to do with growth. The features are the embedded backbone's last ones, the classifier the
softmax probe that a search fits.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autotl.analysis.learning_curve import measure_learning_curve
from autotl.backbones.zoo import EMBEDDED, open_backbone
from autotl.data import ImageTable, make_split, read_dataset
from autotl.errors import InputError
from autotl.reuse.pixels import decode_table
from autotl.reuse.quota import DiskQuota
from autotl.strategies.linear import LinearClassifier, solve_linear
from autotl.uncertainty import design_effect
from studies.analyzer.problems import SETS, SHARED, new_store
from studies.outcomes.tasks import draw_stratified

SIZES = (60, 120, 250, 500, 1000)
N_FOLDS = (1, 2, 3, 5)
_MAX_CLASSES = 20


@dataclass(frozen=True)
class Features:
    """A data set as its backbone sees it.

    Attributes:
        values: ``(n, d) float32``.
        labels: ``(n,) int64``.
        groups: ``(n,) int64``; a sample without one is one by itself.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """One model.

    Attributes:
        dataset: its name.
        n: development samples.
        repeat: which draw.
        n_folds: that it was validated on; 1: a fifth was held out.
        n_train: samples that a fold's model learnt from, on average.
        n_validated: samples that were predicted by models that didn't learn from them.
        n_groups: of the validated samples.
        n_test: samples of the test set.
        validated: accuracy on them.
        design_effect: of these answers.
        fold_test: accuracy of the folds' models on the test set, their mean.
        test: accuracy of the model that learnt from all development samples.
        curve_n: samples of the learning curve's points.
        curve_accuracy: at each.
        curve_fitted: samples, median and central 95 % of the curve's law.
    """

    dataset: str
    n: int
    repeat: int
    n_folds: int
    n_train: float
    n_validated: int
    n_groups: int
    n_test: int
    validated: float
    design_effect: float
    fold_test: float
    test: float
    curve_n: list[int]
    curve_accuracy: list[float]
    curve_fitted: list[list[float]]


@lru_cache(maxsize=1)
def features_of(name: str) -> Features:
    """A data set's features."""
    table, backbone = table_of(name), open_backbone(EMBEDDED)
    with TemporaryDirectory() as cache:
        _, pixels = decode_table(table, backbone.image_size, DiskQuota(Path(cache), 10**10))
        with new_store(backbone, pixels.view(np.arange(len(table)))) as store:
            values = store.features(backbone, [backbone.num_stages])
    assert table.groups is not None
    return Features(values, table.labels, table.groups)


def table_of(name: str) -> ImageTable:
    """A data set; of many classes twenty."""
    folder = SHARED / "data" / name
    with (folder / "meta.csv").open(newline="") as file:
        frame = pd.DataFrame(list(csv.DictReader(file)))
    kept = np.random.default_rng(0).permutation(sorted(frame["class"].unique()))[:_MAX_CLASSES]
    frame = frame[frame["class"].isin(kept)].reset_index(drop=True)
    own = pd.Series([f"own{i}" for i in range(len(frame))])
    frame["group"] = frame["group"].where(frame["group"] != "", own)
    frame["file"] = [str(folder / file) for file in frame["file"]]
    return read_dataset(frame, image="file", label="class", group="group")


def outcomes(name: str, repeat: int, sizes: tuple[int, ...] = SIZES) -> Iterator[dict[str, Any]]:
    """Models of a draw of a data set, as plain values, see :class:`Outcome`."""
    features = features_of(name)
    rng = np.random.default_rng([repeat, SETS.index(name)])
    groups = rng.permutation(np.unique(features.groups))
    is_test = np.isin(features.groups, groups[: round(len(groups) / 3)])
    pool, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    for n in (size for size in sizes if size <= len(pool)):
        drawn = draw_stratified(features.labels, pool, n, np.random.default_rng(repeat))
        yield from _models(name, features, drawn, test, repeat)


def _models(
    name: str,
    features: Features,
    development: NDArray[np.int64],
    test: NDArray[np.int64],
    repeat: int,
) -> Iterator[dict[str, Any]]:
    values, labels = features.values[development], features.labels[development]
    groups = features.groups[development]
    n_classes = int(features.labels.max()) + 1
    test = test[np.isin(features.labels[test], labels)]
    parts = np.full(len(labels), -1, dtype=np.int8)

    def fitted(train: NDArray[np.int64]) -> LinearClassifier:
        return solve_linear(
            *(values[train], labels[train], n_classes),
            head="logistic",
            C="auto",
            balanced=False,
            seed=repeat,
        )

    def right(model: LinearClassifier, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        answers = model.predict_proba(features.values[rows]).argmax(axis=1)
        return (answers == features.labels[rows]).astype(np.float64)

    full = float(right(fitted(np.arange(len(labels))), test).mean())
    for n_folds in N_FOLDS:
        try:
            split = make_split(
                *(np.concatenate([labels, labels[:1]]), _with_one_more(groups)),
                np.concatenate([parts, np.array([2], dtype=np.int8)]),
                seed=repeat,
                n_folds=n_folds,
            )
        except InputError:
            continue  # too few groups
        if len(split.folds) != n_folds:
            continue
        validated = np.concatenate([fold.validation for fold in split.folds])
        models = [fitted(fold.train) for fold in split.folds]
        found = np.concatenate(
            [
                right(model, development[fold.validation])
                for model, fold in zip(models, split.folds, strict=True)
            ]
        )
        first = split.folds[0]
        curve = measure_learning_curve(values, labels, first.train, first.validation, repeat)
        yield asdict(
            Outcome(
                dataset=name,
                n=len(labels),
                repeat=repeat,
                n_folds=n_folds,
                n_train=float(np.mean([len(fold.train) for fold in split.folds])),
                n_validated=len(validated),
                n_groups=len(np.unique(groups[validated])),
                n_test=len(test),
                validated=float(found.mean()),
                design_effect=design_effect(groups[validated], found - found.mean()),
                fold_test=float(np.mean([right(model, test).mean() for model in models])),
                test=full,
                curve_n=list(curve.n_samples),
                curve_accuracy=list(curve.accuracy),
                curve_fitted=[list(point) for point in curve.fitted],
            )
        )


def _with_one_more(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """A sample more, of a group by itself: the test set that a split must have."""
    return np.concatenate([groups, [groups.max() + 1]])
