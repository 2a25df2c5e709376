"""Replays on the outcome table: on tables made by hand, whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from autotl.backbones.zoo import EMBEDDED
from autotl.errors import InputError
from studies.outcomes import table
from studies.outcomes.tasks import IMAGENET
from studies.regret import ours, policies, report
from studies.regret.__main__ import main
from studies.regret.experiment import BUDGETS, play, play_all
from studies.regret.problems import (
    REQUIRED,
    UNIT,
    Arm,
    Candidate,
    Problem,
    problems_of,
    read,
)
from studies.regret.registry import POLICIES
from studies.regret.replay import History, Policy, Run, Search, Trace, replay
from studies.regret.tpe import TPE, Space

DATASETS = ("one4", "two4", "three4")
SVM: Arm = (EMBEDDED, "bottleneck", "last_4-svm")
FOREIGN: Arm = (IMAGENET, "finetune", "full-1e-3")
SCRATCH: Arm = (EMBEDDED, "scratch", "whole")
SECONDS = {SVM: 1.0, UNIT: 10.0, FOREIGN: 30.0, SCRATCH: 12.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "bottleneck": {"layers": "last_4", "head": "svm"},
    "finetune": {"lr": 0.001, "freeze_above": None, "epochs": 2},
    "scratch": {"lr": 0.003, "epochs": 2},
}


def row(dataset: str, n_train: int, arm: Arm, **changed: Any) -> dict[str, Any]:
    """A row of the table; an epoch more than a bottleneck has, for networks."""
    backbone, strategy, name = arm
    seconds = changed.pop("seconds", SECONDS.get(arm, 2.0))
    validation = changed.get("validation", 0.5)
    is_network = strategy != "bottleneck"
    right = round(10 * validation)
    return {
        "dataset": dataset,
        "n_train": n_train,
        "backbone": backbone,
        "strategy": strategy,
        "name": name,
        "seed": 0,
        "config": json.dumps(SETTINGS[strategy]),
        "metric": "accuracy",
        "n_development": n_train,
        "state": "complete",
        "validation": validation,
        "test": 0.5,
        "validation_log_loss": 1.0,
        "test_log_loss": 1.0,
        "curve_validation": [validation / 2, validation] if is_network else [validation],
        "curve_seconds": [0.4 * seconds, seconds] if is_network else [seconds],
        "curve_test": [],
        "seconds": seconds,
        "validation_correct": np.array([1] * right + [0] * (10 - right), np.int8).tobytes(),
        "test_correct": b"",
        **changed,
    }


def rows_of(datasets: Sequence[str] = DATASETS, n_train: int = 100) -> list[dict[str, Any]]:
    return [row(dataset, n_train, arm) for dataset in datasets for arm in REQUIRED]


def figures_of(datasets: Sequence[str] = DATASETS, n_train: int = 100) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "dataset": dataset,
                "n_train": n_train,
                "backbone": backbone,
                "n_classes": 4.0,
                "linear_accuracy": accuracy,
            }
            for dataset in datasets
            for backbone, accuracy in ((EMBEDDED, 0.3), (IMAGENET, 0.6))
        ]
    )


def problem_of(own: dict[Arm, dict[str, Any]], n_train: int = 100) -> Problem:
    """The first data set with these arms' values changed or added, the others plain."""
    rows = rows_of(DATASETS[1:], n_train)
    arms = dict.fromkeys([*REQUIRED, *own])
    rows += [row(DATASETS[0], n_train, arm, **own.get(arm, {})) for arm in arms]
    found = problems_of(pd.DataFrame(rows), figures_of(n_train=n_train))
    return next(p for p in found if p.view.dataset == DATASETS[0])


