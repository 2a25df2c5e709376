"""A search's trials, both ways: the same numbers of samples, all seconds counted, ratios."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotl.strategies.base import DivergedError
from studies.reuse import whole
from studies.reuse.whole import LEVERS, compare

SCORES = {("bottleneck", "on"): 0.9, ("finetune", "on"): 0.7, ("finetune", "off"): 0.5}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, clock: Any) -> dict[str, Any]:
    """Two trials of a study; the usual way takes 40, 20, 16 and 8 s, autotl 4 + 6 and 4 + 1 s."""
    seen: dict[str, Any] = {"levers": []}
    usual_s = dict(zip(LEVERS.values(), (40.0, 20.0, 16.0, 8.0), strict=True))
    task = SimpleNamespace(labels=range(100), backbones={})

    def opened(*_: Any) -> Any:
        clock.take(4.0)
        return SimpleNamespace(task=task, profile=None)

    def study(configs: Any, folder: Any, train: Any, validation: Any, *rest: Any) -> Any:
        seen.update(configs=configs, train=train, validation=validation)
        seen["levers"].append(rest[-1])
        return SimpleNamespace(
            outcomes=(SimpleNamespace(score=0.8), None), seconds=usual_s[rest[-1]]
        )

    def score(strategy: str, config: Any, way: str) -> float:
        clock.take(0.5 if way == "on" else 3.0)
        return SCORES.get((strategy, way), 0.0)

    monkeypatch.setattr(whole, "time", clock)
    monkeypatch.setattr(whole, "open_problem", opened)
    monkeypatch.setattr(whole, "shortened", lambda task, *n: seen.update(n=n) or task)
    monkeypatch.setattr(
        whole, "sampled_configs", lambda *_, **__: [("bottleneck", 1), ("finetune", 2)]
    )
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
    assert given["configs"] == [1, 2]


def test_both_ways_learn_from_as_many_samples(given: dict[str, Any]) -> None:
    run(levers=("usual",))
    train, validation = set(given["train"]), set(given["validation"])
    assert given["n"] == (30, 10) == (len(train), len(validation))
    assert not train & validation


def test_a_trial_that_diverges_scores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def run(self, config: Any, task: Any, reporter: Any) -> Any:
            if config == "wild":
                raise DivergedError
            return SimpleNamespace(metrics={"accuracy": 0.6}, score=-1.0)

    monkeypatch.setattr(whole, "STRATEGIES", {"a": Fake()})
    assert [whole._score("a", config, None) for config in ("tame", "wild")] == [0.6, 0.0]
