"""A study that goes on: its trials stay, and what a killed process left half done is closed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from autotl.analysis.profile import DatasetProfile
from autotl.errors import InputError
from autotl.search.knowledge import DRAWN
from autotl.search.objective import BOUND, OPTUNA_STATES, RUN
from autotl.search.plan import (
    ARM,
    COST,
    SECONDS,
    STATE,
    STRATEGY,
    UNAFFORDABLE,
    arm_of,
    strategy_of,
)
from autotl.search.records import TrialStore
from autotl.search.signs import DEAD_S, forget, signs
from autotl.search.space import choices_of, within
from autotl.search.storage import open_storage, patiently
from autotl.search.warm_start import HELD, ORIGIN
from autotl.strategies.base import Strategy, TrialRecord

if TYPE_CHECKING:
    from autotl.search.study import StudySpec

_WITHOUT_RESULT = (UNAFFORDABLE, "deadline", "interrupted")
_KILLS = "killed"
"""The user attribute that counts how often in a row a trial was killed at the same epoch."""
MAX_KILLS = 3
_CHOICES = "autotl.choices"
"""The study's attribute that holds what its parameters choose among; set when it is complete."""
_FIXED = "fixed_params"
"""Optuna's attribute of a trial that was enqueued."""


def mark_complete(
    study: optuna.Study, strategies: Sequence[Strategy], profile: DatasetProfile
) -> None:
    """Note that a study's first trials are all enqueued, and what its parameters choose among."""
    study.set_user_attr(_CHOICES, _choices(strategies, profile))


def take_up(
    storage: RDBStorage,
    name: str,
    folder: Path,
    strategies: Sequence[Strategy],
    profile: DatasetProfile,
) -> bool:
    """Make a study ready to go on.

    Trials that a killed process left running are told as what their record says; without one they
    are run again, under their numbers and with their settings, from their last checkpoint if there
    is one; those of which a worker elsewhere gives signs of life stay with it. What was tried on
    purpose, a recipe or a warm start, and got no result since the time was up or the fit was
    interrupted, gets another turn.

    Args:
        storage: Optuna's.
        name: of the study.
        folder: of the fit.
        strategies: that it tries.
        profile: of the data set now.

    Returns:
        Whether it can go on; False if the storage has nothing of it, so that it is made anew.

    Raises:
        InputError: if its trials can't be compared with new ones.
    """
    store = TrialStore(folder / "trials")
    records = {record.number: record for record in store.load()}
    known = {found.study_name for found in storage.get_all_studies()}
    study = optuna.load_study(study_name=name, storage=storage) if name in known else None
    trials = [] if study is None else study.get_trials(deepcopy=False)
    lost = records.keys() - {trial.number for trial in trials}
    if lost:
        raise InputError(
            f"study {name!r} can't go on: its storage doesn't know {len(lost)} of the "
            f"{len(records)} trials in {str(folder)!r}; choose another study_name, or delete its "
            "folder"
        )
    if study is None or _CHOICES not in study.user_attrs:
        return False
    _refuse_other_choices(name, study.user_attrs[_CHOICES], _choices(strategies, profile))
    going_on = []
    study_id = study._study_id
    elsewhere = patiently(lambda: signs(storage, study_id))
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        if trial._trial_id in elsewhere and elsewhere[trial._trial_id].age_s < DEAD_S:
            going_on.append(trial.number)
        elif trial.number in records:
            _close(study, storage, trial, records[trial.number])
        elif _take_back(study, storage, trial, store):
            going_on.append(trial.number)
    store.clear_checkpoints(going_on)
    by_name = {strategy.name: strategy for strategy in strategies}
    held = study.user_attrs.get(HELD, [])
    study.set_user_attr(HELD, [[_renewed(p, by_name, profile), origin] for p, origin in held])
    _give_turns(study, storage, by_name, profile)
    return True


def _close(
    study: optuna.Study, storage: BaseStorage, trial: FrozenTrial, record: TrialRecord
) -> None:
    """Tell how a trial ended whose process was killed before it could."""
    attributes: dict[str, Any] = {
        STATE: record.state,
        SECONDS: record.seconds,
        COST: record.cost_s,
    }
    attributes |= {} if record.error is None else {"error": record.error}
    for name, value in attributes.items():
        storage.set_trial_user_attr(trial._trial_id, name, value)
    score = None if record.result is None else record.result.score
    study.tell(trial.number, score, state=OPTUNA_STATES[record.state])


def _take_back(
    study: optuna.Study, storage: RDBStorage, trial: FrozenTrial, store: TrialStore
) -> bool:
    """Let a trial that was running when its process was killed wait for being run again.

    It keeps its number and its settings. One that was so ended several times without a new epoch
    has perhaps killed its process itself: it has failed. One that was being passed over has ended.

    Returns:
        Whether it waits.
    """
    if STATE in trial.user_attrs:
        study.tell(trial.number, state=TrialState.FAIL)
        return False
    n_kills, n_epochs = trial.user_attrs.get(_KILLS, (0, -1))
    n_told = len(trial.intermediate_values)
    n_kills = 1 if n_told > n_epochs else n_kills + 1
    storage.set_trial_user_attr(trial._trial_id, _KILLS, [n_kills, n_told])
    if n_kills < MAX_KILLS or "config" not in trial.user_attrs:
        hand_back(storage, trial._trial_id)
        return True
    error = f"its process was killed in it {n_kills} times, without a new epoch"
    _record_failure(study, storage, trial, store, error)
    return False


