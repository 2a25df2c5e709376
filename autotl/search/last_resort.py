"""When no trial finished: the simplest model there is, one linear SVM on the last features."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FixedTrial

from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import NEVER
from autotl.search.objective import run_trial
from autotl.search.records import TrialStore
from autotl.strategies import STRATEGIES
from autotl.strategies.base import Task, TrialRecord
from autotl.tracking.base import FitRun

_PLAIN_C = 0.01


def last_resort(
    records: Sequence[TrialRecord],
    task: Task,
    profile: DatasetProfile,
    store: TrialStore,
    fit_run: FitRun,
    progress: Progress,
) -> TrialRecord:
    """Run the plain bottleneck model on the smallest backbone, without a deadline, and save it.

    Nothing is searched for it, not even ``C``.

    Args:
        records: of the trials that ended without a result.
        task: what to train on.
        profile: of the data set.
        store: of the trials.
        fit_run: the record under which it is recorded.
        progress: whoever watches.
    """
    smallest = min(profile.backbones, key=lambda name: profile.backbones[name].n_parameters)
    strategy = STRATEGIES["bottleneck"]
    config = strategy.Config.model_validate(
        {
            "backbone": smallest,
            "layers": "last",
            "head": "svm",
            "C": _PLAIN_C,
            "balanced": profile.size.is_imbalanced,
        }
    )
    number = 1 + max((record.number for record in records), default=-1)
    record = run_trial(
        FixedTrial({}, number), strategy, config, task, profile, fit_run, NEVER, progress
    )
    store.save(record)
    return record