class Scripted(Search):
    """Runs what it is told to, and stops what it is told to after so many epochs."""

    arms: tuple[Arm, ...] = ()
    stopped: dict[Arm, int] = {}  # noqa: RUF012

    def next(self, history: History) -> Candidate | None:
        self.history = history
        by_arm = {c.arm: c for c in self.view.candidates}
        return by_arm[self.arms[len(history)]] if len(history) < len(self.arms) else None

    def stops(
        self,
        candidate: Candidate,
        curve_validation: NDArray[np.float64],
        curve_seconds: NDArray[np.float64],
        history: History,
    ) -> bool:
        assert len(curve_validation) == len(curve_seconds)
        return len(curve_seconds) == self.stopped.get(candidate.arm)


def scripted(*arms: Arm, stopped: dict[Arm, int] | None = None) -> tuple[Policy, list[Any]]:
    made: list[Any] = []

    def make(view: Any, rng: np.random.Generator) -> Search:
        search = Scripted(view, rng)
        search.arms, search.stopped = arms, stopped or {}
        made.append(search)
        return search

    return Policy("scripted", "scripted", make), made


def test_seconds_add_up_and_the_best_by_validation_is_picked() -> None:
    problem = problem_of(
        {
            SVM: {"validation": 0.6, "test": 0.7},
            UNIT: {"validation": 0.8, "test": 0.75},
            SCRATCH: {"validation": 0.7, "test": 0.9},
        }
    )
    policy, _ = scripted(SVM, UNIT, SCRATCH)
    trace = replay(problem, policy)
    assert trace is not None
    assert trace.seconds.tolist() == [1.0, 11.0, 23.0]
    assert trace.scores.tolist() == [0.7, 0.75, 0.75]
    assert trace.arms == (SVM, UNIT, SCRATCH)


def test_the_earlier_of_equals_is_kept() -> None:
    problem = problem_of({SVM: {"test": 0.7}, UNIT: {"test": 0.9}})
    policy, _ = scripted(SVM, UNIT)
    trace = replay(problem, policy)
    assert trace is not None
    assert trace.scores.tolist() == [0.7, 0.7]


def test_until_a_run_has_ended_the_pick_is_a_guess() -> None:
    problem = problem_of({UNIT: {"test": 0.8}})
    assert problem.view.chance == 0.25
    policy, _ = scripted(UNIT)
    trace = replay(problem, policy)
    assert trace is not None
    at = trace.score_at(np.array([0.0, 9.99, 10.0, np.inf]), problem.view.chance)
    assert at.tolist() == [0.25, 0.25, 0.8, 0.8]


def test_a_stopped_run_costs_what_it_took_and_is_not_picked() -> None:
    problem = problem_of(
        {UNIT: {"validation": 0.9, "test": 0.9}, SVM: {"validation": 0.3, "test": 0.6}}
    )
    policy, made = scripted(UNIT, SVM, stopped={UNIT: 1})
    trace = replay(problem, policy)
    assert trace is not None
    assert trace.seconds.tolist() == [4.0, 5.0]
    assert trace.scores.tolist() == [0.25, 0.6]
    first, second = made[0].history
    assert not first.is_complete
    assert first.validation_correct is None
    assert first.validation == first.curve_validation[-1] == 0.45
    assert first.curve_seconds.tolist() == [4.0]
    assert second.is_complete


def test_nothing_is_asked_after_the_last_epoch() -> None:
    problem = problem_of({UNIT: {"test": 0.9}})
    policy, _ = scripted(UNIT, SVM, stopped={UNIT: 2, SVM: 1})
    trace = replay(problem, policy)
    assert trace is not None
    assert trace.seconds.tolist() == [10.0, 11.0]
    assert trace.scores[0] == 0.9


def test_what_ran_is_not_run_again() -> None:
    policy, _ = scripted(SVM, SVM)
    with pytest.raises(InputError, match="run before"):
        replay(problem_of({}), policy)


def test_only_what_is_complete_can_be_picked() -> None:
    class Hasty(Scripted):
        arms = (UNIT, SVM)
        stopped = {UNIT: 1}  # noqa: RUF012

        def pick(self, history: History) -> Candidate | None:
            return history[0].candidate

    with pytest.raises(InputError, match="no complete run"):
        replay(problem_of({}), Policy("hasty", "", Hasty))


