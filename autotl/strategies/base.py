"""What a strategy is, what it may touch, and what comes out of it.

A strategy's life: the search calls ``suggest`` with an Optuna trial and gets a frozen config;
``run`` then trains and validates it on every fold of the task and tells a reporter how it goes;
the winner's config is given to ``fit`` once more, with all samples, for the final model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.speed import Speed
from autotl.backbones.zoo import Backbone
from autotl.data.splits import Fold
from autotl.metrics import Metric
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelView
from autotl.runtime import NEVER, Deadline
from autotl.strategies.fitted import FittedModel
from autotl.strategies.memory import MemoryLimits


class StrategyConfig(BaseModel):
    """Base of the configs: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str


class Trial(Protocol):
    """The part of an Optuna trial that a strategy uses to choose its config."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


SOLVED = frozenset({"bottleneck"})
"""Strategies that are solved, not trained from a random start: another seed finds the same."""


class TrialStopped(Exception):
    """Raised by a reporter out of a trial that is to end now.

    Args:
        reason: ``pruned`` (others are clearly better) or ``deadline`` (the budget is used up).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DivergedError(Exception):
    """The loss is no longer finite; the message names the step. A recorded outcome of a trial."""


class Reporter(Protocol):
    """Where a running trial tells how it goes, and is told to stop."""

    def check(self) -> None:
        """To be called at every step.

        Raises:
            TrialStopped: if the time is over.
        """
        ...

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        """To be called after every epoch.

        Args:
            progress: share of the trial's work that is done, in (0, 1].
            score: validation score so far, greater is better.
            metrics: further figures of this epoch by name.

        Raises:
            TrialStopped: if the trial isn't worth going on with.
        """
        ...


class SilentReporter:
    """A reporter that records nothing; for the final fit, and for experiments.

    Args:
        deadline: when to stop the training.
    """

    def __init__(self, deadline: Deadline = NEVER) -> None:
        self._deadline = deadline

    def check(self) -> None:
        """Stop the training if its time is over."""
        if self._deadline.passed:
            raise TrialStopped("deadline")

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        """Forgets it."""


@dataclass(frozen=True)
class Task:
    """All that a strategy may touch. Samples are the development ones; no test sample is here.

    Attributes:
        labels: ``(n_samples,) int64`` of the development samples.
        n_classes: number of classes.
        folds: index arrays into the development samples.
        metric: what to maximise (its ``score``).
        backbones: by name.
        pixels: pictures of the development samples at a size in pixels.
        store: activations of frozen backbones for the development samples.
        speeds: what a picture costs, per backbone.
        device: where to train.
        seed: of everything random in a trial.
        limits: what memory was found to hold.
        groups: ``(n_samples,) int64``, which group each sample is of; None: they are independent.
    """

    labels: NDArray[np.int64]
    n_classes: int
    folds: tuple[Fold, ...]
    metric: Metric
    backbones: Mapping[str, Backbone]
    pixels: Callable[[int], PixelView]
    store: ActivationStore
    speeds: Mapping[str, Speed]
    device: torch.device
    seed: int = 0
    limits: MemoryLimits = field(default_factory=MemoryLimits)
    groups: NDArray[np.int64] | None = None

    @property
    def all_samples(self) -> NDArray[np.int64]:
        """Indices of all development samples."""
        return np.arange(len(self.labels))


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve.

    Attributes:
        progress: share of the trial's work done, in (0, 1].
        seconds: since the trial began.
        score: validation score, greater is better.
    """

    progress: float
    seconds: float
    score: float


@dataclass(frozen=True)
class TrialResult:
    """What a trial found out. Never a test score.

    Attributes:
        score: of the pooled validation predictions, greater is better.
        metrics: every metric's value on them, by name, and figures of the training.
        samples: ``(n_validated,) int64``, development samples that were predicted.
        probabilities: ``(n_validated, n_classes) float32``, the predictions for them, each
            by a model that hadn't seen that sample.
        seconds: of training and validation.
        peak_bytes: the most memory held.
        n_trainable: trained parameters.
        model: of the first fold; None once it is not kept any more.
    """

    score: float
    metrics: Mapping[str, float]
    samples: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    seconds: float
    peak_bytes: int
    n_trainable: int
    model: FittedModel | None = None

    def correct(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Per validated sample whether its prediction is right: for pairwise comparison."""
        right: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == labels[self.samples]
        return right


@dataclass(frozen=True)
class TrialRecord:
    """A trial that has ended, well or not.

    Attributes:
        number: Optuna's number of it; of a repeat, that of the trial it repeats.
        strategy: name of its strategy.
        config: its config as plain values.
        state: ``complete``, ``pruned``, ``deadline``, ``failed`` or ``interrupted``.
        seconds: from start to end.
        curve: learning curve.
        result: None unless complete.
        error: what went wrong, if something did.
        run_id: of its record in the tracking store, empty without one.
        cost_s: what the strategy's cost model predicted for it; 0: not asked.
        figures: of the work by name, see :meth:`autotl.reuse.entries.Meter.figures`.
        recipe: of the search that it followed, empty where its settings were drawn.
        repeat: 0: a trial of the search; k: its k-th repeat, whose seed is the task's plus k.
    """

    number: int
    strategy: str
    config: Mapping[str, Any]
    state: str
    seconds: float
    curve: tuple[CurvePoint, ...] = ()
    result: TrialResult | None = None
    error: str | None = None
    run_id: str = ""
    cost_s: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    repeat: int = 0


class Strategy(Protocol):
    """A way to use a pretrained network. Implementations hold no state."""

    @property
    def name(self) -> str:
        """Its name, and the prefix of its parameters."""
        ...

    @property
    def Config(self) -> type[StrategyConfig]:
        """Its settings."""
        ...

    def suggest(self, trial: Trial, profile: DatasetProfile) -> StrategyConfig:
        """Choose a config; every parameter's name starts with the strategy's name and a dot."""
        ...

    def params(self, config: Any, profile: DatasetProfile) -> dict[str, Any]:
        """The inverse of :meth:`suggest`: parameters that it makes this config from.

        What lies outside of the search space is moved to its nearest value.
        """
        ...

    def run(self, config: Any, task: Task, reporter: Reporter) -> TrialResult:
        """Train and validate on every fold."""
        ...

    def fit(
        self,
        config: Any,
        task: Task,
        train: NDArray[np.int64],
        validation: NDArray[np.int64] | None,
        reporter: Reporter,
    ) -> FittedModel:
        """Train one model.

        Args:
            config: a config of this strategy.
            task: the task.
            train: development samples to learn from.
            validation: development samples for the learning curve only, or None.
            reporter: told of every epoch.
        """
        ...

    def cost(self, config: Any, task: Task) -> float:
        """Predicted seconds of :meth:`run`, from measured speeds and what the store holds."""
        ...


def suggest_backbone(trial: Trial, strategy: str, profile: DatasetProfile) -> str:
    """One of the profiled backbones."""
    name: str = trial.suggest_categorical(f"{strategy}.backbone", tuple(profile.backbones))
    return name
