from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial, TrialState, create_trial
from search_helpers import Scripted

from autotl.errors import InputError
from autotl.progress import Progress
from autotl.search.plan import ARM, STATE, STRATEGY
from autotl.search.records import RUNNING, TrialStore
from autotl.search.study import StudySpec, create_study, run_worker
from autotl.search.takeover import MAX_KILLS
from autotl.search.warm_start import ORIGIN, WarmTrial, release
from autotl.strategies import STRATEGIES
from autotl.strategies.base import Task
from autotl.tracking.base import NullFitRun

Script = Callable[..., dict[str, Scripted]]
MakeSpec = Callable[..., StudySpec]
MakeProfile = Callable[..., Any]
FAIL = TrialState.FAIL


def study_of(spec: StudySpec) -> optuna.Study:
    return optuna.load_study(study_name=spec.name, storage=spec.storage)


def waiting(spec: StudySpec) -> list[optuna.trial.FrozenTrial]:
    return study_of(spec).get_trials(states=(TrialState.WAITING,))


def warm_trial(profile: Any) -> WarmTrial:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    config = STRATEGIES["scratch"].suggest(study.ask(), profile)
    return WarmTrial("scratch", config, "earlier", 0.25)


@pytest.fixture
def resumed(make_spec: MakeSpec, make_profile: MakeProfile) -> Callable[..., StudySpec]:
    """A study that was made, got these trials, and goes on."""

    def make(*trials: dict[str, Any], max_epochs: int = 8) -> StudySpec:
        spec: StudySpec = make_spec()
        create_study(spec, make_profile(max_epochs=8))
        for values in trials:
            study_of(spec).add_trial(create_trial(**values))
        spec = replace(spec, is_resumed=True)
        create_study(spec, make_profile(max_epochs=max_epochs))
        return spec

    return make


def recipe(state: str, name: str = "whole", **attributes: Any) -> dict[str, Any]:
    return {
        "state": TrialState.COMPLETE if state == "complete" else FAIL,
        "value": 0.5 if state == "complete" else None,
        "system_attrs": {ARM: ["scratch", name, "embedded"]},
        "user_attrs": {STATE: state, **attributes},
    }


