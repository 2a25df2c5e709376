"""A study that goes on: its trials stay, and what a killed process left half done is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from autotl.analysis.profile import DatasetProfile
from autotl.errors import InputError
from autotl.search.objective import OPTUNA_STATES
from autotl.search.records import TrialStore
from autotl.search.sampler import STRATEGY
from autotl.search.space import choices_of, params_within
from autotl.search.warm_start import ORIGIN
from autotl.strategies.base import Strategy, TrialRecord

UNAFFORDABLE = "unaffordable"
"""The state of a proposal that was passed over because the time left didn't allow it."""
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
    storage: BaseStorage,
    name: str,
    folder: Path,
    strategies: Sequence[Strategy],
    profile: DatasetProfile,
) -> bool:
    """Make a study ready to go on.

    Trials that a killed process left running are told as what their record says, or failed. First
    trials that wait, or that the time of before didn't allow, get as many epochs as a trial can
    afford now, and their turn.

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
    records = {record.number: record for record in TrialStore(folder / "trials").load()}
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
    by_name = {strategy.name: strategy for strategy in strategies}
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            _close(study, storage, trial, records.get(trial.number))
    due: dict[str, FrozenTrial] = {}
    for trial in trials:
        if _FIXED not in trial.system_attrs:
            continue
        params = _renewed(trial.system_attrs[_FIXED], by_name, profile)
        if trial.state == TrialState.WAITING:
            storage.set_trial_system_attr(trial._trial_id, _FIXED, params)
        if trial.user_attrs.get("state") == UNAFFORDABLE:
            due.setdefault(str(params), trial)
        else:
            due.pop(str(params), None)
    for trial in due.values():
        params = _renewed(trial.system_attrs[_FIXED], by_name, profile)
        origin = {name: trial.user_attrs[name] for name in ORIGIN if name in trial.user_attrs}
        study.enqueue_trial(params, user_attrs=origin)
    return True


def _renewed(
    params: Mapping[str, Any], strategies: Mapping[str, Strategy], profile: DatasetProfile
) -> dict[str, Any]:
    """Parameters of an enqueued trial within today's ranges."""
    own = {name: value for name, value in params.items() if name != STRATEGY}
    epochs = f"{params[STRATEGY]}.epochs"
    if epochs in own:
        own[epochs] = max(candidate.max_epochs for candidate in profile.backbones.values())
    strategy = strategies[params[STRATEGY]]
    return {STRATEGY: params[STRATEGY], **params_within(strategy, own, profile)}


def _close(
    study: optuna.Study, storage: BaseStorage, trial: FrozenTrial, record: TrialRecord | None
) -> None:
    """Tell how a trial ended whose process was killed; without a record it has failed."""
    state = "interrupted" if record is None else record.state
    storage.set_trial_user_attr(trial._trial_id, "state", state)
    if record is None:
        storage.set_trial_user_attr(trial._trial_id, "error", "its process was killed")
    score = None if record is None or record.result is None else record.result.score
    study.tell(trial.number, score, state=OPTUNA_STATES[state])


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
