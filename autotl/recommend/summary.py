"""What each strategy reached, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotl.analysis.profile import DatasetProfile
from autotl.recommend.comparison import Comparison, noise, result_of
from autotl.recommend.cost import Cost, prediction_seconds
from autotl.recommend.words import in_nats
from autotl.strategies.base import TrialRecord
from autotl.uncertainty import confidence_interval


@dataclass(frozen=True)
class StrategySummary:
    """What one strategy reached, and at what cost.

    Attributes:
        strategy: its name.
        n_complete: finished trials.
        n_pruned: trials ended early because others were better.
        n_other: failed trials and those cut off by the deadline or the user.
        best: number of the trial that stands for it, None without one.
        value: its value of the metric, the mean over its seeds.
        interval: 95 % interval of that value.
        seconds: spent on that trial with one seed.
        total_seconds: spent on all trials of the strategy.
        difference: score of the winner minus this one's, on the same samples.
        standard_error: of the difference, see :mod:`autotl.recommend.comparison`.
        noise: what the true difference doesn't exceed, either way, with 95 % confidence:
            ``|difference| + 1.645 standard_error``.
        is_clear: whether the difference is clear at 95 %, all comparisons with the winner
            together (Holm 1979); if not, the two are equal within the noise.
        n_seeds: runs that the value is the mean of.
        accuracy: mean over the seeds, whatever the metric is.
        predict_s: seconds to predict a picture.
        cost: by the winner's, see :meth:`autotl.recommend.cost.Cost.by`.
    """

    strategy: str
    n_complete: int
    n_pruned: int
    n_other: int
    best: int | None
    value: float
    interval: tuple[float, float]
    seconds: float
    total_seconds: float
    difference: float
    standard_error: float
    noise: float = math.nan
    is_clear: bool = False
    n_seeds: int = 1
    accuracy: float = math.nan
    predict_s: float = math.nan
    cost: float = math.nan


def summarise(
    strategy: str,
    records: Sequence[TrialRecord],
    best: TrialRecord | None,
    winner: TrialRecord,
    comparison: Comparison,
    profile: DatasetProfile,
    cost_of: Callable[[TrialRecord], Cost],
) -> StrategySummary:
    """Sum up a strategy's trials.

    Args:
        strategy: its name.
        records: all trials that ended.
        best: the one that stands for it, None without a finished one.
        winner: what to compare with.
        comparison: of the finished trials.
        profile: of the data set.
        cost_of: what a trial's model costs.
    """
    own = [record for record in records if record.strategy == strategy]
    states = [record.state for record in own]
    n_complete, n_pruned = states.count("complete"), states.count("pruned")
    nan = math.nan
    counts = StrategySummary(
        strategy=strategy,
        n_complete=n_complete,
        n_pruned=n_pruned,
        n_other=len(own) - n_complete - n_pruned,
        best=None,
        value=nan,
        interval=(nan, nan),
        seconds=nan,
        total_seconds=sum(record.seconds for record in own),
        difference=nan,
        standard_error=nan,
    )
    if best is None:
        return counts
    difference, error = comparison(winner, best)
    runs = comparison.runs(best)
    return replace(
        counts,
        best=best.number,
        value=comparison.value(best),
        interval=mean_interval(best, comparison),
        seconds=best.seconds,
        difference=difference,
        standard_error=error,
        noise=noise(difference, error, math.inf if in_nats(comparison.metric.name) else 1.0),
        n_seeds=len(runs),
        accuracy=float(np.mean([run.metrics.get("accuracy", nan) for run in runs])),
        predict_s=prediction_seconds(best, profile),
        cost=cost_of(best).by(cost_of(winner)),
    )


def mean_interval(record: TrialRecord, comparison: Comparison) -> tuple[float, float]:
    """The interval of a trial's value, about the mean over its runs."""
    result, metric = result_of(record), comparison.metric
    labels = comparison.labels[result.samples]
    low, high = confidence_interval(
        *(metric, labels, result.probabilities),
        seed=comparison.seed,
        groups=comparison.groups_of(result),
    )
    shift = comparison.value(record) - metric.value(labels, result.probabilities)
    if metric.name == "log_loss":
        return max(0.0, low + shift), high + shift
    return max(0.0, low + shift), min(1.0, high + shift)