def test_a_study_that_goes_on_keeps_its_trials(
    script: Script, task: Task, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    script()
    spec, profile = make_spec(n_trials=3), make_profile()
    create_study(spec, profile)
    assert run_worker(spec, task, profile, NullFitRun(), Progress())
    before = study_of(spec).trials
    more = replace(spec, is_resumed=True, n_trials=5, seed=1)
    create_study(more, profile)
    assert [trial.params for trial in study_of(spec).trials] == [trial.params for trial in before]
    assert run_worker(more, task, profile, NullFitRun(), Progress())
    states = [trial.state for trial in study_of(spec).trials]
    assert states == [TrialState.COMPLETE] * 5


@pytest.mark.parametrize("state", ["unaffordable", "deadline", "interrupted"])
def test_a_recipe_without_a_result_gets_another_turn(
    state: str, resumed: Callable[..., StudySpec], make_profile: MakeProfile
) -> None:
    spec = resumed(recipe("complete", "shallow-1"), recipe(state), recipe("failed", "shallow-2"))
    for _ in range(2):  # the second time it waits already
        (again,) = waiting(spec)
        assert again.system_attrs[ARM] == ["scratch", "whole", "embedded"]
        create_study(spec, make_profile())
    study = study_of(spec)
    study.tell(study.ask(), 0.5)
    create_study(spec, make_profile())
    assert waiting(spec) == []


def kill(spec: StudySpec, config: dict[str, Any] | None = None) -> optuna.trial.FrozenTrial:
    """What a killed process leaves: a trial that runs, here the one that waits, or a new one."""
    study = study_of(spec)
    trial = study.ask()
    trial.suggest_categorical(STRATEGY, spec.strategies)
    trial.suggest_float("scratch.lr", 3e-4, 1e-2, log=True)
    if config is not None:
        trial.set_user_attr("config", config)
    return study.trials[trial.number]


def test_what_a_process_was_killed_in_is_run_again_as_it_was(
    resumed: Callable[..., StudySpec], make_profile: MakeProfile
) -> None:
    spec = resumed(recipe("complete", "shallow-1"))
    killed = kill(spec)
    create_study(spec, make_profile())
    (again,) = waiting(spec)
    assert again.number == killed.number
    assert again.params == killed.params
    assert study_of(spec).ask().number == killed.number
    assert len(study_of(spec).trials) == 2


def test_what_kills_its_process_again_and_again_has_failed(
    resumed: Callable[..., StudySpec], make_profile: MakeProfile
) -> None:
    spec = resumed()
    for n_kills in range(1, MAX_KILLS):
        kill(spec, {"backbone": "embedded"})
        create_study(spec, make_profile())
        assert len(waiting(spec)) == 1, n_kills
    number = kill(spec, {"backbone": "embedded"}).number
    create_study(spec, make_profile())
    assert waiting(spec) == []
    (record,) = TrialStore(spec.folder / "trials").load()
    assert (record.number, record.state) == (number, "failed")
    assert record.error is not None
    assert "killed in it 3 times" in record.error
    trial = study_of(spec).trials[number]
    assert (trial.state, trial.user_attrs["error"]) == (FAIL, record.error)


def test_a_trial_that_gets_further_each_time_is_run_again(
    resumed: Callable[..., StudySpec], make_profile: MakeProfile
) -> None:
    spec = resumed()
    for epoch in range(2 * MAX_KILLS):
        trial = kill(spec, {"backbone": "embedded"})
        study_of(spec)._storage.set_trial_intermediate_value(trial._trial_id, epoch, 0.5)
        create_study(spec, make_profile())
        assert len(waiting(spec)) == 1


def test_states_of_trials_that_do_not_go_on_are_deleted(
    resumed: Callable[..., StudySpec], make_profile: MakeProfile
) -> None:
    spec = resumed(recipe("complete"))
    trial = kill(spec)
    running = spec.folder / "trials" / RUNNING
    for number in (0, trial.number):
        (running / f"{number:05d}").mkdir(parents=True)
    create_study(spec, make_profile())
    assert [folder.name for folder in running.iterdir()] == [f"{trial.number:05d}"]


def test_drawn_settings_get_no_other_turn(resumed: Callable[..., StudySpec]) -> None:
    assert waiting(resumed(recipe("deadline", "drawn"))) == []


def test_a_warm_start_waits_for_a_first_result_and_is_as_it_was(
    make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec, profile = make_spec(), make_profile(max_epochs=9)
    warm = warm_trial(profile)
    create_study(spec, profile, [warm])
    study = study_of(spec)
    release(study)
    assert waiting(spec) == []
    study.add_trial(create_trial(**recipe("failed")))
    release(study)
    assert waiting(spec) == []
    study.add_trial(create_trial(**recipe("complete")))
    for _ in range(2):
        release(study)
        (held,) = waiting(spec)
    assert held.user_attrs == dict(zip(ORIGIN, ("earlier", 0.25), strict=True))
    params = held.system_attrs["fixed_params"]
    assert params.pop(STRATEGY) == "scratch"
    assert STRATEGIES["scratch"].suggest(FixedTrial(params), profile) == warm.config  # type: ignore[arg-type]


@pytest.mark.parametrize("is_released", [False, True])
def test_a_warm_start_that_waits_gets_the_epochs_of_now(
    is_released: bool, make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec, profile = make_spec(), make_profile(max_epochs=9)
    create_study(spec, profile, [warm_trial(profile)])
    study_of(spec).add_trial(create_trial(**recipe("complete")))
    if is_released:
        release(study_of(spec))
    create_study(replace(spec, is_resumed=True), make_profile(max_epochs=40))
    release(study_of(spec))
    (held,) = waiting(spec)
    assert held.system_attrs["fixed_params"]["scratch.epochs"] == 40
    study = study_of(spec)
    trial = study.ask()  # not affordable after all
    trial.set_user_attr(STATE, "unaffordable")
    study.tell(trial, state=FAIL)
    create_study(replace(spec, is_resumed=True), make_profile(max_epochs=4))
    (again,) = waiting(spec)
    assert again.system_attrs["fixed_params"]["scratch.epochs"] == 4
    assert again.user_attrs == dict(zip(ORIGIN, ("earlier", 0.25), strict=True))


def test_other_choices_than_before_are_refused_by_name(
    make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec = make_spec()
    create_study(spec, make_profile())
    choices = study_of(spec).user_attrs["autotl.choices"]
    choices["scratch.mirror"] = [False]
    study_of(spec).set_user_attr("autotl.choices", choices)
    with pytest.raises(InputError) as refused:
        create_study(replace(spec, is_resumed=True), make_profile())
    assert "scratch.mirror: were [False], are [False, True]" in str(refused.value)
    assert str(refused.value).count("\n") == 1


def test_a_study_of_that_name_gives_way_to_a_new_one(
    make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec = make_spec()
    create_study(spec, make_profile())
    study_of(spec).add_trial(create_trial(**recipe("complete")))
    create_study(spec, make_profile())
    assert study_of(spec).trials == []
