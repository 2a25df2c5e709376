"""Who gets how much of the time: the search, one trial, and what must still come after."""

from __future__ import annotations

from collections.abc import Iterable

from autotl.runtime import Deadline
from autotl.strategies.base import SOLVED

CLOSING_S = 6.0
"""For the decision, the test, the report and the records, where that isn't measured yet."""
TRIAL_SHARE = 1.0 / 4.0
"""The most of the search's time that one trial may plan to take."""
FINALISTS_SHARE = 0.15
"""Of the search's time, kept back to run the best again with other seeds; if a run fits into it."""
SPARE = 1.1
"""A trial is begun if so many times its predicted seconds are left: one cut off tells nothing."""
MIN_EPOCHS = 10
"""With fewer epochs than this networks don't show what they can: then fewer folds are better."""
UNLIMITED_EPOCHS = 30
MAX_EPOCHS = 60


def before_closing(deadline: Deadline, opening_s: float, scoring_s: float) -> Deadline:
    """A fit's deadline, earlier by what its end will take longer than :data:`CLOSING_S`.

    Args:
        deadline: of the whole fit.
        opening_s: seconds that its records and the analysis' page took. That is work of the same
            kind on the same machine, imports included; the end took 0.55 times as long.
        scoring_s: predicted seconds of scoring the test set.
    """
    return deadline.earlier(scoring_s + max(0.0, opening_s - CLOSING_S))


def affordable_epochs(search_s: float, epoch_s: float) -> int:
    """The most epochs that a trial of the search may plan, at least 1.

    Args:
        search_s: seconds of the whole search, infinite without a time budget.
        epoch_s: predicted seconds of one epoch on all folds.
    """
    if search_s == float("inf"):
        return UNLIMITED_EPOCHS
    return int(min(MAX_EPOCHS, max(1.0, TRIAL_SHARE * search_s / epoch_s)))


def finalists_s(deadline: Deadline, strategies: Iterable[str]) -> float:
    """Seconds to keep back from a search for runs of the best with other seeds.

    Args:
        deadline: of the whole fit, with the search still to come.
        strategies: that are searched; with none that depends on the seed, nothing is kept back.
    """
    if deadline.at is None or SOLVED.issuperset(strategies):
        return 0.0
    return FINALISTS_SHARE * max(0.0, deadline.left_s() - CLOSING_S)


class SearchBudget:
    """The time of a search, with what the final fit will take kept back.

    Args:
        deadline: of the whole fit.
        n_folds_samples: training samples of all folds together.
        n_samples: development samples, what the final fit trains on.
        finalists_s: to keep back for runs of the best with other seeds, where one of them takes no
            longer: else the search has that time, too.
    """

    def __init__(
        self,
        deadline: Deadline,
        n_folds_samples: int,
        n_samples: int,
        finalists_s: float = 0.0,
    ) -> None:
        self._deadline = deadline
        self._finalists_s = finalists_s
        self._refit_share = n_samples / max(1, n_folds_samples)

    def refit_s(self, trial_s: float) -> float:
        """Seconds of the final fit of a config whose trial takes that long."""
        return trial_s * self._refit_share

    def deadline_for(self, trial_s: float, best_s: float | None = None) -> Deadline:
        """When a trial must have ended, so that the final fit of it or of the best still fits in.

        Args:
            trial_s: predicted seconds of the trial.
            best_s: seconds of the best trial so far; None: there is none.
        """
        longest_s = max(trial_s, best_s or 0.0)
        finalists_s = self._finalists_s if longest_s <= self._finalists_s else 0.0
        return self._deadline.earlier(CLOSING_S + self.refit_s(longest_s) + finalists_s)

    def fits(self, trial_s: float, best_s: float | None = None) -> bool:
        """Whether a trial can be ended in time; arguments as of :meth:`deadline_for`."""
        deadline = self.deadline_for(trial_s, best_s)
        return not deadline.passed and deadline.left_s() >= SPARE * trial_s
