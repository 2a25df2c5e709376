from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, TrialState
from search_helpers import NAMES, Scripted, ScriptedConfig, SpyRun, result_of

import autotl.search.study as study_module
from autotl.analysis.rules import triggered
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.sampler import STRATEGY
from autotl.search.study import StudySpec, create_study, first_trials, run_worker
from autotl.strategies import STRATEGIES
from autotl.strategies.base import Reporter, Task, TrialRecord, TrialResult
from autotl.tracking.base import NullFitRun

Script = Callable[..., dict[str, Scripted]]
MakeSpec = Callable[..., StudySpec]
MakeProfile = Callable[..., Any]


def search(spec: StudySpec, task: Task, profile: Any, worker: int = 0) -> list[TrialRecord]:
    """Make the study and run one worker to the end."""
    if worker == 0:
        create_study(spec, profile)
    assert run_worker(spec, task, profile, NullFitRun(), Progress(), worker)
    return study_module.TrialStore(spec.folder / "trials").load()


def trials_of(spec: StudySpec) -> list[Any]:
    return optuna.load_study(study_name=spec.name, storage=spec.storage).trials


@pytest.mark.parametrize("n_samples", [90, 5_000])
def test_first_trials_are_one_of_each_strategy_and_then_the_rules(
    n_samples: int, make_profile: MakeProfile
) -> None:
    profile = make_profile(n_samples=n_samples, max_epochs=7)
    found = first_trials(NAMES, profile)
    assert [params[STRATEGY] for params in found[:3]] == ["bottleneck", "finetune", "scratch"]
    for rule, _ in triggered(profile):
        wanted = rule.first_trial
        assert any(wanted.items() <= params.items() for params in found), rule.name
    assert len(found) == len({tuple(sorted(params.items())) for params in found})
    assert all(params[f"{params[STRATEGY]}.backbone"] == "embedded" for params in found)
    assert {p[f"{p[STRATEGY]}.epochs"] for p in found if p[STRATEGY] != "bottleneck"} == {7}
    rates = [params.get("finetune.lr_ratio") for params in found if params[STRATEGY] == "finetune"]
    assert {0.1, 1.0} <= set(rates)


def test_of_several_backbones_all_get_a_bottleneck_and_the_closest_one_the_rest(
    make_profile: MakeProfile,
) -> None:
    far, close = make_profile(similarity=0.3), make_profile(similarity=0.7)
    candidates = {"far": far.backbones["embedded"], "close": close.backbones["embedded"]}
    found = first_trials(NAMES, replace(far, backbones=candidates))
    first = [(params[STRATEGY], params[f"{params[STRATEGY]}.backbone"]) for params in found]
    assert first[:4] == [
        ("bottleneck", "far"),
        ("bottleneck", "close"),
        ("finetune", "close"),
        ("scratch", "close"),
    ]
    assert {backbone for _, backbone in first[2:]} == {"close"}


def test_rules_that_do_not_apply_are_not_tried(make_profile: MakeProfile) -> None:
    few, many = (
        first_trials(NAMES, make_profile()),
        first_trials(NAMES, make_profile(n_samples=500_000, n_parameters=1_000)),
    )
    shallower = [p for p in few if p.get("scratch.n_removed") == 1]
    assert shallower
    assert not [p for p in many if p.get("scratch.n_removed") == 1]


def test_first_trials_are_of_the_wanted_strategies_only(make_profile: MakeProfile) -> None:
    assert {p[STRATEGY] for p in first_trials(("scratch",), make_profile())} == {"scratch"}


def test_suggest_knows_every_parameter_of_the_first_trials(make_profile: MakeProfile) -> None:
    """A misspelt one would be drawn at random instead, and nobody would notice."""
    profile = make_profile(max_epochs=8)
    for params in first_trials(NAMES, profile):
        strategy = STRATEGIES[params[STRATEGY]]
        asked: dict[str, BaseDistribution] = {}

        class Spy(FixedTrial):
            def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
                asked[name] = distribution  # noqa: B023
                if name not in self._params:
                    return (
                        distribution.to_external_repr(0.0)
                        if hasattr(distribution, "choices")
                        else distribution.low
                    )  # type: ignore[attr-defined]
                return super()._suggest(name, distribution)

        strategy.suggest(Spy(params), profile)  # type: ignore[arg-type]
        own = set(params) - {STRATEGY}
        assert own <= asked.keys()
        for name in own:
            assert asked[name]._contains(asked[name].to_internal_repr(params[name])), name


