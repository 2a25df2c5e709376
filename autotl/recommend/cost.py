"""What a trial's model costs: seconds to train it, and seconds to predict a picture with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.speed import Speed
from autotl.strategies.base import TrialRecord
from autotl.strategies.bottleneck import depths_of


@dataclass(frozen=True)
class Cost:
    """Of a trial's model.

    Attributes:
        train_s: seconds that the trial takes.
        predict_s: seconds to predict a picture; NaN: not known.
    """

    train_s: float
    predict_s: float

    def by(self, other: Cost) -> float:
        """This by another's: the geometric mean of the ratios for training and predicting.

        Where a ratio isn't known it counts as 1.
        """
        train = ratio(self.train_s, other.train_s)
        return math.sqrt(train * ratio(self.predict_s, other.predict_s))


def measured_cost(record: TrialRecord, profile: DatasetProfile) -> Cost:
    """What a trial took, and what a picture takes here."""
    return Cost(record.seconds, prediction_seconds(record, profile))


def prediction_seconds(record: TrialRecord, profile: DatasetProfile) -> float:
    """Seconds of one picture's forward pass as far as the model goes; NaN: not known."""
    backbone = profile.backbones.get(str(record.config.get("backbone")))
    return math.nan if backbone is None else forward_seconds(record, backbone.speed)


def forward_seconds(record: TrialRecord, speed: Speed) -> float:
    """Seconds of one picture's forward pass at a backbone's speed, as far as the model goes.

    A bottleneck on an early stage, and a network trained without its last stages, end sooner.
    """
    num_stages = len(speed.forward_to) - 1
    return speed.forward_to[min(_depth(record.strategy, record.config, num_stages), num_stages)]


def ratio(a: float, b: float) -> float:
    """One by another; 1 where either isn't known."""
    known = math.isfinite(a) and math.isfinite(b) and a > 0 and b > 0
    return a / b if known else 1.0


def _depth(strategy: str, config: Mapping[str, Any], num_stages: int) -> int:
    if strategy == "bottleneck" and "layers" in config:
        return depths_of(config["layers"], num_stages)[-1]
    if strategy == "scratch":
        return max(1, num_stages - int(config.get("n_removed", 0)))
    return num_stages
