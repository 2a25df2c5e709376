"""A search with workers elsewhere: the fit's own run beside them, and it ends when all have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from optuna.storages import RDBStorage
from optuna.trial import TrialState

from autotl.errors import AutotlError
from autotl.progress import Progress
from autotl.search.budget import CLOSING_S
from autotl.search.published import close
from autotl.search.records import TrialStore
from autotl.search.signs import signs
from autotl.search.storage import open_storage, patiently
from autotl.search.study import StudySpec
from autotl.search.turns import turn
from autotl.search.watcher import Watcher


def run_jointly(
    spec: StudySpec, run: Callable[[], bool], progress: Progress, *, is_loss: bool = False
) -> bool:
    """Run a search whose study others may join at any time.

    Trials of workers that die elsewhere are given to others. When the fit's own workers have
    ended, those elsewhere end their trials, as long as the time allows, and no more are begun.

    Args:
        spec: of a study that exists and is published.
        run: runs the fit's own workers to their end; False if the user interrupted it.
        progress: whoever watches.
        is_loss: whether a score is the negative of what is shown.

    Returns:
        False if the user interrupted it.
    """
    storage = open_storage(spec.storage)
    study_id = storage.get_study_id_from_name(spec.name)
    store = TrialStore(spec.folder / "trials")
    watcher = Watcher(spec.name, spec.storage, store, progress, is_loss=is_loss)
    last = spec.deadline.earlier(CLOSING_S + spec.finalists_s)
    left: set[int] = set()
    try:
        while True:
            with watcher.on_the_side():
                finished = run()
            if not finished:
                return False
            watcher.wait(lambda: last.passed)
            with turn(storage, study_id, store.folder):
                before, left = left, _handed_back(storage, study_id)
                others = patiently(lambda: signs(storage, study_id))
                if last.passed or not (others or left - before):
                    close(storage, spec.name)
                    return True
    except KeyboardInterrupt:
        return False
    finally:
        with suppress(AutotlError):
            close(storage, spec.name)


def _handed_back(storage: RDBStorage, study_id: int) -> set[int]:
    """Numbers of the trials that were begun and wait for somebody to go on with them."""
    waiting = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,))
    return {trial.number for trial in waiting if "config" in trial.user_attrs}
