from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from search_helpers import NAMES, Scripted

from autotl.errors import InputError
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.sampler import STRATEGY
from autotl.search.study import StudySpec, create_study, first_trials, run_worker
from autotl.search.warm_start import WarmTrial
from autotl.strategies import STRATEGIES
from autotl.strategies.base import Task
from autotl.tracking.base import NullFitRun

Script = Callable[..., dict[str, Scripted]]
MakeSpec = Callable[..., StudySpec]
MakeProfile = Callable[..., Any]


def study_of(spec: StudySpec) -> optuna.Study:
    return optuna.load_study(study_name=spec.name, storage=spec.storage)


def enqueued(spec: StudySpec, *, waiting: bool = False) -> list[dict[str, Any]]:
    return [
        trial.system_attrs["fixed_params"]
        for trial in study_of(spec).trials
        if not waiting or trial.state == TrialState.WAITING
    ]


def test_a_study_that_goes_on_keeps_its_trials_and_its_queue(
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
    assert states.count(TrialState.COMPLETE) == 5
    assert states[:5] == [TrialState.COMPLETE] * 5


def test_first_trials_that_wait_get_the_epochs_of_now(
    make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec = make_spec()
    for max_epochs in (8, 40, 2):
        create_study(replace(spec, is_resumed=max_epochs != 8), make_profile(max_epochs=max_epochs))
        assert enqueued(spec) == first_trials(NAMES, make_profile(max_epochs=max_epochs))


def test_first_trials_that_the_time_did_not_allow_get_another_turn_once(
    make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec, few, many = make_spec(), make_profile(max_epochs=3), make_profile(max_epochs=9)
    config = first_warm(few)
    create_study(spec, few, [config])
    n_first = len(study_of(spec).trials)
    n_waiting = n_first
    study = study_of(spec)
    for number in range(n_first):  # the second one and the last are passed over
        trial = study.ask()
        if number in (1, n_first - 1):
            trial.set_user_attr("state", "unaffordable")
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, 0.5)
    for _ in range(2):  # the second time finds them waiting
        create_study(replace(spec, is_resumed=True), many)
        again = [t for t in study_of(spec).trials if t.state == TrialState.WAITING]
        assert len(again) == 2
        assert again[0].system_attrs["fixed_params"] == first_trials(NAMES, many)[1]
        assert again[1].user_attrs == {"warm_start": "earlier", "warm_start_distance": 0.25}
        assert again[1].system_attrs["fixed_params"]["scratch.epochs"] == 9
    while any(trial.state == TrialState.WAITING for trial in study.trials):
        study.tell(study.ask(), 0.5)
    n_all = len(study.trials)
    create_study(replace(spec, is_resumed=True), many)
    assert len(study_of(spec).trials) == n_all == n_waiting + 2


def first_warm(profile: Any) -> WarmTrial:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    config = STRATEGIES["scratch"].suggest(study.ask(), profile)
    return WarmTrial("scratch", config, "earlier", 0.25)


def test_a_warm_trial_is_tried_after_the_rules_as_it_is(
    make_spec: MakeSpec, make_profile: MakeProfile
) -> None:
    spec, profile = make_spec(), make_profile(max_epochs=9)
    warm = first_warm(profile)
    create_study(spec, profile, [warm])
    *rules, last = enqueued(spec)
    assert rules == first_trials(NAMES, profile)
    fixed = optuna.trial.FixedTrial(last)
    assert last[STRATEGY] == "scratch"
    assert STRATEGIES["scratch"].suggest(fixed, profile) == warm.config  # type: ignore[arg-type]


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
    spec = make_spec(deadline=Deadline(None))
    create_study(spec, make_profile())
    study_of(spec).ask()
    create_study(spec, make_profile())
    assert enqueued(spec, waiting=True) == first_trials(NAMES, make_profile())
