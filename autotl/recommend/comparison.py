"""Trials compared on the samples that all of them predicted, each over all its seeds.

With ``n`` validated samples, ``S`` runs of a config with different seeds and ``z`` a sample's mean
contribution to the score over those runs (:mod:`autotl.uncertainty`), the difference of two configs
is ``d = sum(z_a - z_b)``, and its standard error the root of::

    (1 + r) sum((z_a - z_b - w d)**2) + s**2 / S_a + s**2 / S_b

The first term is that of the paired bootstrap over samples, with the design effect where these come
in groups. ``r`` stands for the choice of the
training samples, which the folds share: ``n_folds n_validation / n_train`` (Nadeau and Bengio 2003,
equation 9; Bouckaert and Frank 2004 for cross-validation). ``s`` is the deviation from seed to
seed, pooled over the configs that ran with several; 0 for what is solved, and where no seed was
varied: then the samples' own scatter holds most of it (Jordan 2023, arXiv 2304.01910). Where seeds
were varied, that share counts twice, which makes the error rather too large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autotl.metrics import Metric
from autotl.strategies.base import SOLVED, TrialRecord, TrialResult
from autotl.strategies.repeats import of_whole_rounds
from autotl.uncertainty import Vector, contributions, difference_variance

CLEAR = 1.96
"""From so many standard errors on, a difference is clear (95 %)."""

_UPPER = 1.645


def result_of(record: TrialRecord) -> TrialResult:
    """The result of a trial that must have one."""
    if record.result is None:
        raise ValueError(f"trial {record.number} has no result")
    return record.result


class Comparison:
    """Finished trials with their repeats: scores, differences and standard errors.

    Only as many rounds of repeats count as every repeated trial has ended, so that all have as many
    seeds.

    Args:
        finished: trials with a result.
        labels: ``(n_samples,) int64`` of the development samples.
        metric: what was maximised.
        n_folds: of the validation; 1: a hold-out.
        repeats: further runs of trials with other seeds.
        worth: by number of a trial, the score to rank it by in place of the mean over its runs.
        seed: of resampling.
        groups: ``(n_samples,) int64``, which group each sample is of; None: they are independent.
    """

    def __init__(
        self,
        finished: Sequence[TrialRecord],
        labels: NDArray[np.int64],
        metric: Metric,
        n_folds: int = 1,
        repeats: Sequence[TrialRecord] = (),
        worth: Mapping[int, float] | None = None,
        seed: int = 0,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        self.finished = finished
        self.labels = labels
        self.metric = metric
        self.seed = seed
        self._groups = groups
        self._n_folds = n_folds
        self._repeats = of_whole_rounds(repeats)
        self._worth = worth or {}
        self._contributions: dict[int, Vector] = {}

    def _counted(self, record: TrialRecord) -> list[TrialRecord]:
        return [other for other in self._repeats if other.number == record.number]

    def runs(self, record: TrialRecord) -> list[TrialResult]:
        """The results that stand for a trial: its own and those of its repeats."""
        again = [other.result for other in self._counted(record) if other.result is not None]
        return [result_of(record), *again]

    def failures(self, record: TrialRecord) -> list[TrialRecord]:
        """Its repeats that failed."""
        return [other for other in self._counted(record) if other.state == "failed"]

    def groups_of(self, result: TrialResult) -> NDArray[np.int64] | None:
        """``(n_validated,)`` of a result's samples."""
        return None if self._groups is None else self._groups[result.samples]

    def n_trained(self, record: TrialRecord) -> float:
        """Samples that a validated model of it learnt from, the mean over the folds."""
        if self._n_folds == 1:
            return len(self.labels) - len(result_of(record).samples)
        return len(self.labels) * (self._n_folds - 1) / self._n_folds

    def score(self, record: TrialRecord) -> float:
        """What it is worth, or the mean over the runs; greater is better, NaN is the least."""
        score = self._worth.get(record.number, self._mean(record))
        return -math.inf if math.isnan(score) else score

    def behind(self, record: TrialRecord, best: TrialRecord) -> float:
        """By how much a trial scores less than another, or is worth less, whichever is more."""
        return max(self(best, record)[0], self.score(best) - self.score(record))

    def _mean(self, record: TrialRecord) -> float:
        return float(np.mean([result.score for result in self.runs(record)]))

    def value(self, record: TrialRecord) -> float:
        """The metric's mean value over the runs, as validated."""
        score = self._mean(record)
        return score if self.metric.greater_is_better else -score

    @property
    def is_shrunk(self) -> bool:
        """Whether trials are ranked by what they are worth, not by their scores."""
        return bool(self._worth)

    def value_rank(self, record: TrialRecord) -> float:
        """The key to rank by validation alone: the mean score over the runs."""
        score = self._mean(record)
        return -math.inf if math.isnan(score) else score

    def rank(self, record: TrialRecord) -> tuple[bool, int, float]:
        """The key to choose by: what failed with another seed is last, what was repeated first."""
        n_runs = 0 if record.strategy in SOLVED else len(self.runs(record))
        return not self.failures(record), n_runs, self.score(record)

    def __call__(self, first: TrialRecord, second: TrialRecord) -> tuple[float, float]:
        """How much better the first scores than the second, and the standard error of that."""
        if first.number == second.number:
            return 0.0, 0.0
        labels = self.labels[result_of(first).samples]
        difference, variance = difference_variance(
            *(self.metric, labels, self._shares(first), self._shares(second)),
            self.groups_of(result_of(first)),
        )
        variance *= 1.0 + self._overlap(first)
        variance += self._seed_variance_of_mean(first) + self._seed_variance_of_mean(second)
        return difference, math.sqrt(variance)

    @cached_property
    def seed_deviation(self) -> float | None:
        """Deviation of the score from seed to seed, pooled; None: no trial was repeated."""
        squares, freedom = 0.0, 0
        for record in self.finished:
            scores = [result.score for result in self.runs(record)]
            squares += float(np.square(np.subtract(scores, np.mean(scores))).sum())
            freedom += len(scores) - 1
        return math.sqrt(squares / freedom) if freedom else None

    def _seed_variance_of_mean(self, record: TrialRecord) -> float:
        if record.strategy in SOLVED:
            return 0.0
        return (self.seed_deviation or 0.0) ** 2 / len(self.runs(record))

    def _overlap(self, record: TrialRecord) -> float:
        """``n_folds n_validation / n_train`` of the split; 0 if no sample is left for training."""
        n_trained = self.n_trained(record)
        return len(result_of(record).samples) / n_trained if n_trained else 0.0

    def _shares(self, record: TrialRecord) -> Vector:
        """Contributions of the samples to the score, the mean over the runs."""
        if record.number not in self._contributions:
            labels = self.labels[result_of(record).samples]
            runs = [
                contributions(self.metric, labels, run.probabilities) for run in self.runs(record)
            ]
            self._contributions[record.number] = np.mean(runs, axis=0)
        return self._contributions[record.number]


def noise(difference: float, error: float, most: float = math.inf) -> float:
    """What the true difference doesn't exceed, either way, with 95 % confidence.

    Args:
        difference: observed.
        error: its standard error.
        most: that any two can differ by.
    """
    bound = abs(difference) + _UPPER * error
    return bound if math.isnan(bound) else min(most, bound)


def holm(differences: Sequence[float], errors: Sequence[float]) -> list[bool]:
    """Which of several differences are clear at 95 % together (Holm 1979).

    Args:
        differences: of scores.
        errors: their standard errors; a difference that is NaN, or 0 without error, isn't clear.
    """
    from scipy.stats import norm

    ratios = [
        abs(difference) / error if error > 0 else (math.inf if difference else 0.0)
        for difference, error in zip(differences, errors, strict=True)
    ]
    ratios = [0.0 if math.isnan(ratio) else ratio for ratio in ratios]
    clear = [False] * len(ratios)
    for place, index in enumerate(sorted(range(len(ratios)), key=lambda i: -ratios[i])):
        if 2 * norm.sf(ratios[index]) > 0.05 / (len(ratios) - place):
            break
        clear[index] = True
    return clear
