"""Tasks of the benchmarks: what is kept, what isn't, and how many samples there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from autotl.backbones.zoo import Backbone, open_backbone
from autotl.strategies.base import Task
from studies.reuse.problem import keeping, keeping_nothing, random_weights, shortened

MakeTask = Callable[..., Task]


def test_one_store_keeps_and_the_other_computes_each_time(
    make_task: MakeTask, backbone: Backbone
) -> None:
    task, n_passed = make_task(), {}
    task.store.features(backbone, (5,))
    for make in (keeping, keeping_nothing):
        own = make(task)
        found = [own.store.features(backbone, (5,)) for _ in range(2)]
        np.testing.assert_array_equal(*found)
        n_passed[make] = own.store.meter.n_computed
    assert n_passed == {keeping: 90, keeping_nothing: 180}


def test_a_shortened_task_has_one_fold_of_distinct_samples_of_the_first(
    make_task: MakeTask,
) -> None:
    task = make_task()
    (fold,) = shortened(task, 40, 20).folds
    assert (len(set(fold.train.tolist())), len(set(fold.validation.tolist()))) == (40, 20)
    assert np.isin(fold.train, task.folds[0].train).all()
    assert np.isin(fold.validation, task.folds[0].validation).all()


def test_random_weights_are_made_once_and_open(tmp_path: Path) -> None:
    name = random_weights("resnet10t", tmp_path / "weights")
    (file,) = (tmp_path / "weights").iterdir()
    made = file.stat().st_mtime_ns
    assert random_weights("resnet10t", tmp_path / "weights") == name
    assert file.stat().st_mtime_ns == made
    assert open_backbone(name).architecture == "resnet10t"