def test_a_policy_never_sees_its_own_data_set() -> None:
    rows = rows_of() + rows_of(n_train=300)
    problems = problems_of(pd.DataFrame(rows), figures_of())
    assert len(problems) == 6
    for problem in problems:
        seen = problem.view.others["dataset"]
        assert problem.view.dataset not in set(seen)
        assert set(seen) == set(DATASETS) - {problem.view.dataset}
        assert len(problem.view.others) == 4 * len(REQUIRED)


def test_seconds_are_foretold_by_other_data_sets_of_the_size() -> None:
    rows = [
        *(row("one4", 100, arm, seconds=77.0) for arm in REQUIRED),
        *(row("two4", 100, arm, seconds=4.0, n_development=50) for arm in REQUIRED),
        *(row("three4", 100, arm, seconds=16.0) for arm in REQUIRED),
        *(row("three4", 300, arm, seconds=999.0) for arm in REQUIRED),
        row("one4", 100, (EMBEDDED, "scratch", "sobol-1")),
    ]
    problems = {p.name: p for p in problems_of(pd.DataFrame(rows), figures_of())}
    predicted = {c.arm: c.predicted_s for c in problems["one4-100"].view.candidates}
    # 0.08 s and 0.16 s an image; a config that nobody else has: by its backbone and strategy
    assert predicted == pytest.approx(dict.fromkeys(predicted, 12.0))
    assert (EMBEDDED, "scratch", "sobol-1") in predicted
    # no other data set has this size: by their other sizes
    other = {c.arm: c.predicted_s for c in problems["three4-300"].view.candidates}
    assert other[SVM] == pytest.approx(300 * (0.77 + 0.08) / 2)


def test_a_lonely_data_set_can_be_replayed() -> None:
    (problem,) = problems_of(pd.DataFrame(rows_of(("one4",))), figures_of(("one4",)))
    assert {c.predicted_s for c in problem.view.candidates} == {0.0}
    for policy in POLICIES.values():
        trace = replay(problem, policy)
        assert trace is None or len(trace.arms) >= 1
    assert play(problem, POLICIES["elsewhere"], 1) is None


def test_the_oracle_is_the_best_mean_over_seeds() -> None:
    rows = [
        *rows_of(DATASETS[1:]),
        *(row("one4", 100, arm) for arm in REQUIRED if arm not in (SVM, UNIT)),
        row("one4", 100, SVM, test=0.9, validation=0.4),
        row("one4", 100, SVM, test=0.5, validation=1.0, seed=1, seconds=50.0),
        row("one4", 100, UNIT, test=0.75, validation=0.6),
    ]
    problem = problems_of(pd.DataFrame(rows), figures_of())[0]
    assert problem.oracle == 0.75
    assert problem.outcomes[SVM].test == pytest.approx(0.7)
    assert problem.outcomes[SVM].validation == 0.4
    assert problem.outcomes[SVM].seconds == 1.0
    assert problem.unit_s == 10.0


def test_tasks_without_what_a_replay_needs_are_left_out() -> None:
    more: Arm = (EMBEDDED, "finetune", "bit")
    rows = [*rows_of(), row("one4", 100, more)]
    rows += [row("one4", 300, arm) for arm in REQUIRED[:-1]]
    problems = problems_of(pd.DataFrame(rows), figures_of())
    assert [p.name for p in problems] == ["one4-100", "three4-100", "two4-100"]
    assert {p.name: len(p.view.candidates) for p in problems}["one4-100"] == len(REQUIRED) + 1
    assert all(300 not in set(p.view.others["n_train"]) for p in problems)
    common = problems_of(pd.DataFrame(rows), figures_of(), only_common=True)
    assert {len(p.outcomes) for p in common} == {len(REQUIRED)}
    played = dict(play_all(problems, ["bit-embedded", "svm-embedded"], 2))
    assert list(played["bit-embedded"]) == ["one4-100"]
    assert len(played["svm-embedded"]) == 3


