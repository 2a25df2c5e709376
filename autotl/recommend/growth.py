"""What learning from all samples brings to a score that fewer were learnt from.

The models that were validated learnt from a part of the development samples, the final one learns
from all, so that cross-validation says too little (Hastie et al. 2009, section 7.10.1), by 3 points
with two folds. How much it is follows from how scores rise with the samples: on other data sets
(``studies/growth``), and on this one by its learning curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from autotl.analysis.learning_curve import LearningCurve
from autotl.metrics import Metric

_Z = 1.959964


@dataclass(frozen=True)
class Rise:
    """How the logit of a score rises with ten times the samples.

    Attributes:
        mean: over data sets.
        deviation: standard deviation over them.
        offset: with a learning curve it is ``offset + share * rise_of(curve)``.
        share: see there.
        left: the deviation that is left then.
    """

    mean: float
    deviation: float
    offset: float
    share: float
    left: float


KNOWN = Rise(mean=1.13, deviation=0.80, offset=0.12, share=1.41, left=0.50)
"""Measured by ``studies/growth``."""


@dataclass(frozen=True)
class Growth:
    """What a score's logit gains.

    Attributes:
        mean: expected.
        deviation: standard deviation of what it is beyond that.
    """

    mean: float = 0.0
    deviation: float = 0.0

    @classmethod
    def expected(
        cls, n_trained: float, n_final: float, curve: LearningCurve | None, rise: Rise
    ) -> Growth:
        """By training on more samples.

        Args:
            n_trained: samples that the validated models learnt from, on average.
            n_final: that the final one learns from.
            curve: of the data set; None: unknown.
            rise: what is known of other data sets.
        """
        decades = math.log10(max(n_final, 1.0) / max(n_trained, 1.0))
        own = None if curve is None else rise_of(curve)
        if own is None:
            return cls(rise.mean * decades, rise.deviation * decades)
        return cls((rise.offset + rise.share * own) * decades, rise.left * decades)

    def applied(
        self, metric: Metric, value: float, interval: tuple[float, float], n_samples: float
    ) -> tuple[float, tuple[float, float]]:
        """A value and its 95 % interval after it; what is perfect or NaN stays so.

        Args:
            metric: whose; a log loss counts as the probability that it stands for.
            value: of the metric.
            interval: of the value.
            n_samples: that it was measured on: logits are taken half a sample off 0 and 1.
        """
        sign = 1.0 if metric.greater_is_better else -1.0
        least = 0.5 / max(n_samples, 1.0)

        def to_logit(own: float) -> float:
            return float(logit(min(1.0 - least, max(least, _share(metric, sign * own)))))

        def moved(own: float, deviations: float) -> float:
            if not 0.0 < _share(metric, sign * own) < 1.0:  # also NaN
                return own
            away = to_logit(own) - to_logit(value)
            away = math.copysign(math.hypot(away, deviations * self.deviation), away)
            p = float(expit(to_logit(value) + self.mean + away))
            return sign * math.log(p) if metric.name == "log_loss" else p

        low, high = (moved(own, _Z) for own in interval)
        return moved(value, 0.0), (low, high)


def rise_of(curve: LearningCurve) -> float | None:
    """Logits for ten times the samples, from half to twice those there are; None: unknown."""
    if not curve.fitted:
        return None
    sizes, middles = (np.array([point[k] for point in curve.fitted]) for k in (0, 1))
    least = 0.5 / curve.n_train
    logits = logit(np.clip(middles, least, 1.0 - least))
    half = int(np.searchsorted(sizes, sizes[-1] / 4.0))
    return float((logits[-1] - logits[half]) / np.log10(sizes[-1] / sizes[half]))


def _share(metric: Metric, score: float) -> float:
    """A score as a share; a log loss as the probability that it stands for."""
    return math.exp(score) if metric.name == "log_loss" else score
