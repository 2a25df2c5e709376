"""What the decision is made from: the search's trials, and what is run after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.budget import SearchBudget
from autotl.search.finalists import (
    MAX_ROUNDS,
    ROUNDS_OF_A_COUNTED_SEARCH,
    choose_finalists,
    repeat_finalists,
)
from autotl.search.last_resort import last_resort
from autotl.search.records import TrialStore
from autotl.strategies.base import Task, TrialRecord
from autotl.tracking.base import FitRun

REPEATS = "repeats"
"""The folder of the finalists' repeats, in that of the trials."""


@dataclass(frozen=True)
class Evidence:
    """What there is to decide from.

    Attributes:
        records: trials of the search.
        repeats: runs of the best of them with other seeds.
        interrupted: whether the user ended the fit early.
        notes: what to tell the user about it.
    """

    records: Sequence[TrialRecord]
    repeats: Sequence[TrialRecord] = ()
    interrupted: bool = False
    notes: tuple[str, ...] = ()


def gather_evidence(
    trials: Path,
    strategies: Sequence[str],
    n_trials: int | None,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    deadline: Deadline,
    progress: Progress,
    *,
    interrupted: bool,
) -> Evidence:
    """Run the best trials again with other seeds; where none finished, try the plainest model.

    Args:
        trials: folder of the search's ended trials.
        strategies: names of those that may be used.
        n_trials: that the user asked for, or None.
        task: what to train on.
        profile: of the data set.
        fit_run: the record under which runs are recorded.
        deadline: of the whole fit.
        progress: whoever watches.
        interrupted: whether the user ended the search: then nothing more is run.
    """
    store = TrialStore(trials)
    records = store.load()
    if interrupted:
        return Evidence(records, interrupted=True)
    if not any(record.result is not None for record in records):
        if "bottleneck" not in strategies:
            return Evidence(records)
        last = last_resort(records, task, profile, store, fit_run, progress)
        note = "no trial of the search finished, so the plainest model was made as a last resort"
        return Evidence([*records, last], interrupted=last.state == "interrupted", notes=(note,))
    finalists = choose_finalists(records, task.labels, task.metric)
    if not finalists:
        return Evidence(records)
    progress.phase("finalists", deadline.shown_s)
    budget = SearchBudget(deadline, sum(len(f.train) for f in task.folds), len(task.labels))
    finished = [(r.result.score, r.seconds) for r in records if r.result is not None]
    ends = budget.deadline_for(max(record.seconds for record in finalists), max(finished)[1])
    rounds = MAX_ROUNDS if n_trials is None else ROUNDS_OF_A_COUNTED_SEARCH
    again = TrialStore(trials / REPEATS)
    completed = repeat_finalists(
        finalists, task, profile, again, fit_run, ends, progress, max_rounds=rounds
    )
    repeats = again.load()
    notes = () if repeats else ("there was no time to run the best trials with other seeds",)
    return Evidence(records, repeats, not completed, notes)