def test_no_task_at_all() -> None:
    assert problems_of(pd.DataFrame(rows_of()[:2]), figures_of()) == []


def runs_at(seed: int, problem: Problem) -> dict[Arm, Run]:
    policy, made = scripted(*(c.arm for c in problem.view.candidates))
    replay(problem, policy, seed, resample=True)
    return {run.candidate.arm: run for run in made[0].history}


def test_resampled_validation_is_the_same_draw_for_all() -> None:
    correct = np.array([-1, 1, 0, 1, 1, 0, 1, 0, 0, 1, -1], np.int8)
    values = {"validation": 5 / 9, "validation_correct": correct.tobytes()}
    opposite = {"validation": 4 / 9, "validation_correct": np.where(correct < 0, -1, 1 - correct)}
    opposite["validation_correct"] = opposite["validation_correct"].astype(np.int8).tobytes()
    problem = problem_of({**{arm: dict(values) for arm in REQUIRED}, SCRATCH: opposite})
    scores = set()
    for seed in range(8):
        runs = runs_at(seed, problem)
        own = runs[SVM].validation_correct
        assert own is not None
        assert (own >= 0).tolist() == (correct >= 0).tolist()
        assert runs[SVM].validation == pytest.approx(own[own >= 0].mean())
        assert runs[UNIT].validation == pytest.approx(runs[SVM].validation)
        assert runs[UNIT].curve_validation[-1] == pytest.approx(runs[UNIT].validation)
        assert runs[SCRATCH].validation == pytest.approx(1 - runs[SVM].validation)
        scores.add(round(runs[SVM].validation, 6))
    assert len(scores) > 2
    assert runs_at(0, problem)[SVM].validation == 5 / 9


def test_time_from_which_the_pick_stays_near_the_best() -> None:
    trace = Trace(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.9, 0.7, 0.9, 0.8]), ())
    assert trace.stays_from(0.75) == 3.0
    assert trace.stays_from(0.6) == 1.0
    assert trace.stays_from(0.85) == float("inf")


def test_regret_is_points_by_budget_in_units() -> None:
    problem = problem_of(
        {SVM: {"validation": 0.2, "test": 0.6}, UNIT: {"validation": 0.9, "test": 0.79}}
        | {SCRATCH: {"test": 0.8, "validation": 0.1}}
    )
    policy, _ = scripted(SVM, SCRATCH, UNIT)
    played = play(problem, policy, 5)
    assert played is not None
    by_budget = dict(zip(BUDGETS, played.regret, strict=True))
    assert by_budget["0.25"] == pytest.approx(20.0)
    assert by_budget["2"] == pytest.approx(20.0)
    assert by_budget["4"] == pytest.approx(1.0)
    assert by_budget["all"] == pytest.approx(1.0)
    assert played.near_from.tolist() == [pytest.approx(2.3)]
    assert played.curve[0] == pytest.approx(55.0)
    assert played.n_runs == 3
    assert played.units == pytest.approx(2.3)


def test_the_size_rule_turns_at_a_thousand() -> None:
    rule = POLICIES["size-rule-embedded"]
    small, large = replay(problem_of({}, 999), rule), replay(problem_of({}, 1000), rule)
    assert small is not None
    assert large is not None
    assert small.arms == (SVM,)
    assert large.arms == (UNIT,)


def test_rates_are_tuned_from_the_usual_one() -> None:
    rates: list[Arm] = [(EMBEDDED, "finetune", f"full-{r}") for r in ("5e-3", "5e-4", "2e-3")]
    trace = replay(problem_of({arm: {} for arm in rates}), POLICIES["full-embedded"])
    assert trace is not None
    assert [arm[2] for arm in trace.arms] == ["full-1e-3", "full-2e-3", "full-5e-4", "full-5e-3"]


