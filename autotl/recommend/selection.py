"""What the best of many validation scores is worth: the winner's curse, taken off.

The configs are chosen among and judged on the same samples, so that the best score is too good. The
bootstrap repeats the choice: on each resample the best config is chosen anew and judged where the
resample has no samples (Tsamardinos et al. 2018, arXiv 1708.07180, "bootstrap bias corrected
cross-validation"), which is a little too low; and on the full sample against the resample, as a
difference (Efron and Tibshirani 1993, chapter 17), which is a little too high. They are weighed as
in Efron's ".632", by how much of the sample a resample sees. ``studies/selection`` tries it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autotl.metrics import Labels, Metric, Probabilities
from autotl.uncertainty import contributions, sample_weights

N_RESAMPLES = 200
_OUTSIDE = 0.632

Matrix = NDArray[np.float64]
Runs = Probabilities | Sequence[Probabilities]
_Runs = Sequence[Probabilities]


def selected_score(
    metric: Metric, labels: Labels, predictions: Sequence[Runs], seed: int = 0
) -> float:
    """The expected score, on new samples, of the best of several configs.

    Args:
        metric: what was maximised.
        labels: ``(n,) int64``.
        predictions: of each config, ``(n, n_classes)`` for the same samples, none of which it
            learnt from; of several runs of a config, a sequence, whose mean score counts.
        seed: of the resampling.

    Returns:
        At most the best config's score; that score itself for a single config. Greater is better.
    """
    runs = [_runs(p) for p in predictions]
    scores = np.array([_mean_score(metric, labels, p) for p in runs])
    best = int(np.nanargmax(scores)) if np.isfinite(scores).any() else 0
    if len(predictions) < 2 or len(labels) < 2 or not np.isfinite(scores[best]):
        return float(scores[best])
    kept = np.flatnonzero(np.isfinite(scores))
    scored = _SCORERS.get(metric.name)
    if scored is None:
        score = _by_contributions(metric, labels, [runs[int(k)] for k in kept])
    else:
        score = scored(labels, [runs[int(k)] for k in kept])
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), N_RESAMPLES)
    with np.errstate(invalid="ignore"):  # a resample may leave out nobody
        inside, outside = score(counts.astype(float)), score((counts == 0).astype(float))
    usable = np.isfinite(inside).all(axis=1) & np.isfinite(outside).all(axis=1)
    if not usable.any():
        return float(scores[best])
    inside, outside = inside[usable], outside[usable]
    rows, chosen = np.arange(len(inside)), inside.argmax(axis=1)
    optimism = float((inside[rows, chosen] - scores[kept][chosen]).mean())
    left_out = float(outside[rows, chosen].mean())
    corrected = _OUTSIDE * left_out + (1 - _OUTSIDE) * (scores[best] - optimism)
    return float(min(corrected, scores[best]))


def _runs(predictions: Runs) -> _Runs:
    return [predictions] if isinstance(predictions, np.ndarray) else predictions


def _mean_score(metric: Metric, labels: Labels, runs: _Runs) -> float:
    return float(np.mean([metric.score(labels, p) for p in runs]))


_Scorer = Callable[[Matrix], Matrix]
"""From weights of the samples, ``(b, n)``, the configs' scores, ``(b, n_configs)``."""


def _right(labels: Labels, predictions: Sequence[_Runs]) -> Matrix:
    """Per config and sample, the share of its runs that are right, ``(n_configs, n)``."""
    return np.stack(
        [np.mean([p.argmax(axis=1) == labels for p in runs], axis=0) for runs in predictions]
    )


def _accuracy(labels: Labels, predictions: Sequence[_Runs]) -> _Scorer:
    right = _right(labels, predictions)
    return lambda weights: weights @ right.T / weights.sum(axis=1, keepdims=True)


def _balanced_accuracy(labels: Labels, predictions: Sequence[_Runs]) -> _Scorer:
    right = _right(labels, predictions)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def score(weights: Matrix) -> Matrix:
        recalls = np.full((len(members), len(weights), len(right)), np.nan)
        for k, rows in enumerate(members):
            total = weights[:, rows].sum(axis=1)
            seen = total > 0
            recalls[k, seen] = weights[np.ix_(seen, rows)] @ right[:, rows].T / total[seen, None]
        found: Matrix = np.nanmean(recalls, axis=0)  # a class that isn't in a resample is left out
        return found

    return score


def _log_loss(labels: Labels, predictions: Sequence[_Runs]) -> _Scorer:
    rows = np.arange(len(labels))
    gain = np.stack(
        [
            np.mean([np.log(np.clip(p[rows, labels], 1e-7, 1.0)) for p in runs], axis=0)
            for runs in predictions
        ]
    ).astype(float)
    return lambda weights: weights @ gain.T / weights.sum(axis=1, keepdims=True)


_SCORERS: dict[str, Callable[[Labels, Sequence[_Runs]], _Scorer]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "log_loss": _log_loss,
}


def _by_contributions(metric: Metric, labels: Labels, predictions: Sequence[_Runs]) -> _Scorer:
    """Of metrics that aren't sums over samples, what resampling changes in the first order."""
    weights = sample_weights(metric, labels)
    shares = np.stack(
        [np.mean([contributions(metric, labels, p) for p in runs], axis=0) for runs in predictions]
    )

    def score(counts: Matrix) -> Matrix:
        with np.errstate(invalid="ignore"):  # a resample may leave nothing out
            found: Matrix = counts @ shares.T / (counts @ weights)[:, None]
        return found

    return score
