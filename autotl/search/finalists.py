"""After the search: the best trials run again with other seeds, so that luck isn't taken for skill.

The finalists are the best trial of each strategy that is trained from a random start, and the
runners-up, all within reach of the best. They are run in rounds, one seed each, so that the terms
stay equal (Bouthillier et al. 2021, arXiv 2103.03098). None of it enters the study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FixedTrial

from autotl.analysis.profile import DatasetProfile
from autotl.metrics import Metric
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.interrupts import uninterrupted
from autotl.search.objective import run_trial
from autotl.search.records import TrialStore
from autotl.strategies import STRATEGIES
from autotl.strategies.base import SOLVED, Task, TrialRecord
from autotl.tracking.base import FitRun, TrialRun
from autotl.uncertainty import contributions, difference_variance

MAX_FINALISTS = 3
REACH = 3.0
"""A trial so many standard errors behind the best, on the same samples, is no finalist."""
MAX_ROUNDS = 4
ROUNDS_OF_A_COUNTED_SEARCH = 2
"""Where the user gave a number of trials, not the time, to end the search."""

_SPARE = 1.15
"""A round is begun if so many times its expected seconds are left."""
_COMPARED = 12


def choose_finalists(
    records: Sequence[TrialRecord],
    labels: NDArray[np.int64],
    metric: Metric,
    worth: Mapping[int, float] | None = None,
) -> list[TrialRecord]:
    """Which trials to run again; none where the best has no rival.

    Args:
        records: ended trials.
        labels: ``(n_samples,)`` of the development samples.
        metric: what was maximised.
        worth: by number of a trial, the score to rank it by in place of its validation score.

    Returns:
        Trained trials within :data:`REACH`: first the best of each strategy, then others, best
        first, :data:`MAX_FINALISTS` at most.
    """
    scores = {r.number: r.result.score for r in records if r.result is not None}
    scores = {number: (worth or {}).get(number, score) for number, score in scores.items()}
    finished = [record for record in records if np.isfinite(scores.get(record.number, np.nan))]
    ranked = sorted(finished, key=lambda record: -scores[record.number])
    if not ranked:
        return []
    best_of = {record.strategy: record.number for record in reversed(ranked)}
    first = [record for record in ranked if record.number == best_of[record.strategy]]
    others = [record for record in ranked if record.number != best_of[record.strategy]]
    shares: dict[int, NDArray[np.float64]] = {}

    def share(record: TrialRecord) -> NDArray[np.float64]:
        assert record.result is not None
        own = labels[record.result.samples]
        if record.number not in shares:
            shares[record.number] = contributions(metric, own, record.result.probabilities)
        return shares[record.number]

    def is_near(record: TrialRecord) -> bool:
        assert record.result is not None
        own = labels[record.result.samples]
        behind, variance = difference_variance(metric, own, share(ranked[0]), share(record))
        return behind <= REACH * math.sqrt(variance)

    near = [record for record in [*first, *others[:_COMPARED]] if is_near(record)]
    if len(near) < 2:
        return []
    return [record for record in near if record.strategy not in SOLVED][:MAX_FINALISTS]


def repeat_finalists(
    finalists: Sequence[TrialRecord],
    task: Task,
    profile: DatasetProfile,
    store: TrialStore,
    fit_run: FitRun,
    deadline: Deadline,
    progress: Progress,
    max_rounds: int = MAX_ROUNDS,
) -> bool:
    """Run finalists with further seeds, in rounds, as long as whole rounds fit into the time.

    Where not all finalists fit into a round, those of :func:`choose_finalists`' later places are
    left out, but never the best of a strategy. A repeat that runs out of memory or diverges is an
    outcome. Repeats that a store holds already aren't run again.

    Args:
        finalists: in the order of :func:`choose_finalists`.
        task: what to train on; the k-th repeat's seed is the task's plus k.
        profile: of the data set.
        store: for the repeats alone.
        fit_run: the record under which they are recorded.
        deadline: when the last must have ended.
        progress: whoever watches.
        max_rounds: further seeds at most.

    Returns:
        False if the user interrupted it.
    """
    held = {(r.number, r.repeat): r for r in store.load() if r.state in ("complete", "failed")}
    chosen = _affordable(finalists, deadline.left_s())
    for repeat in range(1, max_rounds + 1):
        missing = [record for record in chosen if (record.number, repeat) not in held]
        if _SPARE * sum(record.seconds for record in missing) > deadline.left_s():
            return True
        for record in missing:
            again = _run(record, repeat, task, profile, store, fit_run, deadline, progress)
            with uninterrupted():
                store.save(again)
            if again.state == "interrupted":
                return False
    return True


def _affordable(finalists: Sequence[TrialRecord], left_s: float) -> list[TrialRecord]:
    """The best of each strategy, and as many others as let two rounds fit into the time."""
    best_of = {record.strategy: record.number for record in reversed(finalists)}
    chosen = [record for record in finalists if record.number in best_of.values()]
    for record in finalists:
        seconds = record.seconds + sum(other.seconds for other in chosen)
        if record.number not in best_of.values() and 2 * _SPARE * seconds <= left_s:
            chosen.append(record)
    return chosen


def _run(
    record: TrialRecord,
    repeat: int,
    task: Task,
    profile: DatasetProfile,
    store: TrialStore,
    fit_run: FitRun,
    deadline: Deadline,
    progress: Progress,
) -> TrialRecord:
    strategy = STRATEGIES[record.strategy]
    config = strategy.Config.model_validate(dict(record.config))
    seed = task.seed + repeat
    checkpoint = store.checkpoint(record.number, record.strategy, config, seed, repeat)
    again = run_trial(
        FixedTrial({}, record.number),
        strategy,
        config,
        replace(task, seed=seed),
        profile,
        _Seeded(fit_run, seed),
        deadline,
        progress,
        record.seconds,
        checkpoint,
    )
    checkpoint.clear()
    fit_run.tag_trial(
        again.run_id, {"autotl.kind": "repeat", "repeat_of": record.number, "repeat": repeat}
    )
    result = None if again.result is None else replace(again.result, model=None)
    return replace(again, repeat=repeat, result=result)


class _Seeded:
    """Records runs with their seed as the foremost setting."""

    def __init__(self, fit_run: FitRun, seed: int) -> None:
        self._fit_run = fit_run
        self._seed = seed

    def start_trial(
        self, number: int, strategy: str, params: Mapping[str, object], run_id: str = ""
    ) -> TrialRun:
        seeded = {"seed": self._seed, **params}
        return self._fit_run.start_trial(number, strategy, seeded, run_id)
