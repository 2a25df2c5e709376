"""What fixed views cost: the variants as they are called, runs made once, means over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotl.backbones.speed import Speed
from autotl.strategies.base import Task
from studies.reuse import views
from studies.reuse.views import table


@pytest.mark.parametrize(
    ("variant", "policy", "mirror", "n_views"),
    [("none", "none", False, 0), ("maps", "maps", True, 0), ("medium/8", "medium", True, 8)],
)
def test_a_variant_s_name_says_how_it_is_trained(
    variant: str,
    policy: str,
    mirror: bool,
    n_views: int,
    monkeypatch: pytest.MonkeyPatch,
    make_task: Callable[..., Task],
) -> None:
    def run(config: Any, task: Task, reporter: Any) -> Any:
        assert (config.augmentation, config.mirror, config.n_views) == (policy, mirror, n_views)
        assert (config.freeze_depth, config.epochs, task.seed) == (4, views.EPOCHS, 7)
        return SimpleNamespace(score=0.25)

    monkeypatch.setattr(views, "STRATEGIES", {"finetune": SimpleNamespace(run=run)})
    assert views._accuracy(make_task(), 4, variant, 7) == 0.25


def test_means_over_seeds_of_runs_that_are_made_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[tuple[Any, ...]] = []

    def accuracy(task: str, *key: Any) -> float:
        made.append((task, *key))
        return {"none": 0.1, "light": 0.3}[key[1]] + 0.2 * key[2] + 0.01 * key[0]

    monkeypatch.setattr(views, "VARIANTS", ("none", "light"))
    monkeypatch.setattr(views, "DEPTHS", [2, 4])
    monkeypatch.setattr(views, "real_folder", lambda name: tmp_path / name if "1" in name else None)
    monkeypatch.setattr(views, "_task", lambda folder, cache: folder.name)
    monkeypatch.setattr(views, "_accuracy", accuracy)
    known = {"data": "clothing10", "depth": 2, "variant": "none", "seed": 1, "accuracy": 0.9}
    (tmp_path / "views.jsonl").write_text(json.dumps(known) + "\n")
    found = table(tmp_path, quick=False)
    assert found == {
        f"{name}, depth {depth}": {
            "none": pytest.approx(
                0.51 if (name, depth) == ("clothing10", 2) else 0.2 + 0.01 * depth
            ),
            "light": pytest.approx(0.4 + 0.01 * depth),
        }
        for name in ("clothing10", "omniglot136")
        for depth in (2, 4)
    }
    assert len(made) == len(set(made)) == 15
    assert table(tmp_path, quick=False) == found
    assert len(made) == 15


def test_quick_is_one_run_of_each_variant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(views, "real_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(views, "_task", lambda folder, cache: None)
    monkeypatch.setattr(views, "_accuracy", lambda *_: 0.5)
    assert table(tmp_path, quick=True) == {
        "clothing10, depth 4": dict.fromkeys(views.VARIANTS, 0.5)
    }
    lines = (tmp_path / "views.jsonl").read_text().splitlines()
    assert [json.loads(line)["variant"] for line in lines] == list(views.VARIANTS)


def test_a_task_s_pictures_have_their_own_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for i in range(20):
        (tmp_path / "data" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), 200 * (i % 2) + i).save(
            tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        )
    monkeypatch.setattr(views, "N_TRAIN", 10)
    monkeypatch.setattr(views, "N_TEST", 6)
    monkeypatch.setattr(views, "measure_speed", lambda *_: Speed("fp32", False, (0.0,), (0.0,)))
    task = views._task(tmp_path / "data", tmp_path)
    (backbone,) = task.backbones.values()
    (fold,) = task.folds
    assert (len(fold.train), len(fold.validation)) == (10, 6)
    assert not set(fold.train) & set(fold.validation)
    shown = task.pixels(backbone.image_size)[np.arange(16)].mean(axis=(1, 2, 3))
    np.testing.assert_array_equal(shown > 100, task.labels == 1)
    assert len(np.unique(shown)) == 16
