from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from search_helpers import Scripted, ScriptedConfig, SpyRun, result_of

from autotl.progress import Progress
from autotl.runtime import Deadline
from autotl.search.objective import out_of_memory, run_trial
from autotl.search.pruner import StrategyPruner
from autotl.search.records import TrialStore
from autotl.search.study import StudySpec, create_study, run_worker
from autotl.strategies.base import (
    DivergedError,
    Reporter,
    Task,
    TrialRecord,
    TrialResult,
    TrialStopped,
)
from autotl.tracking.mlflow import MlflowFitRun
from autotl.tracking.store import EXPERIMENT, ID_TAG

Behaviour = Callable[[ScriptedConfig, Task, Reporter], TrialResult]


def raising(error: BaseException) -> Behaviour:
    def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        reporter.report(0.5, 0.25, {"train_loss": 2.0})
        raise error

    return behave


def complete(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
    reporter.report(0.5, 0.25, {"train_loss": 2.0})
    return result_of(task, 0.75)


def nan_score(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
    found = result_of(task, 0.75)
    object.__setattr__(found, "score", float("nan"))
    return found


OUTCOMES: dict[str, tuple[Behaviour, str, TrialState, str, str | None]] = {
    "complete": (complete, "complete", TrialState.COMPLETE, "FINISHED", None),
    "pruned": (raising(TrialStopped("pruned")), "pruned", TrialState.PRUNED, "FINISHED", None),
    "deadline": (raising(TrialStopped("deadline")), "deadline", TrialState.PRUNED, "KILLED", None),
    "diverged": (
        raising(DivergedError("the loss became nan")),
        *("failed", TrialState.FAIL, "FAILED", "the loss became nan"),
    ),
    "memory": (
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")),
        *("failed", TrialState.FAIL, "FAILED", "out of memory: CUDA out of memory"),
    ),
    "memory without a word": (
        raising(torch.OutOfMemoryError("")),
        *("failed", TrialState.FAIL, "FAILED", "out of memory"),
    ),
    "nan score": (nan_score, "failed", TrialState.FAIL, "FAILED", "accuracy"),
    "interrupted": (
        raising(KeyboardInterrupt()),
        *("interrupted", TrialState.FAIL, "KILLED", None),
    ),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_is_recorded_in_all_three_stores(
    name: str,
    script: Callable[..., dict[str, Scripted]],
    make_spec: Callable[..., StudySpec],
    task: Task,
    make_profile: Callable[..., Any],
    mlflow_uri: str,
) -> None:
    behave, state, optuna_state, status, error = OUTCOMES[name]
    script(bottleneck=behave)
    spec = make_spec(strategies=("bottleneck",), n_trials=1)
    create_study(spec, make_profile())
    parent = MlflowFitRun.start(mlflow_uri, name, spec.folder)
    by_itself = run_worker(spec, task, make_profile(), parent, Progress())
    assert by_itself is (state != "interrupted")

    (record,) = TrialStore(spec.folder / "trials").load()
    assert record.state == state
    assert (record.result is not None) is (state == "complete")
    assert (record.error is None) is (error is None)
    assert error is None or error in str(record.error)

    stored = optuna.load_study(study_name=spec.name, storage=spec.storage).trials[0]
    assert stored.state == optuna_state
    assert stored.user_attrs["state"] == state
    assert stored.user_attrs["config"] == record.config
    assert stored.user_attrs.get("error") == record.error
    values = {TrialState.COMPLETE: 0.75, TrialState.PRUNED: 0.25, TrialState.FAIL: None}
    assert stored.value == values[optuna_state]

    run, of_fit = runs_of(mlflow_uri, parent, record.run_id)
    assert run.info.status == status
    assert run.data.tags["state"] == state
    assert run.data.tags.get("error") == record.error
    assert run.data.tags["mlflow.parentRunId"] == of_fit.info.run_id
    assert run.data.params == {"strategy": "bottleneck"} | {
        key: str(value) for key, value in record.config.items()
    }
    if state == "complete":
        assert run.data.metrics["validation_accuracy"] == 0.75
        assert run.data.metrics["validation_score"] == 0.75  # not the 0.25 of its only epoch
    elif name != "nan score":
        assert run.data.metrics["validation_score"] == 0.25
    assert run.data.metrics["seconds"] == pytest.approx(record.seconds)


def runs_of(uri: str, fit: MlflowFitRun, own_id: str) -> tuple[Run, Run]:
    """What MLflow has of a trial, and of its fit, by the ids that they were given here."""
    fit.end("complete")
    client = MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == EXPERIMENT)
    found = [
        client.search_runs([experiment.experiment_id], f"tags.`{ID_TAG}` = '{wanted}'")[0]
        for wanted in (own_id, fit.run_id)
    ]
    return found[0], found[1]


def test_any_other_error_surfaces_and_leaves_nothing_open(
    script: Callable[..., dict[str, Scripted]],
    make_spec: Callable[..., StudySpec],
    task: Task,
    make_profile: Callable[..., Any],
    mlflow_uri: str,
) -> None:
    script(bottleneck=raising(ZeroDivisionError("a bug")))
    spec = make_spec(strategies=("bottleneck",), n_trials=3)
    create_study(spec, make_profile())
    parent = MlflowFitRun.start(mlflow_uri, "a bug", spec.folder)
    with pytest.raises(ZeroDivisionError):
        run_worker(spec, task, make_profile(), parent, Progress())
    begun, *_ = optuna.load_study(study_name=spec.name, storage=spec.storage).trials
    assert begun.state == TrialState.FAIL
    client = MlflowClient(mlflow_uri)
    _, of_fit = runs_of(mlflow_uri, parent, parent.run_id)
    query = f"tags.`mlflow.parentRunId` = '{of_fit.info.run_id}'"
    (run,) = client.search_runs([of_fit.info.experiment_id], query)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ZeroDivisionError: a bug"


def run_one(behave: Behaviour, task: Task, **changes: Any) -> tuple[TrialRecord, SpyRun]:
    """One trial outside a worker, and what its record was told."""
    study = optuna.create_study(direction="maximize", pruner=StrategyPruner("accuracy", (100,)))
    values: dict[str, Any] = {"deadline": Deadline(None), "progress": Progress()} | changes
    spy = SpyRun()
    config = ScriptedConfig(backbone="embedded", x=0.5)
    strategy: Any = Scripted("finetune", behave)
    record = run_trial(study.ask(), strategy, config, task, None, spy, **values)  # type: ignore[arg-type]
    return record, spy


def test_parameters_are_logged_before_training(task: Task) -> None:
    seen: list[int] = []

    def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        seen.append(len(spies[0].calls))
        return result_of(task, 1.0)

    spies = [SpyRun()]
    study = optuna.create_study(direction="maximize")
    config = ScriptedConfig(backbone="embedded", x=0.5)
    strategy: Any = Scripted("finetune", behave)
    run_trial(
        *(study.ask(), strategy, config, task, None, spies[0]),  # type: ignore[arg-type]
        *(Deadline(None), Progress()),
    )
    assert seen == [1]
    assert spies[0].calls[0] == ("start", 0, "finetune", {"backbone": "embedded", "x": 0.5})
    assert study.trials[0].user_attrs["config"] == {"backbone": "embedded", "x": 0.5}


def test_every_epoch_is_logged_once_in_order(task: Task) -> None:
    def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        for epoch in (1, 2, 3):
            reporter.report(epoch / 4, epoch / 10, {"train_loss": 1 / epoch})
        return result_of(task, 0.5)

    record, spy = run_one(behave, task)
    assert [call for call in spy.calls if call[0] == "metrics"] == [
        ("metrics", {"validation_score": n / 10, "train_loss": 1 / n}, n) for n in (1, 2, 3)
    ]
    assert [(p.progress, p.score) for p in record.curve] == [(0.25, 0.1), (0.5, 0.2), (0.75, 0.3)]
    assert spy.calls[-1][:2] == ("end", "complete")


def test_what_a_trial_was_predicted_to_take_is_in_its_record(task: Task) -> None:
    record, spy = run_one(complete, task, predicted_s=2.0)
    figures = spy.calls[-1][2]
    assert figures["predicted_seconds"] == 2.0
    assert figures["seconds_by_predicted"] == pytest.approx(record.seconds / 2.0)
    _, pruned = run_one(raising(TrialStopped("pruned")), task, predicted_s=2.0)
    assert pruned.calls[-1][2]["predicted_seconds"] == 2.0
    _, without = run_one(complete, task)
    assert not {"predicted_seconds", "seconds_by_predicted"} & without.calls[-1][2].keys()


def test_figures_of_the_work_are_in_the_record(task: Task) -> None:
    def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        task.store.meter.count(7, 2, each_s=0.5)
        return result_of(task, 0.75)

    task.store.meter.count(100, 100, each_s=1.0)  # by an earlier trial
    record, spy = run_one(behave, task)
    expected = {"store_reads": 7.0, "store_misses": 2.0, "saved_seconds": 3.5}
    assert expected.items() <= spy.calls[-1][2].items()
    assert expected.items() <= record.figures.items()
    assert spy.calls[-1][2]["validation_accuracy"] == 0.75


def test_a_trial_ends_when_its_time_is_over(task: Task) -> None:
    def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        reporter.check()
        raise AssertionError("it should have been stopped")

    record, _ = run_one(behave, task, deadline=Deadline.after(-1))
    assert record.state == "deadline"


def test_work_that_is_done_is_not_thrown_away(task: Task) -> None:
    def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        reporter.report(1.0, 0.5, {})
        return result_of(task, 0.5)

    record, _ = run_one(behave, task, deadline=Deadline.after(-1))
    assert record.state == "complete"


def test_a_score_that_is_not_a_number_is_not_reported_to_optuna(task: Task) -> None:
    def behave(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        reporter.report(0.5, float("nan"), {"train_loss": float("nan")})
        return result_of(task, 0.5)

    record, _ = run_one(behave, task)
    assert record.state == "complete"
    assert len(record.curve) == 1


def test_the_display_gets_the_metric_s_value_not_its_score(make_task: Callable[..., Task]) -> None:
    class Watch(Progress):
        ended: tuple[Any, ...] = ()

        def trial_ended(self, *args: Any) -> None:
            self.ended = args

    watch, task = Watch(), make_task(metric="log_loss")
    record, _ = run_one(lambda c, t, r: result_of(t, 1.0), task, progress=watch)
    assert record.result is not None
    assert record.result.score < 0  # greater is better
    assert watch.ended[:3] == (0, "finetune", "complete")
    assert watch.ended[3] == pytest.approx(-record.result.score)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[..] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_exhausted_memory_is_told_from_bugs(error: BaseException, expected: bool) -> None:
    said = out_of_memory(error)
    assert (said is not None) is expected
    assert said is None or said.startswith("out of memory")