@pytest.mark.parametrize("name", ["random", "random-by-strategy", "tpe-flat", "tpe-grouped"])
def test_searches_of_the_whole_space_run_all_once_and_vary_by_seed(name: str) -> None:
    more: dict[Arm, dict[str, Any]] = {(EMBEDDED, "finetune", f"sobol-{k}"): {} for k in range(9)}
    problem = problem_of(more)
    traces = [replay(problem, POLICIES[name], seed) for seed in (0, 0, 1)]
    arms = [trace.arms for trace in traces if trace is not None]
    assert set(arms[0]) == set(problem.outcomes)
    assert len(arms[0]) == len(problem.outcomes)
    assert arms[0] == arms[1]
    assert arms[0] != arms[2]


def test_answers_that_seeds_and_budgets_share_are_those_they_would_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = [(EMBEDDED, "finetune", f"sobol-{k}") for k in range(5)]
    problem = problem_of(
        {arm: {"validation": 0.5 + 0.1 * k, "test": 0.4 + 0.1 * k} for k, arm in enumerate(drawn)}
    )
    shared = play(problem, POLICIES["autotl-untaught"], 3)
    monkeypatch.setattr(ours.Ours, "_once", lambda self, what, history, answer: answer())
    alone = play(problem, POLICIES["autotl-untaught"], 3)
    assert repr(shared) == repr(alone)


def test_random_by_strategy_takes_strategies_alike_however_many_configs_they_have() -> None:
    more: dict[Arm, dict[str, Any]] = {(EMBEDDED, "finetune", f"sobol-{k}"): {} for k in range(60)}
    view = problem_of(more).view
    firsts = {"shuffled": 0, "by_strategy": 0}
    for seed in range(200):
        for name in firsts:
            order = getattr(policies, name)(view, np.random.default_rng(seed))
            firsts[name] += order[0].strategy == "finetune"
    assert firsts["shuffled"] > 170
    assert 40 < firsts["by_strategy"] < 95


def test_ranked_elsewhere_by_lead_and_blind_to_the_own_test() -> None:
    rows = rows_of()
    for entry in rows:
        # the second set is harder: by mean score alone what only it lacks would lead
        hard = 0.4 if entry["dataset"] == "two4" else 0.0
        lead = 0.1 * (entry["strategy"] == "bottleneck") * (entry["backbone"] == IMAGENET)
        entry["test"] = 0.6 - hard + lead
        if entry["dataset"] == "one4":
            entry["test"] = 0.99 if entry["strategy"] == "scratch" else 0.1
    rows.append(row("three4", 100, (EMBEDDED, "finetune", "bit"), test=0.62))
    rows.append(row("one4", 100, (EMBEDDED, "finetune", "bit")))
    problem = problems_of(pd.DataFrame(rows), figures_of())[0]
    order = policies.elsewhere(problem.view, np.random.default_rng(0))
    assert [c.arm for c in order[:2]] == [
        (IMAGENET, "bottleneck", "last_4-svm"),
        (EMBEDDED, "finetune", "bit"),
    ]
    trace = replay(problem, POLICIES["untrained"])
    assert trace is not None
    assert trace.arms == ((IMAGENET, "bottleneck", "last_4-svm"),)
    turned = figures_of()
    turned["linear_accuracy"] = 1 - turned["linear_accuracy"]
    trace = replay(problems_of(pd.DataFrame(rows), turned)[0], POLICIES["untrained"])
    assert trace is not None
    assert trace.arms == ((EMBEDDED, "finetune", "bit"),)


def candidate(strategy: str, backbone: str = EMBEDDED, **settings: Any) -> Candidate:
    return Candidate(backbone, strategy, str(settings), json.dumps(settings), 1.0)


