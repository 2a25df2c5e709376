"""Ends a trial that won't become the best of its kind, as far as can be told so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from autotl.search.knowledge import from_logit, to_logit
from autotl.search.plan import strategy_of

PROGRESS_STEPS = 1000
"""Optuna's steps are integers: progress in thousandths."""
GRACE = 0.5
"""Share of the first fold's epochs before which nothing is pruned: at high learning rates scores
jump, and the slowest to settle may end ahead (with 0.25 the best trial of a task was lost,
``studies/regret``)."""
DRIFT = 4.0
"""Standard deviation by which one trial still gains on another over the rest of a fold's epochs,
in units of the rest's share and of the score's standard error (``studies/regret``)."""
CLEAR = 2.0
"""So many standard deviations behind is clearly behind."""


class StrategyPruner(BasePruner):
    """Compares a trial with the best finished one of its strategy and backbone, at equal progress.

    Both were validated on the same samples in the same order, so that the lead at equal progress
    tells of the lead on new samples, but for what the rest of a fold's epochs changes, and for what
    so few samples can tell. A trial ends when it is behind by more than both make up for: what is
    behind by less may still be taken, as the pick goes by more than these scores. Two backbones
    aren't compared: one that learns slowly may end ahead.

    Args:
        metric: name of the metric.
        fold_sizes: validation samples of each fold, in the order in which they are trained.
    """

    def __init__(self, metric: str, fold_sizes: Sequence[int]) -> None:
        self._metric = metric
        self._fold_sizes = tuple(fold_sizes)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end now."""
        step = trial.last_step
        if step is None or step * len(self._fold_sizes) < GRACE * PROGRESS_STEPS:
            return False
        kind = _kind(trial)
        others = [
            other
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if _kind(other) == kind
            and other.value is not None
            and min(other.intermediate_values, default=math.inf) <= step
        ]
        if not others:
            return False
        best = max(others, key=lambda other: other.value or 0.0)
        mine, its = self._share(_best_until(trial, step)), self._share(_best_until(best, step))
        return bool(its - mine > CLEAR * self.deviation(step, its))

    def deviation(self, step: int, score: float) -> float:
        """Standard deviation of the lead on new samples at the end about that seen so far.

        Args:
            step: of :data:`PROGRESS_STEPS`.
            score: about which both trials are, in (0, 1).
        """
        n_folds = len(self._fold_sizes)
        begun = min(n_folds, max(1, math.ceil(step * n_folds / PROGRESS_STEPS)))
        n_seen, n_all = sum(self._fold_sizes[:begun]), sum(self._fold_sizes)
        left = begun - step * n_folds / PROGRESS_STEPS  # of the fold under way
        of_epochs = (DRIFT * left / begun) ** 2 / n_seen
        return math.sqrt(max(score * (1.0 - score), 1.0 / n_all) * (of_epochs + 1.0 / n_seen))

    def _share(self, score: float) -> float:
        """The score as if it were an accuracy."""
        return from_logit("accuracy", to_logit(self._metric, score, 1e6))


def _kind(trial: FrozenTrial) -> tuple[str | None, object]:
    strategy = strategy_of(trial)
    return strategy, trial.params.get(f"{strategy}.backbone")


def _best_until(trial: FrozenTrial, step: int) -> float:
    """The best score up to a step that isn't before the first report; between two reports it is
    on their straight line, after the last one it stays."""
    steps = np.array(sorted(trial.intermediate_values))
    best = np.maximum.accumulate([trial.intermediate_values[s] for s in steps])
    return float(np.interp(step, steps, best))
