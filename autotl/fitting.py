"""The steps of a fit between its data and its result; :func:`autotl.api.fit` puts them in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from autotl.config import FitConfig
from autotl.errors import InputError, is_disk_full
from autotl.joining import join_quietly, publish
from autotl.metrics import all_metrics
from autotl.preparation import Prepared
from autotl.progress import Progress
from autotl.recommend.calibration import expected_calibration_error, fit_temperature
from autotl.recommend.cost import Cost, forward_seconds
from autotl.recommend.decision import Decision, TestScore
from autotl.runtime import NEVER, Deadline
from autotl.search.budget import CLOSING_S, finalists_s
from autotl.search.executors.joint import run_jointly
from autotl.search.executors.local import run_search
from autotl.search.nominal import nominal_task
from autotl.search.records import TrialStore
from autotl.search.space import is_inside
from autotl.search.study import StudySpec, create_study
from autotl.search.warm_start import WarmTrial, told, warm_trials
from autotl.strategies import STRATEGIES
from autotl.strategies.base import DivergedError, SilentReporter, Task, TrialRecord, TrialStopped
from autotl.strategies.fitted import FittedModel
from autotl.strategies.memory import out_of_memory
from autotl.tracking.mlflow import MlflowFitRun
from autotl.uncertainty import confidence_interval
from autotl.workspace import Workspace

_NO_TIME = (
    "reading, measuring and recording left no time for a search: only the cheapest model was made"
)


def search(
    prepared: Prepared,
    config: FitConfig,
    place: Workspace,
    run: MlflowFitRun,
    deadline: Deadline,
    progress: Progress,
) -> tuple[bool, tuple[str, ...]]:
    """Run the study; where the disk gets full, it ends with what there is.

    Returns:
        False if the user interrupted it; and what to tell the user about it.
    """
    progress.phase("search", deadline.shown_s)
    n_ended = len(TrialStore(place.trials).load()) if place.is_resumed else 0
    spec = StudySpec(
        name=place.study_name,
        storage=place.storage,
        folder=place.folder,
        strategies=config.strategy_names,
        seed=config.seed,
        n_trials=config.n_trials,
        deadline=deadline,
        finalists_s=finalists_s(deadline, config.strategy_names),
        is_resumed=place.is_resumed,
        space=config.space,
    )
    warm: list[WarmTrial] = []
    notes: tuple[str, ...] = ()
    if deadline.passed and not n_ended:
        notes = (_NO_TIME,)
        progress.note(_NO_TIME)
    if place.is_resumed:
        progress.note(f"study {place.study_name!r} goes on: trials that have ended: {n_ended}")
    elif config.warm_start:
        warm = warm_trials(
            place.output_dir,
            prepared.profile,
            config.strategy_names,
            exclude=place.study_name,
            note=progress.note,
        )
        warm = [trial for trial in warm if _is_in_space(trial, config, prepared)]
    if warm:
        progress.note(told(warm))
    try:
        create_study(spec, prepared.profile, warm)
        publish(spec, prepared, config, place, run.run_id)
        own = workers_of(config, spec, prepared, run, progress)
        is_loss = not prepared.task.metric.greater_is_better
        return run_jointly(spec, own, progress, is_loss=is_loss), notes
    except Exception as error:
        if not is_disk_full(error):
            raise
        place.make_room()
        note = "the disk got full: the search ended there, with what was finished until then"
        progress.note(note)
        return True, (*notes, note)


def costs_by_rule(
    records: Sequence[TrialRecord], task: Task, deadline: Deadline
) -> dict[int, Cost] | None:
    """What finished trials cost by their sizes and epochs, where the fit has no time to end in.

    By measured seconds the same fit might decide otherwise when run again, or killed on the way.

    Returns:
        By number of a trial; None where there is a time: then the clock may decide.
    """
    if deadline.at is not None:
        return None
    nominal = nominal_task(task)

    def cost(record: TrialRecord) -> Cost:
        strategy = STRATEGIES[record.strategy]
        config = strategy.Config.model_validate(dict(record.config))
        speed = nominal.speeds[str(record.config["backbone"])]
        return Cost(strategy.cost(config, nominal), forward_seconds(record, speed))

    return {record.number: cost(record) for record in records if record.result is not None}


def workers_of(
    config: FitConfig, spec: StudySpec, prepared: Prepared, run: MlflowFitRun, progress: Progress
) -> Callable[[], bool]:
    """What runs the fit's own workers: on this machine, or on a Ray cluster."""
    if config.executor == "ray":
        from autotl.search.executors.ray import RayWorkers, run_on_ray

        workers = RayWorkers(
            config.workers, config.worker_cpus, config.worker_gpus, config.ray_address
        )
        return lambda: run_on_ray(join_quietly, (spec.name, spec.storage), spec, workers, progress)
    task, profile = prepared.task, prepared.profile
    return lambda: run_search(spec, task, profile, run, progress, config.workers)