def test_the_space_is_what_varies() -> None:
    space = Space.of(
        (
            candidate("finetune", lr=0.001, depth=0, above=None, decay=0.0, mirror=True, same=3),
            candidate("finetune", lr=0.01, depth=4, above=3, decay=0.02, mirror=False, same=3),
            candidate(
                "finetune", IMAGENET, lr=0.01, depth=2, above=2, decay=0.2, mirror=True, same=3
            ),
            candidate("bottleneck", head="svm"),
            candidate("bottleneck", head="logistic"),
        )
    )
    assert space.strategies == ("bottleneck", "finetune")
    ranges: dict[str, Any] = dict(space.parameters["finetune"])
    assert set(ranges) == {"lr", "depth", "above", "decay", "mirror"}
    assert (ranges["lr"].low, ranges["lr"].high, ranges["lr"].log) == (0.001, 0.01, True)
    assert (ranges["depth"].low, ranges["depth"].high, ranges["depth"].log) == (0.0, 4.0, False)
    assert (ranges["above"].low, ranges["above"].high) == (2.0, 4.0)
    assert (ranges["decay"].low, ranges["decay"].high, ranges["decay"].log) == (0.02, 0.2, True)
    zero = candidate("finetune", lr=0.001, depth=0, above=None, decay=0.0, mirror=True, same=3)
    assert space.values_of(zero) == {
        "lr": 0.001,
        "depth": 0,
        "above": 4.0,
        "decay": 0.02,
        "mirror": True,
    }


def test_nearest_is_by_strategy_then_backbone_then_parameters() -> None:
    known = (
        candidate("finetune", lr=0.001),
        candidate("finetune", lr=0.01),
        candidate("finetune", lr=0.1),
        candidate("finetune", IMAGENET, lr=0.01),
        candidate("scratch", lr=0.01),
        candidate("scratch", IMAGENET, lr=0.02),
    )
    space = Space.of(known)

    def order(strategy: str, backbone: str, lr: float) -> list[int]:
        far = [space.distance(c, strategy, backbone, {"lr": lr}) for c in known]
        return np.argsort(far, kind="stable").tolist()

    # on a log scale 0.04 is nearer to 0.1 than to 0.01
    assert order("finetune", EMBEDDED, 0.04) == [2, 1, 0, 3, 4, 5]
    assert order("scratch", IMAGENET, 0.01) == [5, 4, 3, 0, 1, 2]


@pytest.mark.parametrize("is_grouped", [False, True])
def test_tpe_learns_where_it_is_good(is_grouped: bool) -> None:
    rates = np.geomspace(1e-4, 1e-1, 80)
    own: dict[Arm, dict[str, Any]] = {
        (EMBEDDED, strategy, f"sobol-{k}"): {
            "validation": 0.9 - 0.1 * abs(np.log10(rate / 1e-3)) if strategy == "scratch" else 0.2,
            "config": json.dumps({"lr": float(rate), "epochs": 2}),
        }
        for strategy in ("scratch", "finetune")
        for k, rate in enumerate(rates)
    }
    problem = problem_of(own)
    candidates = tuple(c for c in problem.view.candidates if c.arm in own)
    narrow = Problem(replace(problem.view, candidates=candidates), problem.outcomes)
    policy = Policy("tpe", "", lambda v, rng: TPE(v, rng, is_grouped))
    trace = replay(narrow, policy, 3)
    assert trace is not None
    early, late = trace.arms[:10], trace.arms[20:50]
    assert sum(arm[1] == "scratch" for arm in late) / 30 > 0.7
    assert {arm[1] for arm in early} == {"scratch", "finetune"}
    scores = [own[arm]["validation"] for arm in late if arm[1] == "scratch"]
    assert np.mean(scores) > np.mean([v["validation"] for a, v in own.items() if a[1] == "scratch"])


def test_intervals_resample_data_sets_and_not_tasks() -> None:
    values = np.array([[0.0], [0.0], [0.0], [0.0], [10.0], [10.0], [10.0], [10.0]])
    low, high = report.interval(values, ["a"] * 4 + ["b"] * 4)
    assert (low[0], high[0]) == (0.0, 10.0)
    low, high = report.interval(values, list("abcdefgh"))
    assert 0.5 < low[0] < 5.0 < high[0] < 9.5
    assert np.isnan(report.interval(values, ["a"] * 8)[0]).all()