def test_the_first_trials_run_first_and_as_they_were_enqueued(
    task: Task, make_spec: MakeSpec, make_profile: MakeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[dict[str, Any]] = []

    def run_trial(trial: optuna.Trial, strategy: Any, config: Any, task: Task, *rest: Any) -> Any:
        ran.append(dict(trial.params))
        return TrialRecord(
            trial.number, strategy.name, {}, "complete", 0.1, result=result_of(task, 0.5)
        )

    monkeypatch.setattr(study_module, "run_trial", run_trial)
    name = next(iter(task.backbones))
    profile = make_profile(name)
    wanted = first_trials(NAMES, profile)
    search(make_spec(n_trials=len(wanted)), task, profile)
    assert len(ran) == len(wanted)
    for params, enqueued in zip(ran, wanted, strict=True):
        assert enqueued.items() <= params.items()


@pytest.mark.parametrize("n_trials", [1, 4, 9])
def test_the_number_of_trials_is_respected(
    n_trials: int, script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    strategies = script()
    records = search(make_spec(n_trials=n_trials), task, make_profile())
    assert len(records) == n_trials
    assert sum(len(strategy.ran) for strategy in strategies.values()) == n_trials


def test_a_second_worker_adds_nothing_to_a_study_that_is_done(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    script()
    spec = make_spec(n_trials=4)
    search(spec, task, make_profile())
    assert len(search(spec, task, make_profile(), worker=1)) == 4


def test_workers_draw_differently(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    numbers = itertools.count()

    def x_of(worker: int) -> float:
        strategies = script()
        spec = make_spec(
            name=f"w{worker}", folder=make_spec().folder / str(next(numbers)), n_trials=1
        )
        create_study(spec, make_profile())
        assert run_worker(spec, task, make_profile(), NullFitRun(), Progress(), worker)
        return strategies["bottleneck"].ran[0].x

    assert x_of(0) == x_of(0 + 0)
    assert x_of(1) != x_of(0)


def test_with_no_time_at_all_there_is_one_finished_bottleneck_trial(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    strategies = script()
    strategies["bottleneck"].cost_s = 1_000.0
    spec = make_spec(n_trials=None, deadline=Deadline.after(0.0))
    (record,) = search(spec, task, make_profile())
    assert (record.strategy, record.state) == ("bottleneck", "complete")


def test_if_the_first_trial_fails_without_time_the_search_still_ends(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    def fail(*_: Any) -> TrialResult:
        raise MemoryError

    script(bottleneck=fail, finetune=fail, scratch=fail)
    records = search(make_spec(n_trials=None, deadline=Deadline.after(0.0)), task, make_profile())
    assert [record.state for record in records] == ["failed"]


def test_proposals_that_do_not_fit_into_the_time_left_end_the_search(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    strategies = script()
    for strategy in strategies.values():
        strategy.cost_s = 1_000.0
    spec = make_spec(n_trials=None, deadline=Deadline.after(100.0))
    records = search(spec, task, make_profile())
    assert [record.strategy for record in records] == ["bottleneck"]  # the one that must be
    others = trials_of(spec)[1:]
    begun = [t for t in others if t.state != TrialState.WAITING]
    assert len(begun) == study_module._MAX_PASSED_OVER
    assert {t.user_attrs["state"] for t in begun} == {"unaffordable"}


def test_a_strategy_that_is_too_dear_leaves_the_time_to_the_others(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    strategies = script()
    strategies["scratch"].cost_s = 1_000.0
    records = search(make_spec(n_trials=12, deadline=Deadline.after(100.0)), task, make_profile())
    assert len(records) == 12
    assert {record.strategy for record in records} == {"bottleneck", "finetune"}


def test_a_trial_gets_no_more_time_than_the_final_fit_leaves_it(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    def stop_late(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        reporter.check()
        return result_of(task, 0.5)

    strategies = script(finetune=stop_late)
    strategies["finetune"].cost_s = 40.0
    spec = make_spec(n_trials=2, deadline=Deadline.after(100.0))
    # 90 samples, folds of 60 + 60: the final fit takes 3/4 of 40 s, and 6 s are for the closing.
    _, second = search(spec, task, make_profile())
    assert second.state == "complete"
    late = replace(spec, name="late", folder=spec.folder / "late", deadline=Deadline.after(75.0))
    records = search(late, task, make_profile())
    assert "finetune" not in {record.strategy for record in records}


def test_predictions_are_corrected_by_the_trials_before(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    """Trials take no time here, an eighth at least is expected; what was predicted is kept."""

    def last(spec: StudySpec, profile: Any) -> tuple[list[TrialRecord], list[float]]:
        spy = SpyRun()
        create_study(spec, profile)
        assert run_worker(spec, task, profile, spy, Progress())
        figures = [call[2] for call in spy.calls if call[0] == "end"]
        return (
            study_module.TrialStore(spec.folder / "trials").load(),
            [found["predicted_seconds"] for found in figures],
        )

    strategies = script()
    strategies["finetune"].cost_s = 40.0
    records, predicted = last(make_spec(strategies=("finetune",), n_trials=3), make_profile())
    assert [record.cost_s for record in records] == [40.0, 40.0, 40.0]
    assert predicted == [40.0, 5.0, 5.0]


def test_a_trial_that_others_show_to_be_cheaper_is_begun(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    strategies = script()
    strategies["finetune"].cost_s = 80.0  # 6 s for the closing, 3/4 of it for the final fit
    spec = make_spec(strategies=("finetune",), n_trials=3, deadline=Deadline.after(60.0))
    records = search(spec, task, make_profile())
    assert len(records) == 3  # the first one is begun in any case


def test_an_interrupt_ends_the_worker_and_keeps_what_was_found(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    def interrupt(*_: Any) -> TrialResult:
        raise KeyboardInterrupt

    script(finetune=interrupt)
    spec = make_spec()
    create_study(spec, make_profile())
    assert not run_worker(spec, task, make_profile(), NullFitRun(), Progress())
    records = study_module.TrialStore(spec.folder / "trials").load()
    assert [record.state for record in records] == ["complete", "interrupted"]


def test_clearly_worse_trials_of_a_strategy_are_pruned(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    def curve(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        for epoch in range(1, 5):
            reporter.report(epoch / 5, config.x * epoch / 5, {})
        return result_of(task, config.x)

    script(finetune=curve)
    spec = make_spec(strategies=("finetune",), n_trials=20)
    records = search(spec, task, make_profile())
    pruned = [record for record in records if record.state == "pruned"]
    assert pruned
    assert len(pruned) < 15
    finished = [record.config["x"] for record in records if record.state == "complete"]
    assert max(record.config["x"] for record in pruned) < max(finished)


def test_the_name_of_a_study_whose_folder_was_deleted_can_be_used_again(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    script()
    spec = make_spec(n_trials=2)
    search(spec, task, make_profile())
    again = replace(spec, folder=spec.folder.with_name("again"), n_trials=3)
    assert len(search(again, task, make_profile())) == 3


def test_a_study_says_which_data_it_is_about(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    script()
    spec = make_spec(n_trials=1)
    search(spec, task, make_profile())
    study = optuna.load_study(study_name=spec.name, storage=spec.storage)
    assert study.user_attrs["autotl.fingerprint"] == make_profile().fingerprint
    assert study.direction.name == "MAXIMIZE"


def test_a_config_that_has_ended_is_not_run_again(
    script: Script,
    task: Task,
    make_spec: MakeSpec,
    make_profile: MakeProfile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategies = script()
    monkeypatch.setattr(
        Scripted,
        "suggest",
        lambda self, trial, _: ScriptedConfig(
            backbone="embedded", x=trial.suggest_categorical(f"{self.name}.x", (0.25, 0.75))
        ),
    )
    spec = make_spec(n_trials=20)
    records = search(spec, task, make_profile())
    assert len(records) == 6  # 3 strategies with 2 configs
    assert all(len({c.x for c in s.ran}) == len(s.ran) == 2 for s in strategies.values())
    states = [t.user_attrs.get("state") for t in trials_of(spec)]
    assert states.count("repeated") >= study_module._MAX_PASSED_OVER
