"""What trials cost by rule, not by the clock: for searches that end by a number of trials.

Which trial comes first hangs on what each costs. Where no time is set, measured seconds would only
make two runs of the same search differ; so there a picture costs what the backbone's size says, and
nothing is asked of what is held in memory or on disk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autotl.backbones.speed import Speed
from autotl.backbones.zoo import Backbone
from autotl.strategies.base import Task

_S_PER_PARAMETER = 1.5e-9
"""Seconds of a picture of 64 pixels a side for each parameter, about those of one core."""
_SIDE = 64
_TRAIN = 3.0
"""A training step takes so many forward passes."""


def nominal_speed(backbone: Backbone) -> Speed:
    """What a picture costs a backbone whose stages all take the same."""
    forward_s = _S_PER_PARAMETER * backbone.n_parameters * (backbone.image_size / _SIDE) ** 2
    shares = [depth / backbone.num_stages for depth in range(backbone.num_stages + 1)]
    return Speed(
        precision="fp32",
        channels_last=False,
        forward_to=tuple(forward_s * share for share in shares),
        train_from=tuple(_TRAIN * forward_s * (1.0 - share) for share in shares),
    )


def nominal_task(task: Task) -> Task:
    """The task as the cost of a config is to be asked of it; nothing can be trained on it."""
    speeds = {name: nominal_speed(backbone) for name, backbone in task.backbones.items()}
    return replace(task, speeds=speeds, store=_Holds())  # type: ignore[arg-type]


class _Holds:
    """Pooled features, which the analysis has made, and nothing else."""

    def features_held_share(self, *_: Any) -> float:
        return 1.0

    def held_share(self, *_: Any) -> float:
        return 0.0

    def has_room(self, *_: Any) -> bool:
        return True
