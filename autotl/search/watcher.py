"""Looks after trials of workers elsewhere: tells of them, gives those of the dead to others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import optuna
from optuna.trial import TrialState

from autotl.progress import Progress
from autotl.search.objective import RUN
from autotl.search.plan import SECONDS, STATE, strategy_of
from autotl.search.records import TrialStore
from autotl.search.signs import DEAD_S, ELSEWHERE, signs
from autotl.search.storage import meanwhile, open_storage, patiently
from autotl.search.takeover import give_away
from autotl.search.turns import turn

_LOOK_S = 5.0


class Watcher:
    """Gives a trial to somebody else if its sign of life hasn't changed for a while.

    For how long, this process's own clock tells, so that other machines' may be wrong; a time in
    which the storage, or this process, was away doesn't count. The trial keeps its number and goes
    on from its last checkpoint.

    Args:
        name: of the study.
        url: of its storage.
        store: of its ended trials.
        progress: told of the trials elsewhere, in the thread that looks.
        is_loss: whether a score is the negative of what is shown.
    """

    def __init__(
        self, name: str, url: str, store: TrialStore, progress: Progress, *, is_loss: bool = False
    ) -> None:
        self._storage = open_storage(url)
        self._study = optuna.load_study(study_name=name, storage=self._storage)
        self._store = store
        self._progress = progress
        self._sign = -1.0 if is_loss else 1.0
        self._looked = 0.0
        self._seen: dict[int, tuple[datetime, float]] = {}
        before = self._study.get_trials(deepcopy=False)
        self._ended = {trial.number for trial in before if trial.state.is_finished()}
        self._begun = set(self._ended)

    def look(self) -> int:
        """Give the trials of dead workers to others; how many trials of living ones there are."""
        found = signs(self._storage, self._study._study_id)
        now = time.monotonic()
        if now - self._looked > DEAD_S / 2:
            self._seen.clear()
        self._looked = now
        seen = {own: self._seen.get(own, (sign.at, now)) for own, sign in found.items()}
        self._seen = {
            own: seen[own] if seen[own][0] == sign.at else (sign.at, now)
            for own, sign in found.items()
        }
        dead = [own for own, (_, since) in self._seen.items() if now - since > DEAD_S]
        for trial_id in dead:
            self._give_away(trial_id)
            del self._seen[trial_id]
        self._tell()
        return len(self._seen)

    def _tell(self) -> None:
        """Tell what has begun and ended elsewhere."""
        for trial in self._study.get_trials(deepcopy=False):
            strategy, number = strategy_of(trial), trial.number
            if ELSEWHERE not in trial.user_attrs or strategy is None:
                continue
            if number not in self._begun and RUN in trial.user_attrs:
                self._begun.add(number)
                self._progress.trial_started(number, strategy)
            if trial.state.is_finished() and number in self._begun - self._ended:
                self._ended.add(number)
                state, value = str(trial.user_attrs.get(STATE, "failed")), trial.value
                shown = None if value is None or state != "complete" else self._sign * value
                seconds = float(trial.user_attrs.get(SECONDS, 0.0))
                self._progress.trial_ended(number, strategy, state, shown, seconds)

    def _give_away(self, trial_id: int) -> None:
        with turn(self._storage, self._study._study_id, self._store.folder):
            trial = self._storage.get_trial(trial_id)
            if trial.state != TrialState.RUNNING:
                return
            waits = give_away(self._study, self._storage, trial, self._store)
        became = "another one goes on with it" if waits else "it has ended"
        self._progress.note(f"the worker of trial {trial.number} is gone: {became}")

    @contextmanager
    def on_the_side(self) -> Iterator[None]:
        """Look every few seconds, in a thread, until the block is left."""
        with meanwhile(self.look, _LOOK_S, "autotl-watcher"):
            yield

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait for the trials of others.

        Args:
            until: whether it has taken too long.
        """
        while patiently(self.look) and not until():
            time.sleep(_LOOK_S / 5)
