"""What is known before a search: how well recipes do beside each other, and how surely.

A Gaussian model of the scores, as logits, that the arms of one data set reach: an arm is a recipe
on a backbone. Arms vary together where they share a strategy, a recipe or a backbone, so that what
one of them reached tells something of the others: a cheap linear model of a backbone's features,
for one, of what fine-tuning it will reach. Means and variances were estimated on measured data sets
(``studies/knowledge``), as pretrained Gaussian process priors are (Wang et al. 2021, arXiv
2109.08215). What a measured backbone's arms reach beyond that is kept apart, so that the means hold
for others too. An arm far behind the best counts as bad, however bad: see :func:`bounded`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from autotl.naming import BackboneName

DRAWN = "drawn"
"""The recipe of an arm whose settings are drawn; each is another one."""
FILE = Path(__file__).with_name("knowledge.json")
_TASK_DEVIATION = 3.0
MIDDLE = 2.5
"""Decades of training samples that slopes are about."""
LEFT_OUT = ("bottleneck", "last_4-svm")
"""Whose features a classifier reads that is asked about samples left out one by one."""
_LEFT_OUT_LEVEL = 1.0
"""Standard deviation of what all such answers on one data set say too much or too little."""
FAR_BEHIND = 2.0
"""Logits behind the best from which on it makes no difference."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One thing that a search may try.

    Attributes:
        strategy: its strategy's name.
        recipe: the recipe's name, or :data:`DRAWN`.
        backbone: the backbone's name.
    """

    strategy: str
    recipe: str
    backbone: str


@dataclass(frozen=True)
class Deviations:
    """Standard deviations of a strategy's logits, over data sets.

    Attributes:
        features: of what a backbone's pretrained features are worth, common to the strategies that
            use them; 0 for scratch training.
        backbone: of what a backbone is worth to this strategy alone.
        strategy: of what the strategy is worth on a data set.
        recipe: of what a recipe is worth on a data set, whatever the backbone.
        arm: of what is left to one arm.
        drawn: of drawn settings about their mean.
    """

    features: float
    backbone: float
    strategy: float
    recipe: float
    arm: float
    drawn: float


@dataclass(frozen=True)
class LeftOut:
    """What is known of a backbone's frozen features before any trial.

    Attributes:
        backbone: its name.
        accuracy: share of samples, in [0, 1], that a linear classifier is right on that was fitted
            without them, see :func:`autotl.analysis.examination.linear_accuracy`.
        n_samples: that it was asked about.
    """

    backbone: str
    accuracy: float
    n_samples: int


_UNKNOWN = Deviations(features=0.0, backbone=0.5, strategy=0.5, recipe=0.3, arm=0.3, drawn=0.5)
"""Of a strategy that was never measured: it may be worth much or little."""


@dataclass(frozen=True)
class Knowledge:
    """The model.

    Attributes:
        means: by strategy and recipe, ``finetune/full-2e-3``; logits about a common zero.
        slopes: by strategy, logits for ten times the samples, about the strategies' common rise.
        deviations: by strategy.
        beyond: by strategy, recipe and backbone, ``finetune/full-2e-3/embedded``, and for other
            recipes by strategy and backbone: what is added to the mean there.
        noise: variance of a validation score's logit about what the arm is worth, beside other
            arms' on the same samples, in units of the binomial ``1 / (n p (1 - p))``.
        shared_noise: in the same units, what is common to a strategy's arms on a backbone: they are
            right and wrong about the same samples, so that many of them tell little more than one.
        left_out_noise: in the same units, of what is told of samples left out, see
            :class:`LeftOut`, beside other backbones; infinite: it tells nothing.
    """

    means: Mapping[str, float]
    slopes: Mapping[str, float]
    deviations: Mapping[str, Deviations]
    noise: float
    beyond: Mapping[str, float] = field(default_factory=dict)
    shared_noise: float = 0.0
    left_out_noise: float = math.inf

    def mean(self, arms: Sequence[Arm], n_samples: float) -> Vector:
        """Prior means, ``(n_arms,)``; a recipe that isn't known counts as drawn.

        A strategy that isn't known is as good as the others are on average.

        Args:
            arms: the arms.
            n_samples: that a trial trains on.
        """
        decades = math.log10(max(n_samples, 1.0)) - MIDDLE
        usual = float(np.mean(list(self.means.values())))
        slope = float(np.mean(list(self.slopes.values())))
        found = []
        for arm in arms:
            drawn = self.means.get(f"{arm.strategy}/{DRAWN}", usual)
            own = self.means.get(f"{arm.strategy}/{arm.recipe}", drawn)
            own += self.slopes.get(arm.strategy, slope) * decades
            found.append(own + self._beyond(arm))
        return np.array(found)

    def _beyond(self, arm: Arm) -> float:
        """Whatever the size of the pictures that the backbone's name may tell."""
        name = BackboneName.of(arm.backbone)
        backbone = str(replace(name, image_size=None))
        others = self.beyond.get(f"{arm.strategy}/{backbone}", 0.0)
        return self.beyond.get(f"{arm.strategy}/{arm.recipe}/{backbone}", others)

    def covariance(self, arms: Sequence[Arm]) -> Vector:
        """Prior covariance, ``(n_arms, n_arms)``; the level of the data set itself is free."""
        alike = _alike(tuple(arms))
        own = [self.deviations.get(a.strategy, _UNKNOWN) for a in arms]
        features = np.array([d.features for d in own], dtype=np.float64)
        backbone = np.array([d.backbone for d in own])
        strategy = np.array([d.strategy for d in own])
        recipe = np.array([d.recipe for d in own])
        rest = np.array(
            [d.drawn if a.recipe == DRAWN else d.arm for a, d in zip(arms, own, strict=True)]
        )
        covariance: Vector = (
            _TASK_DEVIATION**2
            + alike.backbone * np.outer(features, features)
            + (alike.backbone & alike.strategy) * np.outer(backbone, backbone)
            + alike.strategy * np.outer(strategy, strategy)
            + alike.recipe * np.outer(recipe, recipe)
            + np.diag(rest**2)
        )
        return covariance

    def growth(self, arms: Sequence[Arm], n_samples: float, n_final: float) -> Vector:
        """What arms gain beside each other by training on more samples, ``(n_arms,)`` logits.

        Args:
            arms: the arms.
            n_samples: that a trial trains on.
            n_final: that the final model is trained on.
        """
        usual = float(np.mean(list(self.slopes.values())))
        steeper = np.array([self.slopes.get(arm.strategy, usual) - usual for arm in arms])
        return steeper * math.log10(max(n_final, 1.0) / max(n_samples, 1.0))

    def posterior(
        self,
        arms: Sequence[Arm],
        n_samples: float,
        seen: Sequence[int],
        logits: Vector,
        n: float,
        left_out: Sequence[LeftOut] = (),
    ) -> tuple[Vector, Vector]:
        """What the arms are worth after some of them were validated.

        Args:
            arms: all arms.
            n_samples: that a trial trains on.
            seen: indices of those that were validated.
            logits: of their validation scores, see :func:`to_logit`.
            n: samples that they were validated on.
            left_out: what is known of backbones before any trial; of one alone it tells nothing.

        Returns:
            Means ``(n_arms,)`` and standard deviations ``(n_arms,)`` of logits. The deviations are
            of the arms beside the best of those seen, not of the data set's level.
        """
        told = left_out if len(left_out) > 1 and math.isfinite(self.left_out_noise) else ()
        every = [*arms, *(Arm(*LEFT_OUT, entry.backbone) for entry in told)]
        mean, covariance = self.mean(every, n_samples), self.covariance(every)
        validated = np.asarray(seen, dtype=np.int64)
        index = np.concatenate([validated, np.arange(len(arms), len(every))])
        own = slice(len(arms))
        if not len(index):
            return mean, _beside(covariance, int(mean.argmax()))
        logits = bounded(logits, float(np.max(logits, initial=-math.inf)))
        answers = np.array([to_logit("accuracy", e.accuracy, e.n_samples) for e in told])
        answers = bounded(answers, float(np.max(answers, initial=-math.inf)))
        observed = covariance[np.ix_(index, index)] + self._noise(
            every, index, np.concatenate([logits, answers]), n, [e.n_samples for e in told]
        )
        gain = np.linalg.solve(observed, covariance[index])
        after = mean + (np.concatenate([logits, answers]) - mean[index]) @ gain
        left = covariance - covariance[index].T @ gain
        among = validated if len(validated) else np.arange(len(arms))
        best = int(among[after[among].argmax()])
        return after[own], _beside(left, best)[own]

    def variance(self, logits: Vector, n: float) -> Vector:
        """Of the logits of scores on ``n`` validation samples."""
        variance: Vector = (self.noise + self.shared_noise) * _binomial(logits, n)
        return variance

    def _noise(
        self,
        arms: Sequence[Arm],
        index: NDArray[np.int64],
        logits: Vector,
        n: float,
        n_left_out: Sequence[int],
    ) -> Vector:
        """Covariance of those logits, ``(n_seen, n_seen)``; the last are of samples left out."""
        alike = _alike(tuple(arms))
        same = (alike.strategy & alike.backbone)[np.ix_(index, index)]
        is_left_out = np.arange(len(index)) >= len(index) - len(n_left_out)
        n_each = np.concatenate([np.full(len(index) - len(n_left_out), n), n_left_out])
        usual = _binomial(logits, n_each)
        deviations = np.sqrt(usual)
        covariance: Vector = np.diag(np.where(is_left_out, self.left_out_noise, self.noise) * usual)
        covariance += self.shared_noise * same * np.outer(deviations, deviations)
        covariance += _LEFT_OUT_LEVEL**2 * np.outer(is_left_out, is_left_out)
        return covariance

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Knowledge:
        """From what :meth:`as_json` gave."""
        deviations = {name: Deviations(**own) for name, own in values["deviations"].items()}
        return cls(**{**values, "deviations": deviations})


