from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from search_helpers import Scripted, ScriptedConfig, SpyRun, result_of

import autotl.search.study as study_module
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.plan import STATE
from autotl.search.published import close
from autotl.search.storage import open_storage
from autotl.search.study import StudySpec, create_study, run_worker
from autotl.search.takeover import hand_back
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
    for strategy in strategies.values():
        strategy.cost_s = 2_000.0
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
    assert len(trials_of(spec)) == 1


def test_draws_that_do_not_fit_into_the_time_left_end_the_search(
    script: Script,
    task: Task,
    make_spec: MakeSpec,
    make_profile: MakeProfile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is drawn is dearer here than the typical settings that were priced."""
    script()
    monkeypatch.setattr(
        Scripted, "cost", lambda _, config, task: 1.0 if config.x == 0.5 else 5_000.0
    )
    spec = make_spec(n_trials=None, strategies=("scratch",), deadline=Deadline.after(100.0))
    assert len(search(spec, task, make_profile())) == 1
    states = [trial.user_attrs[STATE] for trial in trials_of(spec)]
    assert states == ["complete", *["unaffordable"] * study_module._MAX_PASSED_OVER]


def test_the_search_ends_when_nothing_can_be_expected_of_it(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    """Perfect scores of each strategy, and time without end; a number of trials is kept to."""
    notes: list[str] = []

    class Listening(Progress):
        def note(self, message: str) -> None:
            notes.append(message)

    def perfect(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        return result_of(task, 1.0)

    script(bottleneck=perfect, finetune=perfect, scratch=perfect)
    spec = make_spec(n_trials=None, deadline=Deadline.after(10_000.0))
    create_study(spec, make_profile())
    assert run_worker(spec, task, make_profile(), NullFitRun(), Listening())
    assert 3 <= len(trials_of(spec)) < 60
    assert "the search ends here" in notes[-1]
    more = make_spec(name="more", n_trials=70, deadline=Deadline.after(10_000.0))
    assert len(search(replace(more, folder=more.folder / "more"), task, make_profile())) == 70


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
    """Trials take next to no time here: the first is believed by half, the second by more."""

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
    assert predicted[0] == 40.0
    assert 6.2 < predicted[1] < 20.0
    assert 5.0 <= predicted[2] < predicted[1]


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


def test_a_trial_that_is_interrupted_elsewhere_waits_for_another_worker(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    calls: list[ScriptedConfig] = []

    def interrupt_once(config: ScriptedConfig, task: Task, _: Reporter) -> TrialResult:
        calls.append(config)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return result_of(task, 0.5)

    script(finetune=interrupt_once)
    spec, profile = make_spec(strategies=("finetune",), n_trials=2), make_profile()
    create_study(spec, profile)
    arguments = (spec, task, profile, NullFitRun(), Progress())
    assert not run_worker(*arguments, is_elsewhere=True)
    assert [trial.state for trial in trials_of(spec)] == [TrialState.WAITING]
    assert run_worker(*arguments)
    records = study_module.TrialStore(spec.folder / "trials").load()
    assert [record.state for record in records] == ["complete", "complete"]
    assert calls[0] == calls[1]


def test_a_worker_elsewhere_drops_what_was_given_to_another_and_leaves_when_it_is_closed(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec, profile = make_spec(strategies=("finetune",), n_trials=3), make_profile()
    storage = open_storage(spec.storage)

    def lose(config: ScriptedConfig, task: Task, _: Reporter) -> TrialResult:
        trial_id = storage.get_all_trials(storage.get_study_id_from_name(spec.name))[0]._trial_id
        hand_back(storage, trial_id)
        close(storage, spec.name)
        return result_of(task, 0.5)

    script(finetune=lose)
    create_study(spec, profile)
    assert run_worker(spec, task, profile, NullFitRun(), Progress(), is_elsewhere=True)
    assert [trial.state for trial in trials_of(spec)] == [TrialState.WAITING]
    assert study_module.TrialStore(spec.folder / "trials").load() == []


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
    assert len(records) >= 4  # of 3 strategies with 2 configs
    assert all(len({c.x for c in s.ran}) == len(s.ran) for s in strategies.values())
    states = [t.user_attrs.get("state") for t in trials_of(spec)]
    assert states.count("repeated") >= study_module._MAX_PASSED_OVER
