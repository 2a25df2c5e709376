"""What the decision is made from: the search's trials, and what is run after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.allocation import Seen, allocation_for
from autotl.search.budget import SearchBudget
from autotl.search.finalists import (
    MAX_ROUNDS,
    ROUNDS_OF_A_COUNTED_SEARCH,
    choose_finalists,
    repeat_finalists,
)
from autotl.search.knowledge import DRAWN, Arm
from autotl.search.last_resort import last_resort
from autotl.search.records import TrialStore
from autotl.strategies.base import Task, TrialRecord
from autotl.strategies.repeats import of_whole_rounds
from autotl.tracking.base import FitRun

REPEATS = "repeats"
"""The folder of the finalists' repeats, in that of the trials."""


@dataclass(frozen=True)
class Evidence:
    """What there is to decide from.

    Attributes:
        records: trials of the search.
        repeats: runs of the best of them with other seeds.
        worth: by number of a trial, what it is expected to score on new samples, see
            :func:`worth_of`.
        interrupted: whether the user ended the fit early.
        notes: what to tell the user about it.
    """

    records: Sequence[TrialRecord]
    repeats: Sequence[TrialRecord] = ()
    worth: Mapping[int, float] = field(default_factory=dict)
    interrupted: bool = False
    notes: tuple[str, ...] = ()


def worth_of(
    records: Sequence[TrialRecord],
    task: Task,
    profile: DatasetProfile,
    repeats: Sequence[TrialRecord] = (),
) -> dict[int, float]:
    """What finished trials are worth: their scores, and what is known of such settings.

    Of many scores on the same few samples the best is lucky; what recipes reached on other data
    sets, and what trials like it reached on this one, says by how much (the posterior mean of
    :mod:`autotl.search.knowledge`).

    Args:
        records: trials.
        task: that they were run on.
        profile: of the data set.
        repeats: of them, with further seeds; a trial's score is the mean over its seeds.

    Returns:
        By number of a trial, an expected score; greater is better.
    """
    scores: dict[int, list[float]] = {}
    for run in [*records, *of_whole_rounds(repeats)]:
        if run.result is not None:
            scores.setdefault(run.number, []).append(run.result.score)
    means = {number: float(np.mean(own)) for number, own in scores.items()}
    finished = [
        (r, means[r.number]) for r in records if math.isfinite(means.get(r.number, math.nan))
    ]
    if not finished:
        return {}
    seen = [
        Seen(Arm(r.strategy, r.recipe or DRAWN, str(r.config.get("backbone", ""))), score)
        for r, score in finished
    ]
    worth = allocation_for(task, profile).worth(seen)
    return {record.number: float(w) for (record, _), w in zip(finished, worth, strict=True)}


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
    worth = worth_of(records, task, profile)
    if interrupted:
        return Evidence(records, worth=worth, interrupted=True)
    if not any(record.result is not None for record in records):
        if "bottleneck" not in strategies:
            return Evidence(records)
        last = last_resort(records, task, profile, store, fit_run, progress)
        note = "no trial of the search finished, so the plainest model was made as a last resort"
        return Evidence([*records, last], interrupted=last.state == "interrupted", notes=(note,))
    finalists = choose_finalists(records, task.labels, task.metric, worth)
    if not finalists:
        return Evidence(records, worth=worth)
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
    return Evidence(
        records, repeats, worth_of(records, task, profile, repeats), not completed, notes
    )
