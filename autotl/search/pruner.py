"""Ends a trial that is behind the others of its own strategy at the same share of its work."""

from __future__ import annotations

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from autotl.search.plan import STRATEGY

PROGRESS_STEPS = 1000
"""Optuna's steps are integers: progress in thousandths."""


class StrategyPruner(BasePruner):
    """The median rule among finished trials of the same strategy, at equal progress.

    A trial ends when its best score so far is below the median of what the others' best scores
    were at the same share of their own work (Golovin et al. 2017, section 3.2.2, by share instead
    of by step, since trials differ in their number of epochs). Others that had reported nothing
    by then don't count.

    Args:
        n_startup_trials: finished trials of the strategy before any is pruned.
        grace: share of a trial's work before which it isn't pruned, in [0, 1].
    """

    def __init__(self, n_startup_trials: int = 3, grace: float = 0.25) -> None:
        self._n_startup_trials = n_startup_trials
        self._grace = grace

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end now."""
        step = trial.last_step
        if step is None or step < self._grace * PROGRESS_STEPS:
            return False
        strategy = trial.params.get(STRATEGY)
        others = [
            other
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if other.params.get(STRATEGY) == strategy
            and min(other.intermediate_values, default=np.inf) <= step
        ]
        if len(others) < self._n_startup_trials:
            return False
        mine = _best_until(trial, step)
        return bool(mine < np.median([_best_until(other, step) for other in others]))


def _best_until(trial: FrozenTrial, step: int) -> float:
    """The best score up to a step that isn't before the first report; between two reports it is
    on their straight line, after the last one it stays."""
    steps = np.array(sorted(trial.intermediate_values))
    best = np.maximum.accumulate([trial.intermediate_values[s] for s in steps])
    return float(np.interp(step, steps, best))
