"""The search: one Optuna study over all strategies, until nothing more is worth its time."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import NEVER, Deadline
from autotl.search.allocation import allocation_for
from autotl.search.arms import arms_of, config_of, params_of
from autotl.search.asking import asked, begin_trial
from autotl.search.budget import SearchBudget
from autotl.search.cached import SearchStorage, together
from autotl.search.interrupts import uninterrupted
from autotl.search.knowledge import DRAWN, Arm
from autotl.search.nominal import nominal_task
from autotl.search.objective import run_trial, tell
from autotl.search.plan import (
    REPEATED,
    STATE,
    STRATEGY,
    UNAFFORDABLE,
    Plan,
    arm_of,
    best_s_of,
    correction,
    strategy_of,
)
from autotl.search.pruner import StrategyPruner
from autotl.search.published import refuse_anothers
from autotl.search.records import TrialStore
from autotl.search.sampler import StrategySampler
from autotl.search.signs import ELSEWHERE, pulse
from autotl.search.space import Space, narrow
from autotl.search.storage import open_storage
from autotl.search.takeover import hand_back, mark_complete, take_up
from autotl.search.turns import turn
from autotl.search.warm_start import WARM_START, WarmTrial, hold
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig, Task
from autotl.tracking.base import FitRun

_MAX_PASSED_OVER = 24
"""So many proposals in a row that were tried before or don't fit into the time left end it."""
_SEEDS_APART = 1_000_003
_IN_VAIN = "trial {} was given to another worker: it was run here in vain"


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
        deadline: of the search, the finalists, the final fit and the closing included.
        finalists_s: seconds to keep back from the search for the finalists.
        is_resumed: whether the folder holds a study that goes on.
        space: what the study leaves of its strategies' choices.
    """

    name: str
    storage: str
    folder: Path
    strategies: tuple[str, ...]
    seed: int
    n_trials: int | None
    deadline: Deadline
    finalists_s: float = 0.0
    is_resumed: bool = False
    space: Space = field(default_factory=dict)


def create_study(spec: StudySpec, profile: DatasetProfile, warm: Sequence[WarmTrial] = ()) -> None:
    """Make the study in its storage.

    A fit's folder is its claim to the name: a study whose folder the user has deleted gives way.
    One that is resumed keeps its trials, see :func:`~autotl.search.takeover.take_up`.

    Args:
        spec: of the study.
        profile: of the data set.
        warm: what did best elsewhere; it is tried as soon as a first trial has finished.

    Raises:
        InputError: if a study that is resumed can't go on, or the name is that of another's study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(spec.storage)
    strategies = [narrow(STRATEGIES[name], spec.space) for name in spec.strategies]
    refuse_anothers(storage, spec.name, spec.folder, profile.fingerprint, spec.is_resumed)
    if spec.is_resumed and take_up(storage, spec.name, spec.folder, strategies, profile):
        return
    if any(found.study_name == spec.name for found in storage.get_all_studies()):
        storage.delete_study(storage.get_study_id_from_name(spec.name))
    study = optuna.create_study(study_name=spec.name, storage=storage, direction="maximize")
    study.set_user_attr("autotl.fingerprint", profile.fingerprint)
    study.set_user_attr("autotl.strategies", list(spec.strategies))
    hold(study, warm, profile)
    mark_complete(study, strategies, profile)


