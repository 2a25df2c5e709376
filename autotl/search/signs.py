"""Signs of life of the trials that workers elsewhere run: a time in the storage for each of them.

Only trials of workers that nobody on their machine looks after have one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialHeartbeatModel, TrialModel
from optuna.trial import TrialState
from sqlalchemy import delete, func, select

from autotl.search.storage import meanwhile, patiently

ELSEWHERE = "worker"
"""The user attribute of a trial that says which machine's process ran it, if not the fit's own."""
BEAT_S = 10.0
"""Between two signs of life of a trial."""
DEAD_S = 60.0
"""A trial without one for so long runs nowhere any more."""


@dataclass(frozen=True)
class Sign:
    """A trial's last sign of life.

    Attributes:
        at: when, by the storage's clock.
        age_s: seconds since then, by the same clock.
    """

    at: datetime
    age_s: float


@contextmanager
def pulse(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    """Signs of life of a trial, the first one at once, until the block is left.

    Args:
        storage: of the study.
        trial_id: Optuna's.
    """
    patiently(lambda: storage.record_heartbeat(trial_id))
    try:
        with meanwhile(lambda: storage.record_heartbeat(trial_id), BEAT_S, "autotl-pulse"):
            yield
    finally:
        patiently(lambda: forget(storage, trial_id))


def forget(storage: RDBStorage, trial_id: int) -> None:
    """Delete a trial's sign of life: it isn't run elsewhere any more."""
    with storage.engine.begin() as connection:
        connection.execute(
            delete(TrialHeartbeatModel).where(TrialHeartbeatModel.trial_id == trial_id)
        )


def signs(storage: RDBStorage, study_id: int) -> dict[int, Sign]:
    """Those of a study's running trials, by Optuna's ids."""
    asked = (
        select(TrialModel.trial_id, TrialHeartbeatModel.heartbeat, func.now())
        .join(TrialHeartbeatModel, TrialHeartbeatModel.trial_id == TrialModel.trial_id)
        .where(TrialModel.study_id == study_id, TrialModel.state == TrialState.RUNNING)
    )
    with storage.engine.connect() as connection:
        rows = connection.execute(asked).all()
    return {own: Sign(at, (_naive(now) - at).total_seconds()) for own, at, now in rows}


def _naive(now: datetime | str) -> datetime:
    """The storage's time as it keeps it; SQLite gives text."""
    read = datetime.fromisoformat(now) if isinstance(now, str) else now
    return read.replace(tzinfo=None)
