"""Strategies that do as they are told, and records that remember what they were told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autotl.metrics import all_metrics
from autotl.search.allocation import Allocation
from autotl.search.knowledge import DRAWN, Arm, Deviations, Knowledge
from autotl.search.plan import Plan
from autotl.strategies.base import Reporter, StrategyConfig, Task, TrialResult
from autotl.tracking.base import NullFitRun

NAMES = ("bottleneck", "finetune", "scratch")


KNOWLEDGE = Knowledge(
    means={f"{name}/{DRAWN}": 0.0 for name in NAMES},
    slopes=dict.fromkeys(NAMES, 0.0),
    deviations={name: Deviations(0.3, 0.1, 0.3, 0.1, 0.1, 0.5) for name in NAMES},
    noise=1.0,
)
"""Of strategies that are all alike before anything is seen."""


def drawn_arms(names: tuple[str, ...] = NAMES) -> list[Arm]:
    """Drawn settings of each strategy on one backbone."""
    return [Arm(name, DRAWN, "embedded") for name in names]


def plan_of(arms: list[Arm], **changes: Any) -> Plan:
    """A plan over these arms; by default each costs a second, on 1,000 validation samples."""
    values: dict[str, Any] = {
        "arms": arms,
        "price": lambda arm: 1.0,
        "allocation": Allocation(KNOWLEDGE, "accuracy", 1_000, 1_000),
        "params": lambda arm: {},
        "fits": lambda seconds, best_s: True,
    }
    return Plan(**values | changes)


class ScriptedConfig(StrategyConfig):
    """One number to search."""

    x: float


class Scripted:
    """A strategy whose trials end as ``behave`` says.

    Args:
        name: of the strategy.
        behave: gets config, task and reporter; returns the result or raises.
        cost_s: what a trial is predicted to take.
    """

    Config = ScriptedConfig

    def __init__(
        self,
        name: str,
        behave: Callable[[ScriptedConfig, Task, Reporter], TrialResult],
        cost_s: float = 0.0,
    ) -> None:
        self.name = name
        self.behave = behave
        self.cost_s = cost_s
        self.ran: list[ScriptedConfig] = []

    def suggest(self, trial: Any, profile: Any) -> ScriptedConfig:
        return ScriptedConfig(backbone="embedded", x=trial.suggest_float(f"{self.name}.x", 0, 1))

    def params(self, config: ScriptedConfig, profile: Any) -> dict[str, Any]:
        return {f"{self.name}.x": config.x}

    def run(self, config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
        self.ran.append(config)
        return self.behave(config, task, reporter)

    def cost(self, config: ScriptedConfig, task: Task) -> float:
        return self.cost_s


def result_of(task: Task, share: float, model: Any = None) -> TrialResult:
    """A result that is right on that share of the validated samples."""
    samples = np.concatenate([fold.validation for fold in task.folds])
    labels = task.labels[samples]
    predicted = labels.copy()
    n_wrong = round((1 - share) * len(samples))
    predicted[:n_wrong] = (predicted[:n_wrong] + 1) % task.n_classes
    probabilities = np.full((len(samples), task.n_classes), 0.1, dtype=np.float32)
    probabilities[np.arange(len(samples)), predicted] = 0.8
    return TrialResult(
        score=task.metric.score(labels, probabilities),
        metrics=all_metrics(labels, probabilities),
        samples=samples,
        probabilities=probabilities,
        seconds=0.1,
        peak_bytes=1,
        n_trainable=10,
        model=model,
    )


class SpyRun(NullFitRun):
    """Notes every call for the fit and its trials, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def start_trial(
        self, number: int, strategy: str, params: Mapping[str, object], run_id: str = ""
    ) -> SpyTrial:
        self.calls.append(("start", number, strategy, dict(params)))
        return SpyTrial(self.calls, number)


class SpyTrial:
    """Notes what is told of one trial."""

    def __init__(self, calls: list[tuple[Any, ...]], number: int) -> None:
        self.calls = calls
        self.run_id = f"run {number}"

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.calls.append(("metrics", dict(metrics), step))

    def end(self, state: str, metrics: Mapping[str, float], error: str | None = None) -> None:
        self.calls.append(("end", state, dict(metrics), error))