def _is_in_space(trial: WarmTrial, config: FitConfig, prepared: Prepared) -> bool:
    params = STRATEGIES[trial.strategy].params(trial.config, prepared.profile)
    return is_inside(params, config.space)


def refit(
    decision: Decision,
    task: Task,
    place: Workspace,
    deadline: Deadline,
    progress: Progress,
    *,
    interrupted: bool,
) -> tuple[FittedModel, tuple[str, ...]]:
    """Train the winner's config on all development samples.

    Where there is no time for that, or the user interrupted the fit, the model is the one that the
    winning trial trained on its first fold.

    Returns:
        The model, and what to tell the user about it.
    """
    strategy = STRATEGIES[decision.winner.strategy]
    winner = strategy.Config.model_validate(dict(decision.winner.config))
    kept = TrialStore(place.trials).load_model(decision.winner)
    reason = "the fit was interrupted" if interrupted else ""
    if not interrupted:
        progress.phase("refit", deadline.shown_s)
        try:
            limit = deadline.earlier(CLOSING_S / 2) if kept is not None else NEVER
            return strategy.fit(winner, task, task.all_samples, None, SilentReporter(limit)), ()
        except TrialStopped:
            reason = "the time was up"
        except DivergedError as error:
            reason = f"the final fit diverged ({error})"
        except KeyboardInterrupt:
            reason = "the fit was interrupted"
        except (RuntimeError, MemoryError) as error:
            exhausted = out_of_memory(error)
            if exhausted is None:
                raise
            reason = f"the final fit ran {exhausted}"
    if kept is None:
        raise InputError(f"no trained model is left: {reason}; give a larger time budget")
    share = len(task.folds[0].train) / len(task.labels)
    return kept, (
        f"{reason}: the model is the winning trial's own, trained on {100 * share:.0f} % of the "
        "development samples instead of all",
    )


def calibrated(model: FittedModel, decision: Decision, task: Task) -> FittedModel:
    """The model with the temperature that suits the winning trial's validation predictions.

    Those are of models that hadn't seen the samples; the refitted model has, and saw a few more.
    """
    result = decision.winner.result
    assert result is not None
    temperature = fit_temperature(task.labels[result.samples], result.probabilities)
    return replace(model, temperature=temperature)


def read_test(model: FittedModel, prepared: Prepared) -> TestScore | None:
    """Open the locked test set, once; None if there is none."""
    test, task = prepared.test, prepared.task
    if not len(test.samples):
        return None
    samples = np.arange(len(test.samples))
    pixels = test.pixels(model.backbone.image_size)
    probabilities = model.predict_proba(pixels, samples, device=task.device)
    return TestScore(
        metric=task.metric.name,
        value=task.metric.value(test.labels, probabilities),
        interval=confidence_interval(
            task.metric, test.labels, probabilities, seed=task.seed, groups=test.groups
        ),
        labels=test.labels,
        probabilities=probabilities,
        metrics={
            **all_metrics(test.labels, probabilities),
            "expected_calibration_error": expected_calibration_error(test.labels, probabilities),
        },
    )