def give_away(
    study: optuna.Study, storage: RDBStorage, trial: FrozenTrial, store: TrialStore
) -> bool:
    """Close a running trial whose worker is gone, or let it wait for another worker.

    Returns:
        Whether it waits.
    """
    known = {record.number: record for record in store.load()}
    if trial.number in known:
        _close(study, storage, trial, known[trial.number])
        return False
    return _take_back(study, storage, trial, store)


def hand_back(storage: RDBStorage, trial_id: int) -> None:
    """Let a running trial wait for another worker, which goes on from its last checkpoint."""
    patiently(lambda: forget(storage, trial_id))
    storage.set_trial_state_values(trial_id, TrialState.WAITING)


def fail_trial(spec: StudySpec, number: int, error: str) -> TrialRecord | None:
    """Record that a running trial has failed, whose process can't do so any more.

    Args:
        spec: of the study.
        number: of the trial.
        error: why.

    Returns:
        Its record; None if it had ended.
    """
    storage, store = open_storage(spec.storage), TrialStore(spec.folder / "trials")
    study = optuna.load_study(study_name=spec.name, storage=storage)
    trial = study.get_trials(deepcopy=False)[number]
    if trial.state.is_finished():
        return None
    known = {record.number: record for record in store.load()}
    if number in known:
        _close(study, storage, trial, known[number])
        return None
    return _record_failure(study, storage, trial, store, error)


def bound_of(spec: StudySpec, number: int) -> float:
    """Seconds after which a running trial counts as hung."""
    study = optuna.load_study(study_name=spec.name, storage=open_storage(spec.storage))
    return float(study.get_trials(deepcopy=False)[number].user_attrs.get(BOUND, math.inf))


def _record_failure(
    study: optuna.Study, storage: BaseStorage, trial: FrozenTrial, store: TrialStore, error: str
) -> TrialRecord:
    begun = trial.datetime_start
    record = TrialRecord(
        number=trial.number,
        strategy=str(strategy_of(trial)),
        config=trial.user_attrs.get("config", {}),
        state="failed",
        seconds=0.0 if begun is None else max(0.0, (datetime.now() - begun).total_seconds()),
        error=error,
        run_id=str(trial.user_attrs.get(RUN, "")),
    )
    store.save(record)
    _close(study, storage, trial, record)
    return record


def _give_turns(
    study: optuna.Study,
    storage: BaseStorage,
    strategies: Mapping[str, Strategy],
    profile: DatasetProfile,
) -> None:
    """Enqueue what is due, and fit what waits to the ranges of now."""
    due: dict[str, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        arm, fixed = arm_of(trial), trial.system_attrs.get(_FIXED)
        is_recipe = ARM in trial.system_attrs and arm is not None and arm.recipe != DRAWN
        if not is_recipe and not fixed:
            continue
        renewed = {} if is_recipe else _renewed(fixed or {}, strategies, profile)
        if trial.state == TrialState.WAITING and not is_recipe:
            storage.set_trial_system_attr(trial._trial_id, _FIXED, renewed)
        key = str(trial.system_attrs[ARM] if is_recipe else renewed)
        if trial.user_attrs.get(STATE) in _WITHOUT_RESULT:
            due[key] = trial
        else:
            due.pop(key, None)
    for trial in due.values():
        kept = (ARM, _FIXED)
        again = {name: trial.system_attrs[name] for name in kept if name in trial.system_attrs}
        if ARM not in again:
            again[_FIXED] = _renewed(again[_FIXED], strategies, profile)
        origin = {name: trial.user_attrs[name] for name in ORIGIN if name in trial.user_attrs}
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.WAITING, system_attrs=again, user_attrs=origin
            )
        )


def _renewed(
    params: Mapping[str, Any], strategies: Mapping[str, Strategy], profile: DatasetProfile
) -> dict[str, Any]:
    """Parameters of an enqueued trial, with as many epochs as a trial can afford now."""
    own = {name: value for name, value in params.items() if name != STRATEGY}
    epochs = f"{params[STRATEGY]}.epochs"
    if epochs in own:
        own[epochs] = max(candidate.max_epochs for candidate in profile.backbones.values())
    renewed, _ = within(strategies[params[STRATEGY]], own, profile)
    return {STRATEGY: params[STRATEGY], **renewed}


def _choices(
    strategies: Sequence[Strategy], profile: DatasetProfile
) -> dict[str, list[str | float | bool | None]]:
    return {
        name: choices
        for strategy in strategies
        for name, choices in choices_of(strategy, profile).items()
    }


def _refuse_other_choices(
    name: str,
    before: dict[str, list[str | float | bool | None]],
    now: dict[str, list[str | float | bool | None]],
) -> None:
    told = [
        f"{parameter}: were {before.get(parameter)}, are {now.get(parameter)}"
        for parameter in sorted(before.keys() | now.keys())
        if before.get(parameter) != now.get(parameter)
    ]
    if told:
        listed = "".join(f"\n  - {line}" for line in told)
        raise InputError(
            f"study {name!r} was made by a version of autotl with other choices and can't go on; "
            f"give another study_name:{listed}"
        )
