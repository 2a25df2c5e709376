"""What a trial costs beside its training: sampler, pruner, Optuna's storage, records, MLflow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from autotl.metrics import all_metrics
from autotl.search.allocation import Allocation
from autotl.search.arms import arms_of, params_of
from autotl.search.knowledge import DRAWN, Arm, shipped
from autotl.search.plan import ARM, COST, SECONDS, STATE, STRATEGY, Plan
from autotl.search.pruner import StrategyPruner
from autotl.search.records import TrialStore
from autotl.search.sampler import StrategySampler
from autotl.search.storage import open_storage
from autotl.strategies import STRATEGIES
from autotl.strategies.base import TrialRecord, TrialResult
from autotl.tracking.mlflow import MlflowFitRun

N_SAMPLES, N_CLASSES = 300, 10
N_MEASURED = 15
_STRATEGIES = ("bottleneck", "finetune", "scratch")


def measure(n_before: int, profile: Any, folder: Path) -> dict[str, float]:
    """Medians in milliseconds over some trials of a study that has so many behind it.

    Returns:
        By part: ``choose`` (the plan and the drawing of all settings), ``report`` (one epoch's
        score, with the pruner), ``tell``, ``record`` (of the trial, on disk), ``mlflow``; and
        their sum, ``all``.
    """
    storage = open_storage(f"sqlite:///{folder / 'optuna.db'}")
    study = optuna.create_study(storage=storage, direction="maximize")
    study.add_trials([_earlier(k) for k in range(n_before)])
    plan = Plan(
        arms=arms_of(_STRATEGIES, profile),
        price=lambda arm: 10.0,
        allocation=Allocation(shipped(), "accuracy", N_SAMPLES, N_SAMPLES),
        params=lambda arm: params_of(arm, profile),
        fits=lambda seconds, best_s: True,
    )
    study.sampler = sampler = StrategySampler(plan, seed=0)
    study.pruner = StrategyPruner("accuracy", [N_SAMPLES])
    store = TrialStore(folder / "trials")
    for k in range(n_before):
        store.save(_record(k, 0.5))
    place = (folder / "overhead", folder / "artifacts")
    run = MlflowFitRun.start(f"sqlite:///{folder / 'mlflow.db'}", "overhead", *place)
    parts: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = call()
        parts.setdefault(name, []).append(1000 * (time.perf_counter() - started))
        return found

    for k in range(N_MEASURED):

        def choose() -> tuple[optuna.Trial, dict[str, Any]]:
            trials = study.get_trials(deepcopy=False)
            sampler.plan(trials)
            trial = study.ask()
            name = trial.suggest_categorical(STRATEGY, _STRATEGIES)
            return trial, STRATEGIES[name].suggest(trial, profile).model_dump()

        trial, config = timed("choose", choose)

        def report(trial: optuna.Trial = trial) -> None:
            trial.report(0.5, step=500)
            trial.should_prune()

        def tell(trial: optuna.Trial = trial) -> None:
            for name, value in ((STATE, "complete"), (SECONDS, 1.0), (COST, 1.0)):
                trial.set_user_attr(name, value)
            study.tell(trial, 0.5)

        def log(number: int = trial.number, config: dict[str, Any] = config) -> None:
            opened = run.start_trial(number, "finetune", config)
            opened.log_metrics({"validation_score": 0.5}, step=1)
            opened.end("complete", {"validation_score": 0.5})

        timed("report", report)
        timed("tell", tell)

        def record(number: int = n_before + k) -> None:
            store.save(_record(number, 0.6))

        timed("record", record)
        timed("mlflow", log)
    run.end("complete")
    found = {name: round(median(values), 1) for name, values in parts.items()}
    return {**found, "all": round(sum(found.values()), 1)}


def _earlier(k: int) -> optuna.trial.FrozenTrial:
    arm = Arm("finetune", DRAWN, "embedded")
    rng = np.random.default_rng(k)
    return create_trial(
        state=TrialState.COMPLETE,
        value=float(rng.uniform(0.3, 0.5)),
        params={STRATEGY: arm.strategy, "finetune.lr": float(rng.uniform(1e-4, 1e-2))},
        distributions={
            STRATEGY: CategoricalDistribution(_STRATEGIES),
            "finetune.lr": FloatDistribution(1e-4, 1e-2, log=True),
        },
        intermediate_values={250: 0.2, 500: 0.3, 1000: 0.4},
        system_attrs={ARM: [arm.strategy, arm.recipe, arm.backbone]},
        user_attrs={STATE: "complete", SECONDS: 1.0, COST: 1.0, "config": {"lr": k}},
    )


def _record(number: int, score: float) -> TrialRecord:
    samples = np.arange(N_SAMPLES)
    probabilities = np.full((N_SAMPLES, N_CLASSES), 1 / N_CLASSES, dtype=np.float32)
    labels = samples % N_CLASSES
    metrics = all_metrics(labels, probabilities)
    result = TrialResult(score, metrics, samples, probabilities, 1.0, 1, 1)
    return TrialRecord(number, "finetune", {}, "complete", 1.0, result=result)


def grows(sizes: list[int], profile: Any) -> dict[int, dict[str, float]]:
    """:func:`measure` for several numbers of earlier trials."""
    found = {}
    for n_before in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found[n_before] = measure(n_before, profile, Path(folder))
    return found
