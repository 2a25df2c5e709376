"""Who is run again, with which seeds, in which order, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_helpers import Scripted, ScriptedConfig, SpyRun, result_of

import autotl.search.finalists as finalists_module
from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import NEVER, Deadline
from autotl.search.finalists import (
    MAX_FINALISTS,
    MAX_ROUNDS,
    choose_finalists,
    repeat_finalists,
)
from autotl.search.records import TrialStore
from autotl.strategies.base import DivergedError, Reporter, Task, TrialRecord, TrialResult


def record(
    task: Task, number: int, strategy: str, share: float | None, seconds: float = 1.0
) -> TrialRecord:
    return TrialRecord(
        number=number,
        strategy=strategy,
        config={"backbone": "embedded", "x": 0.5},
        state="failed" if share is None else "complete",
        seconds=seconds,
        result=None if share is None else result_of(task, share),
    )


def chosen(task: Task, *trials: tuple[str, float | None], **values: Any) -> list[int]:
    records = [record(task, i, name, share) for i, (name, share) in enumerate(trials)]
    found = choose_finalists(records, task.labels, task.metric, **values)
    return [record.number for record in found]


def test_the_best_of_each_trained_strategy_comes_first_then_runners_up(task: Task) -> None:
    trials = [("finetune", 0.8), ("finetune", 0.85), ("scratch", 0.82), ("bottleneck", 0.9)]
    assert chosen(task, *trials) == [1, 2, 0]


def test_what_is_far_behind_or_did_not_finish_is_no_finalist(task: Task) -> None:
    trials = [("finetune", 0.9), ("scratch", 0.2), ("scratch", None), ("finetune", 0.88)]
    assert chosen(task, *trials) == [0, 3]


def test_there_are_so_many_finalists_at_most(task: Task) -> None:
    assert len(chosen(task, *[("finetune", 0.8)] * 9)) == MAX_FINALISTS


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [("finetune", None)],
        [("finetune", 0.9)],
        [("finetune", 0.95), ("bottleneck", 0.2)],
        [("bottleneck", 0.9), ("bottleneck", 0.9)],
    ],
)
def test_without_a_rival_nothing_is_run_again(trials: list[Any], task: Task) -> None:
    assert chosen(task, *trials) == []


def test_a_single_trained_trial_is_set_against_a_solved_one(task: Task) -> None:
    assert chosen(task, ("finetune", 0.9), ("bottleneck", 0.9)) == [0]


def test_what_a_trial_is_worth_ranks_it(task: Task) -> None:
    trials = [("finetune", 0.9), ("finetune", 0.8)]
    assert chosen(task, *trials) == [0, 1]
    assert chosen(task, *trials, worth={0: 0.7}) == [1, 0]


def test_a_score_that_is_not_a_number_is_passed_over(task: Task) -> None:
    bad = record(task, 0, "finetune", 0.9)
    assert bad.result is not None
    bad = replace(bad, result=replace(bad.result, score=float("nan")))
    records = [bad, record(task, 1, "finetune", 0.8), record(task, 2, "scratch", 0.8)]
    assert [r.number for r in choose_finalists(records, task.labels, task.metric)] == [1, 2]


class Runs:
    """Runs finalists with scripted strategies, and notes which ran with which seed."""

    def __init__(
        self, task: Task, profile: DatasetProfile, folder: Path, patch: pytest.MonkeyPatch
    ) -> None:
        self.task = task
        self.profile = profile
        self.store = TrialStore(folder)
        self.spy = SpyRun()
        self.ran: list[tuple[str, int]] = []
        self.behave: Callable[[str, int], None] = lambda name, seed: None
        names = ("finetune", "scratch")
        scripts = {name: Scripted(name, self._behaviour(name)) for name in names}
        patch.setattr(finalists_module, "STRATEGIES", scripts)

    def _behaviour(self, name: str) -> Callable[[ScriptedConfig, Task, Reporter], TrialResult]:
        def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
            reporter.check()
            self.ran.append((name, task.seed))
            self.behave(name, task.seed)
            return result_of(task, 0.6 + 0.05 * task.seed, model=object())

        return behave

    def __call__(
        self, *finalists: TrialRecord, deadline: Deadline = NEVER, max_rounds: int = 2
    ) -> bool:
        return repeat_finalists(
            finalists,
            self.task,
            self.profile,
            self.store,
            self.spy,
            deadline,
            Progress(),
            max_rounds,
        )

    @property
    def kept(self) -> list[tuple[int, int, str]]:
        return [(r.number, r.repeat, r.state) for r in self.store.load()]


@pytest.fixture
def runs(
    task: Task,
    make_profile: Callable[..., DatasetProfile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Runs:
    return Runs(replace(task, seed=3), make_profile(), tmp_path / "repeats", monkeypatch)


@pytest.fixture
def pair(task: Task) -> list[TrialRecord]:
    return [record(task, 4, "finetune", 0.9), record(task, 2, "scratch", 0.9)]


def test_each_round_gives_every_finalist_one_more_seed(runs: Runs, pair: list[TrialRecord]) -> None:
    assert runs(*pair)
    assert runs.ran == [("finetune", 4), ("scratch", 4), ("finetune", 5), ("scratch", 5)]
    assert runs.kept == [
        (2, 1, "complete"),
        (2, 2, "complete"),
        (4, 1, "complete"),
        (4, 2, "complete"),
    ]
    first = runs.store.load()[0]
    assert first.result is not None
    assert first.result.score == pytest.approx(0.8, abs=0.02)
    assert first.config == pair[1].config


def test_repeats_are_recorded_under_their_seed(runs: Runs, pair: list[TrialRecord]) -> None:
    runs(*pair, max_rounds=1)
    started = [call for call in runs.spy.calls if call[0] == "start"]
    assert [(call[1], call[2]) for call in started] == [(4, "finetune"), (2, "scratch")]
    assert next(iter(started[0][3].items())) == ("seed", 4)


def test_a_repeat_that_diverges_is_an_outcome(runs: Runs, pair: list[TrialRecord]) -> None:
    def behave(name: str, seed: int) -> None:
        if (name, seed) == ("scratch", 4):
            raise DivergedError("the loss is nan")

    runs.behave = behave
    assert runs(*pair, max_rounds=1)
    assert runs.kept == [(2, 1, "failed"), (4, 1, "complete")]
    assert runs.store.load()[0].error == "the loss is nan"


def test_an_interrupt_ends_it_and_is_told(runs: Runs, pair: list[TrialRecord]) -> None:
    def behave(name: str, seed: int) -> None:
        raise KeyboardInterrupt

    runs.behave = behave
    assert not runs(*pair)
    assert runs.kept == [(4, 1, "interrupted")]


def test_a_round_that_does_not_fit_into_the_time_is_not_begun(runs: Runs, task: Task) -> None:
    slow = [
        record(task, 0, "finetune", 0.9, seconds=60.0),
        record(task, 1, "scratch", 0.9, seconds=50.0),
    ]
    assert runs(*slow, deadline=Deadline.after(100.0))
    assert runs.ran == []


def test_runners_up_are_left_out_where_time_is_short(runs: Runs, task: Task) -> None:
    finalists = [
        record(task, 0, "finetune", 0.9, seconds=10.0),
        record(task, 1, "scratch", 0.9, seconds=10.0),
        record(task, 2, "finetune", 0.9, seconds=30.0),
    ]
    runs(*finalists, deadline=Deadline.after(60.0), max_rounds=1)
    assert [(number, repeat) for number, repeat, _ in runs.kept] == [(0, 1), (1, 1)]


def test_what_a_store_holds_is_not_run_again(runs: Runs, pair: list[TrialRecord]) -> None:
    runs(*pair, max_rounds=1)
    runs.ran.clear()
    runs(*pair, max_rounds=2)
    assert runs.ran == [("finetune", 5), ("scratch", 5)]


def test_models_of_repeats_are_not_kept(runs: Runs, pair: list[TrialRecord]) -> None:
    runs(*pair)
    assert not list(runs.store.folder.glob("*.safetensors"))


def test_there_is_an_end_without_a_deadline(runs: Runs, pair: list[TrialRecord]) -> None:
    runs(*pair, max_rounds=MAX_ROUNDS)
    assert len(runs.ran) == 2 * MAX_ROUNDS
    assert np.unique([seed for _, seed in runs.ran]).tolist() == [4, 5, 6, 7]
