"""How scores rise with the samples, estimated on some data sets and tried on others."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from autotl.analysis.learning_curve import LearningCurve
from autotl.metrics import METRICS
from autotl.recommend.growth import Growth, Rise, rise_of
from autotl.uncertainty import wilson_interval

FILE = Path(__file__).with_name("outcomes.jsonl.gz")
_METRIC = METRICS["accuracy"]
_RELIABLE_N = 2000
"""Answers of a test set, more or less: shares of 0 and 1 count as half a sample off."""


@dataclass(frozen=True)
class Honesty:
    """What an expectation was worth, over many models.

    Attributes:
        n: models.
        bias: expected less reached, points, mean over data sets.
        bias_interval: its 95 % interval, data sets resampled.
        covered: share of the 95 % intervals that hold what was reached.
        allowing: the same, the test set's own noise added, answers taken as independent.
    """

    n: int
    bias: float
    bias_interval: tuple[float, float]
    covered: float
    allowing: float


def read() -> list[dict[str, Any]]:
    """The outcomes that are kept."""
    with gzip.open(FILE, "rt") as lines:
        return [json.loads(line) for line in lines]


def table_of(outcomes: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The outcomes with the rise that came, ``rise``, and the one by the curve, ``own``."""
    frame = pd.DataFrame(outcomes)
    frame["decades"] = np.log10(frame["n"] / frame["n_train"])
    gained = _logits(frame["test"]) - _logits(frame["fold_test"])
    frame["rise"] = gained / frame["decades"]
    frame["own"] = [rise_of(curve_of(row)) for row in outcomes]
    frame["own"] = frame["own"].astype(float)
    return frame


def curve_of(outcome: dict[str, Any]) -> LearningCurve:
    """The learning curve of a model's data."""
    return LearningCurve(
        tuple(outcome["curve_n"]),
        tuple(outcome["curve_accuracy"]),
        round(outcome["n_train"]),
        fitted=tuple(tuple(point) for point in outcome["curve_fitted"]),
    )


def estimate(frame: pd.DataFrame) -> Rise:
    """By least squares over data sets and sizes, each counting alike.

    The deviation of a rise is that between cells, each a mean over repeats and folds.
    """
    cells = frame.groupby(["dataset", "n"])[["rise", "own"]].mean()
    known = cells.dropna()
    centred = known["own"] - known["own"].mean()
    share = float((centred * known["rise"]).sum() / np.square(centred).sum())
    offset = float(known["rise"].mean() - share * known["own"].mean())
    left = known["rise"] - offset - share * known["own"]
    return Rise(
        mean=float(cells["rise"].mean()),
        deviation=float(cells["rise"].std(ddof=1)),
        offset=offset,
        share=share,
        left=float(np.sqrt(np.square(left).sum() / (len(left) - 2))),
    )


def honesty(frame: pd.DataFrame, rises: dict[str, Rise | None]) -> Honesty:
    """Of expectations by the rise that is known for each data set; None: as validated."""
    errors, covered, allowing = [], [], []
    for row in frame.to_dict("records"):
        n_independent = max(1.0, row["n_validated"] / row["design_effect"])
        interval = wilson_interval(row["validated"], n_independent)
        rise = rises[row["dataset"]]
        growth = Growth()
        if rise is not None:
            growth = Growth.expected(row["n_train"], row["n"], curve_of(row), rise)
        value, (low, high) = growth.applied(_METRIC, row["validated"], interval, n_independent)
        errors.append(100.0 * (value - row["test"]))
        covered.append(low <= row["test"] <= high)
        least, most = wilson_interval(row["test"], row["n_test"])
        end, of_test = (low, most) if value > row["test"] else (high, least)
        apart = abs(value - row["test"])
        allowing.append(apart <= np.hypot(value - end, row["test"] - of_test))
    by_set = pd.Series(errors, index=frame["dataset"]).groupby(level=0).mean()
    rng = np.random.default_rng(0)
    means = by_set.to_numpy()[rng.integers(0, len(by_set), (2000, len(by_set)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Honesty(
        len(frame),
        float(by_set.mean()),
        (low, high),
        float(np.mean(covered)),
        float(np.mean(allowing)),
    )


def left_out(frame: pd.DataFrame) -> dict[str, Rise | None]:
    """For each data set what the others say."""
    names = frame["dataset"].unique()
    return {name: estimate(frame[frame["dataset"] != name]) for name in names}


def _logits(shares: pd.Series) -> pd.Series:
    least = 0.5 / _RELIABLE_N
    return pd.Series(logit(np.clip(shares, least, 1 - least)), index=shares.index)
