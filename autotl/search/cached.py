"""A study's trials as a search reads them: finished ones whole, once; of the others what is tried.

Optuna's own cache reads all that is known of every unfinished trial, whenever somebody asks for the
study's trials; with many workers that took most of their time (``studies/scale``).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import TrialModel, TrialSystemAttributeModel
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
