"""One trial, from its parameters to its record."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import BaseTrial, TrialState

from autotl.analysis.profile import DatasetProfile
from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.cached import together
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
from autotl.strategies.checkpoint import TrialCheckpoint
from autotl.strategies.memory import out_of_memory
from autotl.tracking.base import TrialRun, TrialRuns

RUN = "run_id"
"""The user attribute that names a trial's record in the tracking store."""
BOUND = "bound_s"
"""The user attribute with the seconds after which a trial counts as hung."""
HUNG_S, HUNG_TIMES = 300.0, 20.0
"""A trial that takes longer than both, seconds and times its prediction, counts as hung."""

OPTUNA_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "deadline": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}


class TrialReporter:
    """Passes a running trial's scores on to Optuna, the record and the display; stops the trial.

    Of a trial that goes on after its process was killed, the curve goes on too, and its seconds
    include those before.

    Args:
        trial: Optuna's.
        run: the trial's record.
        deadline: when the trial must end.
        progress: whoever watches.
        checkpoint: where the trial keeps its state; None: nowhere.
        bound_s: seconds after which it counts as hung.
    """

    def __init__(
        self,
        trial: BaseTrial,
        run: TrialRun,
        deadline: Deadline,
        progress: Progress,
        checkpoint: TrialCheckpoint | None = None,
        bound_s: float = math.inf,
    ) -> None:
        self._trial = trial
        self._run = run
        self._deadline = deadline
        self._progress = progress
        self._bound_s = bound_s
        self._started = time.perf_counter()
        self._before_s = 0.0
        self.curve: list[CurvePoint] = []
        self._reported = set(_told_before(trial))
        self.checkpoint = checkpoint
        if checkpoint is not None:
            earlier = checkpoint.latest_extra()
            self._before_s = float(earlier.get("seconds", 0.0))
            self.curve = [CurvePoint(*point) for point in earlier.get("curve", ())]
            self.checkpoint = dataclasses.replace(checkpoint, extra=self._extra)
        for step, point in enumerate(self.curve, start=1):
            run.log_metrics({"validation_score": point.score}, step=step)

    @property
    def seconds(self) -> float:
        """Since the trial began, the time between its parts left out."""
        return self._before_s + time.perf_counter() - self._started

    def _extra(self) -> dict[str, object]:
        points = [[point.progress, point.seconds, point.score] for point in self.curve]
        return {"seconds": self.seconds, "curve": points}

    def check(self) -> None:
        """Stop the trial if its time is over."""
        if self._deadline.passed:
            raise TrialStopped("deadline")
        if self.seconds > self._bound_s:
            raise OverdueError(f"ended after {self.seconds:.0f} s as overdue")

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        """Note a point of the learning curve; stop the trial if it isn't worth going on."""
        if self.curve and progress <= self.curve[-1].progress:
            self.check()
            return  # done before its process was killed, and again
        self.curve.append(CurvePoint(progress, self.seconds, score))
        self._progress.epoch(self._trial.number, progress, score)
        with uninterrupted():
            self._run.log_metrics({"validation_score": score, **metrics}, step=len(self.curve))
            step = round(progress * PROGRESS_STEPS)
            if np.isfinite(score) and step not in self._reported:
                self._trial.report(score, step=step)
            is_behind = progress < 1.0 and self._trial.should_prune()
        if is_behind:
            raise TrialStopped("pruned")
        if progress < 1.0:
            self.check()


def _told_before(trial: BaseTrial) -> Iterable[int]:
    """Steps that Optuna has heard of; a trial outside of a study has none."""
    if not isinstance(trial, optuna.Trial):
        return ()
    return tuple(trial._cached_frozen_trial.intermediate_values)


class OverdueError(Exception):
    """A trial took many times what was foretold; the message says what."""


def bound_for(predicted_s: float) -> float:
    """Seconds after which a trial counts as hung; without a prediction, never."""
    return max(HUNG_S, HUNG_TIMES * predicted_s) if predicted_s else math.inf


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
    checkpoint: TrialCheckpoint | None = None,
) -> TrialRecord:
    """Run one trial and record how it ended.

    Out-of-memory, a diverging loss, pruning, the deadline, many times the predicted seconds and the
    user's interrupt are outcomes, in the record's ``state``; any other exception surfaces after the
    record is closed.

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
        checkpoint: where it keeps its state, and may have kept it before its process was killed.
    """
    values: dict[str, Any] = config.model_dump()
    with uninterrupted(), together(trial):
        trial.set_user_attr("config", values)
        run = fit_run.start_trial(trial.number, strategy.name, values)
        trial.set_user_attr(RUN, run.run_id)
        progress.trial_started(trial.number, strategy.name)
        bound_s = bound_for(predicted_s)
        if math.isfinite(bound_s):
            trial.set_user_attr(BOUND, bound_s)
        reporter = TrialReporter(trial, run, deadline, progress, checkpoint, bound_s)
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
    except OverdueError as overdue:
        error = f"{overdue}: {predicted_s:.0f} s were foretold"
    except KeyboardInterrupt:
        state = "interrupted"
    except BaseException as unexpected:
        error = out_of_memory(unexpected)
        if error is None:
            error = f"{type(unexpected).__name__}: {unexpected}"
            raise
    finally:
        seconds = reporter.seconds
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


def tell(study: optuna.Study, trial: optuna.Trial, record: TrialRecord) -> None:
    """Tell Optuna how a trial ended."""
    with together(trial):
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