def bounded(logits: Vector, best: float) -> Vector:
    """Logits, those :data:`FAR_BEHIND` the best raised to that.

    What failed to learn can be any distance behind; a Gaussian that has to explain it would expect
    as much to the other side.
    """
    found: Vector = np.maximum(logits, best - FAR_BEHIND)
    return found


@lru_cache(maxsize=1)
def shipped() -> Knowledge:
    """The model that comes with autotl."""
    return Knowledge.from_json(json.loads(FILE.read_text()))


def to_logit(metric: str, score: float, n: float) -> float:
    """A validation score as a logit.

    Args:
        metric: name of the metric; a log loss counts as the probability that it stands for.
        score: greater is better.
        n: samples that it was measured on: a score of 0 or 1 counts as half a sample off.
    """
    p = math.exp(score) if metric == "log_loss" else score
    p = min(1.0 - 0.5 / max(n, 1.0), max(0.5 / max(n, 1.0), p))
    return math.log(p / (1.0 - p))


def from_logit(metric: str, logit: float) -> float:
    """The score that a logit stands for."""
    p = float(expit(logit))
    return math.log(p) if metric == "log_loss" else p


class _Alike(NamedTuple):
    """Which arms share what, each ``(n_arms, n_arms) bool``; drawn settings share no recipe."""

    strategy: NDArray[np.bool_]
    backbone: NDArray[np.bool_]
    recipe: NDArray[np.bool_]


@lru_cache(maxsize=256)
def _alike(arms: tuple[Arm, ...]) -> _Alike:
    strategies = np.array([a.strategy for a in arms])
    backbones = np.array([a.backbone for a in arms])
    recipes = np.array([f"{a.strategy}/{a.recipe}" for a in arms])
    is_drawn = np.array([a.recipe == DRAWN for a in arms])
    return _Alike(
        strategies[:, None] == strategies,
        backbones[:, None] == backbones,
        (recipes[:, None] == recipes) & ~is_drawn,
    )


def _binomial(logits: Vector, n: float | Vector) -> Vector:
    """Variance of the logit of a share of ``n``."""
    p = expit(logits)
    variance: Vector = 1.0 / (n * p * (1.0 - p))
    return variance


def _beside(covariance: Vector, best: int) -> Vector:
    """Standard deviations of the differences from one arm."""
    variance = np.diag(covariance) + covariance[best, best] - 2.0 * covariance[best]
    deviations: Vector = np.sqrt(np.maximum(variance, 0.0))
    return deviations