def run_worker(
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    progress: Progress,
    worker: int = 0,
    *,
    is_elsewhere: bool = False,
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
        is_elsewhere: whether the process that called ``fit`` doesn't look after this one: then it
            gives signs of life, and a trial that is interrupted waits for another worker.

    Returns:
        Whether it ended by itself; False after the user's interrupt.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    n_folds_samples = sum(len(fold.train) for fold in task.folds)
    budget = SearchBudget(spec.deadline, n_folds_samples, len(task.labels), spec.finalists_s)
    storage = open_storage(spec.storage)
    pruner = StrategyPruner(task.metric.name, [len(fold.validation) for fold in task.folds])
    study = optuna.load_study(study_name=spec.name, storage=SearchStorage(storage), pruner=pruner)
    plan = plan_for(
        *(spec.strategies, task, profile, budget.fits, spec.n_trials),
        is_timed=spec.deadline.at is not None,
        space=spec.space,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = StrategySampler(plan, spec.seed + _SEEDS_APART * worker)
    study.sampler = sampler
    try:
        _run_trials(
            *(study, storage, sampler, budget, spec, task, profile, fit_run, progress),
            is_elsewhere=is_elsewhere,
        )
    except KeyboardInterrupt:
        return False
    return True


def plan_for(
    strategies: Sequence[str],
    task: Task,
    profile: DatasetProfile,
    fits: Callable[[float, float | None], bool],
    n_trials: int | None = None,
    *,
    is_timed: bool = True,
    space: Space | None = None,
) -> Plan:
    """The plan of a search.

    Args:
        strategies: names.
        task: what to train on.
        profile: of the data set.
        fits: whether a trial of so many seconds still fits into the time, where the best so far
            took so many; None: there is none.
        n_trials: that the study may have; None: no limit.
        is_timed: whether it has to end in a time; if not, nothing hangs on a clock.
        space: what the study leaves of their choices; None: everything.
    """
    space = space or {}
    arms = arms_of(strategies, profile, space)
    priced = task if is_timed else nominal_task(task)

    config = cache(lambda arm: config_of(arm, profile, space))

    def price(arm: Arm) -> float:
        return STRATEGIES[arm.strategy].cost(config(arm), priced)

    return Plan(
        arms=arms,
        price=price,
        allocation=allocation_for(task, profile),
        params=lambda arm: params_of(arm, profile, space),
        fits=fits,
        n_trials=n_trials,
        is_timed=is_timed,
    )


def _run_trials(
    study: optuna.Study,
    storage: RDBStorage,
    sampler: StrategySampler,
    budget: SearchBudget,
    spec: StudySpec,
    task: Task,
    profile: DatasetProfile,
    fit_run: FitRun,
    progress: Progress,
    *,
    is_elsewhere: bool,
) -> None:
    store = TrialStore(spec.folder / "trials")
    strategies = {name: narrow(STRATEGIES[name], spec.space) for name in spec.strategies}
    own = {ELSEWHERE: f"{socket.gethostname()}:{os.getpid()}"} if is_elsewhere else {}
    n_passed_over = 0
    while n_passed_over < _MAX_PASSED_OVER:
        with ExitStack() as alive:
            with uninterrupted():
                study.get_trials(deepcopy=False)  # what has ended is read before others wait
                with turn(storage, study._study_id, store.folder):
                    begun = begin_trial(study, sampler, spec.n_trials, own, progress.note)
                    if begun is None:
                        return
                    trial_id, trials = begun
                    if is_elsewhere:
                        alive.enter_context(pulse(storage, trial_id))
                trial = asked(study, trial_id)
            try:
                with uninterrupted():
                    with together(trial):
                        strategy = strategies[trial.suggest_categorical(STRATEGY, spec.strategies)]
                        config = strategy.suggest(trial, profile)
                    cost_s = strategy.cost(config, task)
                    predicted_s = cost_s * correction(trials, strategy.name)
                    best_s = best_s_of(trials)
                    repeats = _has_ended(trials, strategy.name, config)
                    if repeats or (trials and not budget.fits(predicted_s, best_s)):
                        trial.set_user_attr(STATE, REPEATED if repeats else UNAFFORDABLE)
                        study.tell(trial, state=TrialState.FAIL)
                        n_passed_over += 1
                        continue
                    deadline = NEVER if best_s is None else budget.deadline_for(predicted_s, best_s)
                    origin = _origin(trial)
                n_passed_over = 0
                checkpoint = store.checkpoint(trial.number, strategy.name, config, task.seed)
                record = run_trial(
                    *(trial, strategy, config, task, profile, fit_run, deadline, progress),
                    predicted_s,
                    checkpoint,
                )
                record = replace(record, cost_s=cost_s, recipe=origin.get("recipe", ""))
            except BaseException as error:
                if is_elsewhere and isinstance(error, UpdateFinishedTrialError):
                    progress.note(_IN_VAIN.format(trial.number))
                    continue
                with uninterrupted():
                    if isinstance(error, KeyboardInterrupt):
                        trial.set_user_attr(STATE, "interrupted")
                    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
                raise
            if is_elsewhere and record.state == "interrupted":
                alive.close()
                hand_back(storage, trial._trial_id)
                raise KeyboardInterrupt
            if is_elsewhere and storage.get_trial(trial._trial_id).state != TrialState.RUNNING:
                progress.note(_IN_VAIN.format(trial.number))
                continue
            with uninterrupted():
                store.save(record)
                tell(study, trial, record)
                checkpoint.clear()
                if origin:
                    fit_run.tag_trial(record.run_id, origin)
            if record.state == "interrupted":
                raise KeyboardInterrupt


def _origin(trial: optuna.Trial) -> dict[str, str]:
    """What a trial's settings come from: a recipe, or an earlier fit."""
    if WARM_START in trial.user_attrs:
        return {WARM_START: str(trial.user_attrs[WARM_START])}
    arm = arm_of(trial._cached_frozen_trial)
    return {} if arm is None or arm.recipe == DRAWN else {"recipe": arm.recipe}


def _has_ended(trials: Sequence[FrozenTrial], strategy: str, config: StrategyConfig) -> bool:
    """Whether the same config was run to its end, or pruned: it would do the same again."""
    values = config.model_dump()
    return any(
        trial.user_attrs.get("config") == values
        and trial.user_attrs.get(STATE) in ("complete", "pruned")
        and strategy_of(trial) == strategy
        for trial in trials
    )
