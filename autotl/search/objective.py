"""One trial, from its parameters to its record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import BaseTrial, TrialState

from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.interrupts import uninterrupted
from autotl.search.plan import COST, SECONDS, STATE
from autotl.search.pruner import PROGRESS_STEPS
from autotl.strategies.base import (
    CurvePoint,
    DivergedError,
    Strategy,
    StrategyConfig,
    Task,
    TrialRecord,
    TrialResult,
    TrialStopped,
)
from autotl.tracking.base import TrialRun, TrialRuns

OPTUNA_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "deadline": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}


class TrialReporter:
    """Passes a running trial's scores on to Optuna, the record and the display; stops the trial.

    Args:
        trial: Optuna's.
        run: the trial's record.
        deadline: when the trial must end.
        progress: whoever watches.
    """

    def __init__(
        self, trial: BaseTrial, run: TrialRun, deadline: Deadline, progress: Progress
    ) -> None:
        self._trial = trial
        self._run = run
        self._deadline = deadline
        self._progress = progress
        self._started = time.perf_counter()
        self.curve: list[CurvePoint] = []

    def check(self) -> None:
        """Stop the trial if its time is over."""
        if self._deadline.passed:
            raise TrialStopped("deadline")

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        """Note a point of the learning curve; stop the trial if it isn't worth going on."""
        seconds = time.perf_counter() - self._started
        self.curve.append(CurvePoint(progress, seconds, score))
        self._progress.epoch(self._trial.number, progress, score)
        with uninterrupted():
            self._run.log_metrics({"validation_score": score, **metrics}, step=len(self.curve))
            if np.isfinite(score):
                self._trial.report(score, step=round(progress * PROGRESS_STEPS))
            is_behind = progress < 1.0 and self._trial.should_prune()
        if is_behind:
            raise TrialStopped("pruned")
        if progress < 1.0:
            self.check()


def run_trial(
    trial: BaseTrial,
    strategy: Strategy,
    config: StrategyConfig,
    task: Task,
    profile: DatasetProfile,
    fit_run: TrialRuns,
    deadline: Deadline,
    progress: Progress,
    predicted_s: float = 0.0,
) -> TrialRecord:
    """Run one trial and record how it ended.

    Out-of-memory, a diverging loss, pruning, the deadline and the user's interrupt are outcomes,
    in the record's ``state``; any other exception surfaces after the record is closed.

    Args:
        trial: Optuna's; for a run outside the study, a fixed one.
        strategy: which one.
        config: of it.
        task: what to train on.
        profile: of the data set.
        fit_run: the record under which the trial is recorded.
        deadline: when the trial must end.
        progress: whoever watches.
        predicted_s: seconds that it was expected to take, for the record; 0: unknown.
    """
    values: dict[str, Any] = config.model_dump()
    with uninterrupted():
        trial.set_user_attr("config", values)
        run = fit_run.start_trial(trial.number, strategy.name, values)
    progress.trial_started(trial.number, strategy.name)
    reporter = TrialReporter(trial, run, deadline, progress)
    started = time.perf_counter()
    before = dataclasses.replace(task.store.meter)
    state, result, error = "failed", None, None
    if task.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(task.device)
    try:
        result = strategy.run(config, task, reporter)
        score = result.score
        if np.isfinite(score):
            state = "complete"
        else:
            result, error = None, f"the {task.metric.name} of its predictions is {score}"
    except TrialStopped as stopped:
        state = stopped.reason
    except DivergedError as diverged:
        error = str(diverged)
    except KeyboardInterrupt:
        state = "interrupted"
    except BaseException as unexpected:
        error = out_of_memory(unexpected)
        if error is None:
            error = f"{type(unexpected).__name__}: {unexpected}"
            raise
    finally:
        seconds = time.perf_counter() - started
        record = TrialRecord(
            number=trial.number,
            strategy=strategy.name,
            config=values,
            state=state,
            seconds=seconds,
            curve=tuple(reporter.curve),
            result=result,
            error=error,
            run_id=run.run_id,
            figures=task.store.meter.since(before).figures(seconds),
        )
        with uninterrupted():
            run.end(state, _figures(record, predicted_s), error)
    value = (
        None
        if result is None
        else task.metric.value(task.labels[result.samples], result.probabilities)
    )
    progress.trial_ended(trial.number, strategy.name, state, value, record.seconds)
    return record


def out_of_memory(error: BaseException) -> str | None:
    """What an error says if it is one of exhausted memory, on a GPU or not; None if it isn't."""
    message = str(error)
    # On the CPU torch raises a plain RuntimeError.
    full = isinstance(error, RuntimeError) and "can't allocate memory" in message
    if not (full or isinstance(error, torch.OutOfMemoryError | MemoryError)):
        return None
    return f"out of memory: {message.strip().partition(chr(10))[0][:300]}".rstrip(": ")


def tell(study: optuna.Study, trial: optuna.Trial, record: TrialRecord) -> None:
    """Tell Optuna how a trial ended."""
    trial.set_user_attr(STATE, record.state)
    trial.set_user_attr(SECONDS, record.seconds)
    trial.set_user_attr(COST, record.cost_s)
    if record.error is not None:
        trial.set_user_attr("error", record.error)
    study.tell(
        trial,
        None if record.result is None else record.result.score,
        state=OPTUNA_STATES[record.state],
    )


def _figures(record: TrialRecord, predicted_s: float) -> dict[str, float]:
    """What the record of a trial shows as its last figures."""
    figures = {"seconds": record.seconds, **record.figures}
    if predicted_s:
        figures |= {
            "predicted_seconds": predicted_s,
            "seconds_by_predicted": record.seconds / predicted_s,
        }
    result: TrialResult | None = record.result
    if result is not None:
        figures |= {f"validation_{name}": value for name, value in result.metrics.items()}
        figures |= {
            "validation_score": result.score,
            "peak_bytes": float(result.peak_bytes),
            "n_trainable": float(result.n_trainable),
        }
    return figures
