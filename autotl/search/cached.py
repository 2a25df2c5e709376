"""A study's trials as a search reads them: finished ones whole, once; of the others what is tried.

Optuna's own cache reads all that is known of every unfinished trial, whenever somebody asks for the
study's trials, and writes each parameter and attribute in a transaction of its own; with many
workers that took most of their time (``studies/scale``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import (
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
)
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import and_, or_, select

from autotl.search.plan import ARM
from autotl.search.storage import patiently

FIXED = "fixed_params"
"""Optuna's attribute with the parameters that a trial was enqueued with."""


class SearchStorage(_CachedStorage):
    """Optuna's cache in front of a storage, for who runs a study's trials.

    Of a trial that waits or runs, a list of trials tells number, state, arm, and the parameters
    that it was enqueued with; asked for by itself it is whole.

    Args:
        backend: the storage.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._last_ids: dict[int, int] = {}
        self._held: dict[int, _Held] = {}

    @contextmanager
    def together(self, trial_id: int) -> Iterator[None]:
        """Write what the block notes of a trial, parameters and attributes, in one transaction.

        It is written when the block is left, by an error too; until then nobody else sees it.

        Raises:
            UpdateFinishedTrialError: if somebody has ended the trial.
        """
        held = self._held.setdefault(trial_id, _Held())
        try:
            yield
        finally:
            del self._held[trial_id]
            if held.params or held.attributes:
                patiently(lambda: self._write(trial_id, held))

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """As of the base class, or for the end of the block."""
        held = self._held.get(trial_id)
        if held is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        with self._lock:
            study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
            known = self._studies[study_id].param_distribution.setdefault(param_name, distribution)
        check_distribution_compatibility(known, distribution)
        held.params[param_name] = (param_value_internal, distribution)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As of the base class, or for the end of the block."""
        held = self._held.get(trial_id)
        if held is None:
            super().set_trial_user_attr(trial_id, key, value)
        else:
            held.attributes[key] = value

    def _write(self, trial_id: int, held: _Held) -> None:
        backend = self._backend
        with _create_scoped_session(backend.scoped_session, True) as session:
            trial = TrialModel.find_or_raise_by_id(trial_id, session)
            state: Any = trial.state
            backend.check_trial_is_updatable(trial_id, state)
            for name, (value, distribution) in held.params.items():
                session.add(
                    TrialParamModel(
                        trial_id=trial_id,
                        param_name=name,
                        param_value=value,
                        distribution_json=distribution_to_json(distribution),
                    )
                )
            for key, value in held.attributes.items():
                backend._set_trial_attr_without_commit(
                    session, TrialUserAttributeModel, trial_id, key, value
                )

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            rows = patiently(lambda: self._rows(study_id, study.unfinished_trial_ids))
            if not rows:
                return
            last_id = self._last_ids[study_id] = max(self._last_ids.get(study_id, -1), *rows)
            ended = {own for own, row in rows.items() if row.state.is_finished()}
            going_on = rows.keys() - ended
            if ended:
                read = self._backend._get_trials(study_id, None, ended, last_id)
                self._add_trials_to_cache(study_id, [t for t in read if t._trial_id in ended])
            self._add_trials_to_cache(study_id, [_sketch(own, rows[own]) for own in going_on])
            study.unfinished_trial_ids = going_on

    def _rows(self, study_id: int, unfinished: set[int]) -> dict[int, _Row]:
        """Those that are new or weren't finished, by Optuna's ids."""
        trial, own = TrialModel, TrialSystemAttributeModel
        asked = (
            select(trial.trial_id, trial.number, trial.state, own.key, own.value_json)
            .outerjoin(own, and_(own.trial_id == trial.trial_id, own.key.in_((ARM, FIXED))))
            .where(
                trial.study_id == study_id,
                or_(
                    trial.trial_id > self._last_ids.get(study_id, -1),
                    trial.trial_id.in_(unfinished),
                ),
            )
        )
        rows: dict[int, _Row] = {}
        with self._backend.engine.connect() as connection:
            for trial_id, number, state, key, value in connection.execute(asked):
                row = rows.setdefault(trial_id, _Row(number, state, {}))
                if key is not None:
                    row.attributes[key] = json.loads(value)
        return rows


@contextmanager
def together(trial: optuna.trial.BaseTrial) -> Iterator[None]:
    """Write what the block notes of a trial in one transaction, where its storage can."""
    storage = trial.storage if isinstance(trial, optuna.Trial) else None
    if not isinstance(storage, SearchStorage):
        yield
        return
    with storage.together(trial._trial_id):  # type: ignore[attr-defined]
        yield


@dataclass
class _Held:
    """What is noted of a trial and not written yet."""

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


class _Row(NamedTuple):
    number: int
    state: TrialState
    attributes: dict[str, Any]


def _sketch(trial_id: int, row: _Row) -> FrozenTrial:
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params=dict(row.attributes.get(FIXED, {})),
        distributions={},
        user_attrs={},
        system_attrs=row.attributes,
        intermediate_values={},
        trial_id=trial_id,
    )
