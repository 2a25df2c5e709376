"""A search's trials, both ways: the same numbers of samples, all seconds counted, ratios."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl.data import Fold
from autotl.strategies.base import DivergedError, StrategyConfig
from autotl.strategies.bottleneck import BottleneckConfig
from autotl.strategies.finetune import FinetuneConfig
from autotl.strategies.scratch import ScratchConfig
from studies.reuse import whole
from studies.reuse.alike import alike
from studies.reuse.whole import LEVERS, compare, kind_of

SCORES = {("bottleneck", "on"): 0.9, ("finetune", "on"): 0.7, ("finetune", "off"): 0.5}
TRAINING = {
    "backbone": "embedded",
    "lr": 1e-3,
    "epochs": 2,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "augmentation": "light",
    "mirror": True,
    "balanced": False,
    "mix": "mixup",
}
DEVELOPMENT = np.setdiff1d(np.arange(100), np.arange(0, 100, 7))  # the others are the test part
FOLD = Fold(np.arange(0, 60, 2), np.arange(1, 20, 2))


def finetune(**values: Any) -> FinetuneConfig:
    return FinetuneConfig(
        **TRAINING | {"freeze_depth": 2, "lr_ratio": 0.3, "head": "random"} | values
    )


CONFIGS: list[tuple[str, StrategyConfig]] = [
    (
        "bottleneck",
        BottleneckConfig(backbone="embedded", layers="last", head="svm", balanced=False),
    ),
    ("finetune", finetune()),
]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, clock: Any) -> dict[str, Any]:
    """Two trials of a study; the usual way takes 40, 20, 16 and 8 s, autotl 4 + 6 and 4 + 1 s."""
    seen: dict[str, Any] = {"levers": [], "targets": [k % 10 for k in range(100)]}
    usual_s = dict(zip(LEVERS.values(), (40.0, 20.0, 16.0, 8.0), strict=True))
    labels = DEVELOPMENT % 10
    task = SimpleNamespace(labels=labels, backbones={}, folds=(FOLD,))

    def opened(*_: Any) -> Any:
        clock.take(4.0)
        return SimpleNamespace(task=task, profile=None, development=DEVELOPMENT)

    def study(configs: Any, folder: Any, train: Any, validation: Any, *rest: Any) -> Any:
        seen.update(configs=configs, train=train, validation=validation)
        seen["levers"].append(rest[-1])
        return SimpleNamespace(
            outcomes=(SimpleNamespace(score=0.8), None),
            trial_seconds=(0.25 * usual_s[rest[-1]], 0.75 * usual_s[rest[-1]]),
            seconds=usual_s[rest[-1]],
        )

    def score(strategy: str, config: Any, way: str) -> float:
        clock.take(0.5 if way == "on" else 3.0)
        return SCORES.get((strategy, way), 0.0)

    monkeypatch.setattr(whole, "time", clock)
    monkeypatch.setattr(whole, "open_problem", opened)
    monkeypatch.setattr(whole, "shortened", lambda task, *n: seen.update(n=n) or task)
    monkeypatch.setattr(whole, "sampled_configs", lambda *_, **__: CONFIGS)
    monkeypatch.setattr(whole, "ImageFolder", lambda _: SimpleNamespace(targets=seen["targets"]))
    monkeypatch.setattr(whole, "study", study)
    monkeypatch.setattr(whole, "keeping", lambda _: "on")
    monkeypatch.setattr(whole, "keeping_nothing", lambda _: "off")
    monkeypatch.setattr(whole, "_score", score)
    return seen


def run(**changes: Any) -> dict[str, dict[str, Any]]:
    sizes = {"n_trials": 2, "n_train": 30, "n_validation": 10, "max_epochs": 2} | changes
    rows = compare(Path(), "embedded", Path(), **sizes)
    return {row["way"]: row for row in rows}


def test_seconds_ratios_and_scores_of_every_way(given: dict[str, Any]) -> None:
    rows = run()
    seconds = {way: row["seconds"] for way, row in rows.items()}
    assert seconds == {
        "usual": 40.0,
        "decoded once": 20.0,
        "augmented in batches": 16.0,
        "measured precision": 8.0,
        "autotl, no store": 10.0,  # what preparing takes included
        "autotl": 5.0,
    }
    assert {way: row["ratio"] for way, row in rows.items()} == {
        way: 40.0 / taken for way, taken in seconds.items()
    }
    assert rows["usual"]["mean_accuracy"] == 0.4  # what diverged scores 0
    assert rows["autotl"]["mean_accuracy"] == pytest.approx(0.8)
    assert rows["autotl"]["best_accuracy"] == 0.9
    assert given["levers"] == list(LEVERS.values())
    assert given["configs"] == [alike(config) for _, config in CONFIGS]


def test_each_kind_of_trial_has_its_seconds_and_scores(given: dict[str, Any]) -> None:
    rows = run(levers=("usual",))
    assert rows["usual"]["kinds"] == {
        "bottleneck": {"trials": 1, "seconds": 10.0, "mean_accuracy": 0.8},
        "finetune, new views": {"trials": 1, "seconds": 30.0, "mean_accuracy": 0.0},
    }
    assert rows["autotl"]["trials"] == [
        ["bottleneck", 0.5, 0.9],
        ["finetune, new views", 0.5, 0.7],
    ]


def test_both_ways_learn_from_the_same_samples(given: dict[str, Any]) -> None:
    run(levers=("usual",))
    assert given["n"] == (30, 10)
    assert given["train"] == DEVELOPMENT[FOLD.train].tolist()
    assert given["validation"] == DEVELOPMENT[FOLD.validation].tolist()


def test_a_folder_in_another_order_is_refused(given: dict[str, Any]) -> None:
    given["targets"] = given["targets"][::-1]
    with pytest.raises(ValueError, match="sorted"):
        run(levers=("usual",))


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (finetune(), "finetune, new views"),
        (finetune(n_views=8), "finetune, the same views"),
        (finetune(augmentation="none"), "finetune, the same views"),
        (finetune(freeze_depth=0, augmentation="none"), "finetune, nothing frozen"),
        (ScratchConfig(**TRAINING, n_removed=1), "scratch"),
    ],
)
def test_kinds_are_told_by_what_can_be_kept(config: StrategyConfig, kind: str) -> None:
    assert kind_of(config) == kind


def test_a_trial_that_diverges_scores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def run(self, config: Any, task: Any, reporter: Any) -> Any:
            if config == "wild":
                raise DivergedError
            return SimpleNamespace(metrics={"accuracy": 0.6}, score=-1.0)

    monkeypatch.setattr(whole, "STRATEGIES", {"a": Fake()})
    assert [whole._score("a", config, None) for config in ("tame", "wild")] == [0.6, 0.0]
