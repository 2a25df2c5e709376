"""The search: one Optuna study over all strategies, first the rules of thumb, until time is up."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import TrialState

from autotl.analysis.profile import DatasetProfile
from autotl.analysis.rules import STARTING_POINTS, triggered
from autotl.progress import Progress
from autotl.runtime import NEVER, Deadline
from autotl.search.budget import SearchBudget, correction
from autotl.search.interrupts import uninterrupted
from autotl.search.objective import run_trial, tell
from autotl.search.pruner import StrategyPruner
from autotl.search.records import TrialStore
from autotl.search.sampler import STRATEGY, StrategySampler
from autotl.search.space import nearest_in_space
from autotl.search.storage import open_storage
from autotl.search.takeover import UNAFFORDABLE, mark_complete, take_up
from autotl.search.warm_start import ORIGIN, WarmTrial
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig, Task, TrialRecord
from autotl.tracking.base import FitRun

_MAX_PASSED_OVER = 24
"""So many proposals in a row that were tried before or don't fit into the time left end it."""
_REPEATED, _UNAFFORDABLE = "repeated", UNAFFORDABLE
_SEEDS_APART = 1_000_003


@dataclass(frozen=True)
class StudySpec:
    """A search as plain values, so that any process can join it.

    Attributes:
        name: of the Optuna study.
        storage: URL of Optuna's storage.
        folder: of the fit; ended trials are written below it.
        strategies: names.
        seed: of sampler and trials.
        n_trials: at most so many; None: no limit.
        deadline: of the whole fit.
        is_resumed: whether the folder holds a study that goes on.
    """

    name: str
    storage: str
    folder: Path
    strategies: tuple[str, ...]
    seed: int
    n_trials: int | None
    deadline: Deadline
    is_resumed: bool = False


def create_study(spec: StudySpec, profile: DatasetProfile, warm: Sequence[WarmTrial] = ()) -> None:
    """Make the study in its storage and enqueue the first trials: the rules of thumb that apply.

    A fit's folder is its claim to the name: a study whose folder the user has deleted gives way.
    One that is resumed keeps its trials, see :func:`~autotl.search.takeover.take_up`.

    Args:
        spec: of the study.
        profile: of the data set.
        warm: what did best elsewhere, tried after the rules of thumb.

    Raises:
        InputError: if a study that is resumed can't go on.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(spec.storage)
    strategies = [STRATEGIES[name] for name in spec.strategies]
    if spec.is_resumed and take_up(storage, spec.name, spec.folder, strategies, profile):
        return
    if any(found.study_name == spec.name for found in storage.get_all_studies()):
        storage.delete_study(storage.get_study_id_from_name(spec.name))
    study = optuna.create_study(study_name=spec.name, storage=storage, direction="maximize")
    study.set_user_attr("autotl.fingerprint", profile.fingerprint)
    study.set_user_attr("autotl.strategies", list(spec.strategies))
    for params in first_trials(spec.strategies, profile):
        study.enqueue_trial(params)
    for trial in warm:
        values = trial.config.model_dump()
        params = nearest_in_space(STRATEGIES[trial.strategy], values, profile)[0]
        origin = dict(zip(ORIGIN, (trial.source_study, trial.distance), strict=True))
        study.enqueue_trial({STRATEGY: trial.strategy, **params}, user_attrs=origin)
    mark_complete(study, strategies, profile)


def first_trials(strategies: tuple[str, ...], profile: DatasetProfile) -> list[dict[str, Any]]:
    """What is tried first: one trial of each strategy, cheapest first, then the rules of thumb.

    The bottleneck is tried on every backbone, the others start on the one whose source domain is
    closest. They get as many epochs as a trial can afford; what they leave open is drawn.
    """
    epochs = max(candidate.max_epochs for candidate in profile.backbones.values())
    closest = max(
        profile.backbones, key=lambda name: profile.backbones[name].similarity.value or 0.0
    )
    points = [_of_backbone(STARTING_POINTS[0], name) for name in profile.backbones]
    points += [_of_backbone(point, closest) for point in STARTING_POINTS]
    points += [_of_backbone(rule.first_trial, closest) for rule, _ in triggered(profile)]
    unique: list[dict[str, Any]] = []
    for params in points:
        if params[STRATEGY] != "bottleneck":
            params[f"{params[STRATEGY]}.epochs"] = epochs
        if params[STRATEGY] in strategies and params not in unique:
            unique.append(params)
    return unique


def _of_backbone(params: Mapping[str, Any], backbone: str) -> dict[str, Any]:
    return {**params, f"{params[STRATEGY]}.backbone": backbone}


def run_worker(
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    progress: Progress,
    worker: int = 0,
) -> bool:
    """Run trials of a study until its time or its number of trials is used up.

    The first finished trial of a study is run even if the time is up: a search always ends with
    a model.

    Args:
        spec: of a study that exists.
        task: what to train on.
        profile: of the data set.
        fit_run: the record under which trials are recorded.
        progress: whoever watches.
        worker: which of several workers this is; each draws its own proposals.

    Returns:
        Whether it ended by itself; False after the user's interrupt.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = StrategySampler(spec.strategies, spec.seed + _SEEDS_APART * worker)
    study = optuna.load_study(
        study_name=spec.name,
        storage=open_storage(spec.storage),
        sampler=sampler,
        pruner=StrategyPruner(),
    )
    store = TrialStore(spec.folder / "trials")
    budget = SearchBudget(
        spec.deadline, sum(len(fold.train) for fold in task.folds), len(task.labels)
    )
    try:
        _run_trials(study, store, budget, spec, task, profile, fit_run, progress)
    except KeyboardInterrupt:
        return False
    return True