def results_of(test: float, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    problems = [problem_of({UNIT: {"test": test}})]
    made_on = report.header(problems, resample=False, only_common=False)
    fresh = {
        name: report.summary(name, played, made_on, 2)
        for name, played in play_all(problems, names, 2)
    }
    return made_on, fresh


def test_results_of_other_policies_are_kept_unless_the_table_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "regret.json"
    made_on, fresh = results_of(0.8, ["full-embedded", "svm-embedded"])
    results, dropped = report.merge(made_on, fresh, file)
    assert dropped == []
    file.write_text(json.dumps(results))
    again, dropped = report.merge(*results_of(0.8, ["scratch"]), file)
    assert set(again["policies"]) == {"full-embedded", "svm-embedded", "scratch"}
    assert dropped == []
    other, dropped = report.merge(*results_of(0.9, ["scratch"]), file)
    assert set(other["policies"]) == {"scratch"}
    assert dropped == ["svm-embedded", "full-embedded"]
    assert again["policies"]["full-embedded"]["mean"]["4"] == 0.0
    assert again["policies"]["svm-embedded"]["worst"]["4"] == pytest.approx(30.0)


def test_differences_are_paired_by_task() -> None:
    made_on, fresh = results_of(0.8, ["full-embedded", "svm-embedded"])
    apart = report.differences({**made_on, "policies": fresh}, "svm-embedded")
    assert list(apart) == ["full-embedded"]
    assert apart["full-embedded"]["0.25"][0] == pytest.approx(25.0)
    assert apart["full-embedded"]["1"][0] == pytest.approx(-30.0)


def write_lines(folder: Path, rows: list[dict[str, Any]]) -> None:
    for entry in rows:
        name = table.unit_file(entry["dataset"], entry["n_train"], entry["backbone"])
        restored = {
            **entry,
            "validation_correct": np.frombuffer(entry["validation_correct"], np.int8),
            "test_correct": np.zeros(0, np.int8),
        }
        with (folder / name).open("a") as file:
            file.write(table.to_line(restored) + "\n")


def test_a_work_folder_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    rows = rows_of()
    rows[0]["validation"] = 0.1
    write_lines(tmp_path, rows)
    write_lines(tmp_path, [{**rows[0], "validation": 0.3}])
    write_lines(tmp_path, [{**rows[1], "state": "diverged", "seed": 5}])
    with (tmp_path / "one4-100-embedded.jsonl").open("a") as file:
        file.write('{"dataset": "on')
    frame = read(tmp_path)
    assert len(frame) == len(rows)
    assert len(problems_of(frame, figures_of())) == 3
    assert problems_of(frame, figures_of())[0].outcomes[UNIT].validation == 0.3
    with pytest.raises(InputError, match="no lines"):
        read(tmp_path / "nothing")


def test_the_command_keeps_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    write_lines(work, rows_of())
    common = ["--work", str(work), "--out", str(out), "--seeds", "3"]
    main([*common, "--policy", "random", "svm-embedded"])
    main([*common, "--policy", "full-embedded", "bit-embedded"])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert set(figures["mean_regret"]) == {"random", "svm-embedded", "full-embedded"}
    assert figures["n_tasks"] == 3
    assert "svm-embedded" in figures["less_random"]
    written = json.loads((out / "regret.json").read_text())
    assert written["policies"]["random"]["seeds"] == 3
    assert written["policies"]["svm-embedded"]["seeds"] == 1
    assert (out / "regret.png").stat().st_size > 1000


def test_at_least_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seeds", "0"])
    assert "--seeds" in capsys.readouterr().err


def test_the_command_without_a_whole_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path, rows_of()[:2])
    main(["--work", str(tmp_path), "--out", str(tmp_path)])
    assert "skipped" in json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert not (tmp_path / "regret.json").exists()
