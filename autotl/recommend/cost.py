"""What a trial's model costs: seconds to train it, and seconds to predict a picture with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.strategies.base import TrialRecord
from autotl.strategies.bottleneck import depths_of


def prediction_seconds(record: TrialRecord, profile: DatasetProfile) -> float:
    """Seconds of one picture's forward pass as far as the model goes; NaN: not known.

    A bottleneck on an early stage, and a network trained without its last stages, end sooner.
    """
    backbone = profile.backbones.get(str(record.config.get("backbone")))
    if backbone is None:
        return math.nan
    depth = _depth(record.strategy, record.config, backbone.num_stages)
    return backbone.speed.forward_to[min(depth, len(backbone.speed.forward_to) - 1)]


def relative_cost(record: TrialRecord, other: TrialRecord, profile: DatasetProfile) -> float:
    """A trial's cost by another's: the geometric mean of the ratios for training and predicting.

    Where a ratio isn't known it counts as 1.
    """
    train = _ratio(record.seconds, other.seconds)
    predict = _ratio(prediction_seconds(record, profile), prediction_seconds(other, profile))
    return math.sqrt(train * predict)


def _ratio(a: float, b: float) -> float:
    known = math.isfinite(a) and math.isfinite(b) and a > 0 and b > 0
    return a / b if known else 1.0


def _depth(strategy: str, config: Mapping[str, Any], num_stages: int) -> int:
    if strategy == "bottleneck" and "layers" in config:
        return depths_of(config["layers"], num_stages)[-1]
    if strategy == "scratch":
        return max(1, num_stages - int(config.get("n_removed", 0)))
    return num_stages