def _run_trials(
    study: optuna.Study,
    store: TrialStore,
    budget: SearchBudget,
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    progress: Progress,
) -> None:
    n_passed_over = 0
    while n_passed_over < _MAX_PASSED_OVER:
        records = store.load()
        usable = any(record.result is not None for record in records)
        if records and budget.deadline_for(0.0, records).passed:
            return
        # SQLite knows no row locks: without the file's, two workers may get the same trial.
        with uninterrupted(), FileLock(store.folder / "ask.lock"):
            if spec.n_trials is not None and _n_begun(study) >= spec.n_trials:
                return
            trial = study.ask()
        try:
            with uninterrupted():
                strategy = STRATEGIES[trial.suggest_categorical(STRATEGY, spec.strategies)]
                config = strategy.suggest(trial, profile)
                cost_s = strategy.cost(config, task)
                predicted_s = cost_s * correction(records, strategy.name)
                deadline = budget.deadline_for(predicted_s, records) if usable else NEVER
                repeats = _has_ended(records, strategy.name, config)
                if repeats or deadline.left_s() < predicted_s:
                    trial.set_user_attr("state", _REPEATED if repeats else _UNAFFORDABLE)
                    study.tell(trial, state=TrialState.FAIL)
                    n_passed_over += 1
                    continue
            n_passed_over = 0
            record = run_trial(
                trial, strategy, config, task, profile, fit_run, deadline, progress, predicted_s
            )
            record = replace(record, cost_s=cost_s)
        except BaseException:
            with uninterrupted():
                study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
        with uninterrupted():
            store.save(record)
            tell(study, trial, record)
        if record.state == "interrupted":
            raise KeyboardInterrupt


def _has_ended(records: Sequence[TrialRecord], strategy: str, config: StrategyConfig) -> bool:
    """Whether the same config was run to its end, or pruned: it would do the same again."""
    values = config.model_dump()
    return any(
        record.strategy == strategy
        and record.config == values
        and record.state in ("complete", "pruned")
        for record in records
    )


def _n_begun(study: optuna.Study) -> int:
    """Trials that are running or have ended, those that were passed over not counted."""
    return sum(
        trial.state != TrialState.WAITING
        and trial.user_attrs.get("state") not in (_REPEATED, _UNAFFORDABLE)
        for trial in study.get_trials(deepcopy=False)
    )
