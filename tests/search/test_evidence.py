"""What is run after the search, and what is run where the search found nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from search_helpers import SpyRun, result_of

import autotl.search.evidence as evidence_module
from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import NEVER, Deadline
from autotl.search.evidence import Evidence, gather_evidence, worth_of
from autotl.search.finalists import MAX_ROUNDS, ROUNDS_OF_A_COUNTED_SEARCH
from autotl.search.records import TrialStore
from autotl.strategies.base import Task, TrialRecord


@pytest.fixture
def gather(
    task: Task, make_profile: Callable[..., DatasetProfile], tmp_path: Path
) -> Callable[..., Evidence]:
    """Gathers from trials that are saved first: strategy and share that is right."""

    def gather(*trials: tuple[str, float | None], **changes: Any) -> Evidence:
        store = TrialStore(tmp_path / "trials")
        for number, (strategy, share) in enumerate(trials):
            result = None if share is None else result_of(task, share)
            state = "failed" if share is None else "complete"
            config = {"backbone": "embedded"}
            store.save(TrialRecord(number, strategy, config, state, 1.0, result=result))
        values: dict[str, Any] = {
            "strategies": ("bottleneck", "finetune"),
            "n_trials": None,
            "deadline": NEVER,
            "interrupted": False,
        }
        return gather_evidence(
            store.folder,
            task=task,
            profile=make_profile(next(iter(task.backbones))),
            fit_run=SpyRun(),
            progress=Progress(),
            **values | changes,
        )

    return gather


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the repeats were asked for, in place of running them."""
    calls: list[dict[str, Any]] = []

    def repeat(finalists: Any, *arguments: Any, **options: Any) -> bool:
        calls.append({"numbers": [f.number for f in finalists], **options})
        return True

    monkeypatch.setattr(evidence_module, "repeat_finalists", repeat)
    return calls


def test_finalists_are_run_again(
    gather: Callable[..., Evidence], repeated: list[dict[str, Any]]
) -> None:
    found = gather(("finetune", 0.9), ("bottleneck", 0.9))
    assert repeated == [{"numbers": [0], "max_rounds": MAX_ROUNDS}]
    assert [r.number for r in found.records] == [0, 1]
    assert found.notes == ("there was no time to run the best trials with other seeds",)
    gather(("finetune", 0.9), ("bottleneck", 0.9), n_trials=2)
    assert repeated[1]["max_rounds"] == ROUNDS_OF_A_COUNTED_SEARCH


def test_after_an_interrupt_nothing_is_run(
    gather: Callable[..., Evidence], repeated: list[dict[str, Any]]
) -> None:
    found = gather(("finetune", 0.9), ("bottleneck", 0.9), interrupted=True)
    assert found.interrupted
    assert repeated == []
    assert gather(("finetune", None), interrupted=True).records[0].result is None


def test_where_no_rival_is_near_nothing_is_said_of_seeds(
    gather: Callable[..., Evidence], repeated: list[dict[str, Any]]
) -> None:
    assert gather(("bottleneck", 0.9)).notes == ()
    assert repeated == []


def test_if_no_trial_finished_a_plain_bottleneck_model_is_made(
    gather: Callable[..., Evidence], tmp_path: Path, task: Task
) -> None:
    found = gather(("finetune", None), ("bottleneck", None), deadline=Deadline.after(0.0))
    last = found.records[-1]
    assert (last.number, last.strategy, last.state) == (2, "bottleneck", "complete")
    assert (last.config["layers"], last.config["head"]) == ("last", "svm")
    assert last.result is not None
    assert "last resort" in found.notes[0]
    store = TrialStore(tmp_path / "trials")
    assert store.load_model(store.load()[-1]) is not None


def test_there_is_no_last_resort_where_the_bottleneck_is_not_allowed(
    gather: Callable[..., Evidence],
) -> None:
    found = gather(("finetune", None), strategies=("finetune",))
    assert len(found.records) == 1
    assert found.notes == ()


@pytest.fixture
def profile(task: Task, make_profile: Callable[..., DatasetProfile]) -> DatasetProfile:
    return make_profile(next(iter(task.backbones)))


def test_what_settings_like_it_reached_is_in_what_a_trial_is_worth(
    task: Task, profile: DatasetProfile
) -> None:
    """Equal scores: a recipe that did well on other data sets is worth more than draws."""
    common = {"backbone": "embedded"}
    records = [
        TrialRecord(0, "finetune", common, "complete", 1.0, result=result_of(task, 0.6)),
        TrialRecord(
            1,
            "finetune",
            common,
            "complete",
            1.0,
            result=result_of(task, 0.6),
            recipe="full-2e-3",
        ),
        TrialRecord(2, "finetune", common, "failed", 1.0),
    ]
    worth = worth_of(records, task, profile)
    assert worth.keys() == {0, 1}
    assert 0.3 < worth[0] < worth[1] < 0.9
    assert worth_of(records[2:], task, profile) == {}


def test_further_seeds_count_in_what_a_trial_is_worth_once_their_round_is_whole(
    task: Task, profile: DatasetProfile
) -> None:
    def run(number: int, share: float, repeat: int = 0) -> TrialRecord:
        result = result_of(task, share)
        common = {"backbone": "embedded"}
        return TrialRecord(
            number, "finetune", common, "complete", 1.0, result=result, repeat=repeat
        )

    records = [run(0, 0.9), run(1, 0.8)]
    first = worth_of(records, task, profile)
    half = [run(0, 0.5, 1)]
    waiting = TrialRecord(1, "finetune", {}, "interrupted", 1.0, repeat=1)
    assert worth_of(records, task, profile, [*half, waiting]) == first
    both = worth_of(records, task, profile, [*half, run(1, 0.8, 1)])
    assert first[0] > first[1]
    assert both[0] < both[1]
