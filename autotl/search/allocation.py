"""What to try next: the arm whose expected improvement for a second of its cost is greatest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from autotl.analysis.examination import LINEAR
from autotl.analysis.profile import DatasetProfile
from autotl.search.knowledge import Arm, Knowledge, LeftOut, from_logit, shipped, to_logit
from autotl.strategies.base import Task
from autotl.uncertainty import design_effect

OVERHEAD_S = 0.2
"""Of any trial, for its records: arms that cost nothing aren't free."""


@dataclass(frozen=True)
class Option:
    """An arm that could be tried.

    Attributes:
        arm: which.
        seconds: that it is predicted to take.
    """

    arm: Arm
    seconds: float


@dataclass(frozen=True)
class Seen:
    """An arm that was tried to its end.

    Attributes:
        arm: which.
        score: on the validation samples, greater is better.
    """

    arm: Arm
    score: float


@dataclass(frozen=True)
class Allocation:
    """What a search knows of the arms of one data set.

    Attributes:
        knowledge: of other data sets.
        metric: name of the metric.
        n_samples: that a trial trains on; a mean over its folds.
        n_validated: those that a trial's score is measured on.
        design_effect: how many times a score's variance is that of so many independent samples.
        n_final: that the final model is trained on; None: as many as a trial.
        left_out: what the profile knows of the backbones.
    """

    knowledge: Knowledge
    metric: str
    n_samples: float
    n_validated: int
    design_effect: float = 1.0
    n_final: float | None = None
    left_out: tuple[LeftOut, ...] = ()

    @property
    def n_independent(self) -> float:
        """Independent samples that would tell as much as the validated ones."""
        return max(1.0, self.n_validated / self.design_effect)

    def improvements(self, seen: Sequence[Seen], options: Sequence[Option]) -> NDArray[np.float64]:
        """Expected improvement of each option on the best arm so far, in units of accuracy.

        Of what an arm is worth, its trial will only tell a noisy score, so that what can be gained
        by choosing it afterwards is less than what it may be worth (the knowledge gradient of one
        measurement; Frazier et al. 2009). Where nothing was seen yet: the expected score.

        Returns:
            ``(n_options,)``, at least 0.
        """
        arms = [entry.arm for entry in seen] + [option.arm for option in options]
        logits = np.array([to_logit(self.metric, s.score, self.n_validated) for s in seen])
        means, deviations = self._posterior(arms, logits)
        own = slice(len(seen), None)
        if not seen:
            return np.asarray(expit(means))
        level = float(means[: len(seen)].max())
        noise = self.knowledge.variance(means[own], self.n_independent)
        deviation = np.maximum(deviations[own], 1e-9)
        deviation = deviation**2 / np.sqrt(deviation**2 + noise)
        z = (means[own] - level) / deviation
        gain = deviation * (norm.pdf(z) + z * norm.cdf(z))
        # a logit's worth at the best arm's level
        p = from_logit("accuracy", level)
        improvements: NDArray[np.float64] = gain * p * (1.0 - p)
        return improvements

    def noise(self, seen: Sequence[Seen]) -> float:
        """Standard error of the best score so far, as if it were an accuracy; 0 without any.

        With two right and two wrong samples added, so that it isn't 0 for a perfect score (Agresti
        and Coull 1998).
        """
        logits = [to_logit(self.metric, entry.score, self.n_validated) for entry in seen]
        if not logits:
            return 0.0
        n = self.n_independent + 4
        p = (self.n_independent * from_logit("accuracy", max(logits)) + 2) / n
        return math.sqrt(p * (1.0 - p) / n)

    def worth(self, seen: Sequence[Seen]) -> NDArray[np.float64]:
        """What the arms seen are expected to score on new samples once trained on all.

        Returns:
            ``(n_seen,)`` scores. What training on more samples brings to all alike isn't in them.
        """
        logits = np.array([to_logit(self.metric, s.score, self.n_validated) for s in seen])
        means, _ = self._posterior([s.arm for s in seen], logits)
        return np.array([from_logit(self.metric, float(mean)) for mean in means])

    def _posterior(
        self, arms: Sequence[Arm], logits: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and deviations of the arms' final models; the first ``len(logits)`` were seen."""
        means, deviations = self.knowledge.posterior(
            *(arms, self.n_samples, range(len(logits)), logits, self.n_independent),
            self.left_out,
        )
        n_final = self.n_samples if self.n_final is None else self.n_final
        return means + self.knowledge.growth(arms, self.n_samples, n_final), deviations


def best(improvements: NDArray[np.float64], options: Sequence[Option]) -> int:
    """Which option to try next, by its improvement for a second; ties go to the first."""
    seconds = np.array([option.seconds for option in options]) + OVERHEAD_S
    return int((improvements / seconds).argmax())


def allocation_for(task: Task, profile: DatasetProfile) -> Allocation:
    """Of a task and what its profile says of the backbones, with the knowledge of autotl's own."""
    validated = np.concatenate([fold.validation for fold in task.folds])
    known = {name: own.transferability for name, own in profile.backbones.items()}
    return Allocation(
        knowledge=shipped(),
        metric=task.metric.name,
        n_samples=float(np.mean([len(fold.train) for fold in task.folds])),
        n_validated=len(validated),
        design_effect=design_effect(None if task.groups is None else task.groups[validated]),
        n_final=len(task.labels),
        left_out=tuple(
            LeftOut(name, own.scores[LINEAR], own.n_samples)
            for name, own in known.items()
            if math.isfinite(own.scores.get(LINEAR, math.nan))
        ),
    )
