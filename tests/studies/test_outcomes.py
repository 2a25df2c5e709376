"""The outcome table: valid configs, honest measurement, rows that survive an interrupted run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotl.backbones.zoo import EMBEDDED, Backbone
from autotl.metrics import resolve_metric
from autotl.strategies.base import Task
from studies.outcomes import measure as measuring
from studies.outcomes import table
from studies.outcomes.configs import FIRST, Entry, entries
from studies.outcomes.measure import measure
from studies.outcomes.tasks import SHARED, SOURCES, OutcomeTask, TaskName, open_task

MakeTask = Callable[..., Task]


@pytest.mark.parametrize("num_stages", [2, 5, 8])
def test_every_task_has_forty_configs_and_all_recipes(num_stages: int) -> None:
    made = entries(EMBEDDED, num_stages, 12, is_imbalanced=False)
    assert len(made) >= 40
    assert len({(entry.strategy, entry.name) for entry in made}) == len(made)
    names = {entry.name for entry in made}
    assert {"bit", "fastai", "lp-ft", "tenth", "shallow-1", "last_4-svm", "full-1e-3"} <= names
    assert set(FIRST[EMBEDDED]) <= names
    for entry in made:
        if entry.strategy == "finetune":
            assert 0 <= entry.config.freeze_depth <= num_stages
            above = entry.config.freeze_above
            assert above is None or entry.config.freeze_depth < above <= num_stages


def test_configs_are_the_same_each_time() -> None:
    first, again = (entries(EMBEDDED, 5, 12, is_imbalanced=True) for _ in range(2))
    assert first == again


@pytest.fixture
def opened(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> OutcomeTask:
    """Sixty development samples and thirty test ones, of which ten are watched."""
    monkeypatch.setattr(measuring, "WATCHED_TEST", 10)
    task = make_task()
    development = np.arange(60)
    folds = tuple(
        dataclasses.replace(
            fold,
            train=fold.train[fold.train < 60],
            validation=fold.validation[fold.validation < 60],
        )
        for fold in task.folds
    )
    task = dataclasses.replace(task, folds=folds)
    return OutcomeTask(
        task=task,
        development=development,
        test=np.arange(60, 90),
        metric=resolve_metric("accuracy", task.labels),
        forward_s=1e-6,
    )


def entry_of(backbone: Backbone, name: str, strategy: str, **changed: Any) -> Entry:
    (found,) = (
        entry
        for entry in entries(EMBEDDED, backbone.num_stages, 3, is_imbalanced=False)
        if (entry.strategy, entry.name) == (strategy, name)
    )
    config = found.config.model_copy(update={"backbone": backbone.name, **changed})
    return dataclasses.replace(found, config=config)


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("bottleneck", "all-svm"),
        ("finetune", "full-1e-3"),
        ("finetune", "fastai"),
        ("scratch", "shallow-1"),
    ],
)
def test_scores_are_those_of_the_parts(
    opened: OutcomeTask, backbone: Backbone, strategy: str, name: str
) -> None:
    found = measure(entry_of(backbone, name, strategy), opened, 0)
    assert found["state"] == "complete"
    n_folds = len(opened.task.folds)
    right = found["validation_correct"]
    validated = right >= 0
    assert validated.sum() == sum(len(fold.validation) for fold in opened.task.folds)
    assert found["validation"] == pytest.approx(right[validated].mean())
    assert found["test"] == pytest.approx(found["test_correct"].mean() / n_folds)
    assert len(found["curve_validation"]) == len(found["curve_test"]) == len(found["curve_seconds"])
    assert (np.diff(found["curve_seconds"]) >= 0).all()


def test_test_labels_change_no_validation_score(opened: OutcomeTask, backbone: Backbone) -> None:
    labels = opened.task.labels.copy()
    labels[60:] = (labels[60:] + 1) % 3
    other = dataclasses.replace(opened, task=dataclasses.replace(opened.task, labels=labels))
    entry = entry_of(backbone, "lp-ft", "finetune")
    first, second = measure(entry, opened, 0), measure(entry, other, 0)
    np.testing.assert_array_equal(first["validation_correct"], second["validation_correct"])
    assert first["validation"] == second["validation"]


def test_rows_survive_lines_and_the_file(
    opened: OutcomeTask, backbone: Backbone, tmp_path: Path
) -> None:
    found = measure(entry_of(backbone, "full-1e-3", "finetune"), opened, 0)
    key = ("trashnet6", 300, EMBEDDED, "finetune", "full-1e-3", 0)
    row = {**dict(zip(table.KEY, key, strict=True)), "weights_hash": "x", "config": "{}", **found}
    failed = {**row, "seed": 1, "state": "diverged"}
    failed = {k: v for k, v in failed.items() if k not in found or k == "state"}
    lines = [table.to_line(row), table.to_line(failed)]
    rows = table.from_lines(iter([*lines, lines[0][:50]]))
    assert len(rows) == 2
    file = tmp_path / "table.parquet"
    table.write(rows, file)
    frame = table.read(file)
    assert len(frame) == 1
    np.testing.assert_array_equal(
        table.correct_of(frame["test_correct"].iloc[0]), found["test_correct"]
    )
    table.restore(tmp_path, file)
    restored = table.from_lines((tmp_path / table.unit_file(*key[:3])).open())
    assert [table.key_of(r) for r in restored] == [key, (*key[:-1], 1)]
    assert restored[0]["test_correct"] == rows[0]["test_correct"]
    np.testing.assert_allclose(restored[0]["curve_test"], found["curve_test"], atol=1e-5)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="../shared/data is absent")
@pytest.mark.parametrize(
    "dataset", [pytest.param("weather4", marks=pytest.mark.slow), "fsdd_spectrograms10"]
)
def test_test_sets_are_fixed_and_share_no_group(dataset: str, tmp_path: Path) -> None:
    small, large = (
        open_task(TaskName(dataset, n), EMBEDDED, tmp_path / "cache") for n in (100, 300)
    )
    pixels = [o.task.pixels(64)[o.test] for o in (small, large)]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert 95 <= len(small.development) <= 100
    for fold in small.task.folds:
        assert not set(fold.train) & set(fold.validation)
        assert max(fold.validation.max(), fold.train.max()) < len(small.development)
    assert SOURCES[dataset].test in ("random", "groups")
