"""What both sides of a comparison can run: configs without what only autotl has."""

from __future__ import annotations

from typing import TypeVar

from autotl.strategies.base import StrategyConfig
from autotl.strategies.bottleneck import BottleneckConfig
from autotl.strategies.linear import DEFAULT_C

_LEFT_OUT = {
    "freeze_above": None,
    "frozen_epochs": 0,
    "kept": 1.0,
    "layer_decay": 1.0,
    "max_width": 0,
    "mix": "none",
    "optimizer": "adamw",
    "pull": 0.0,
}
Config = TypeVar("Config", bound=StrategyConfig)


def alike(config: Config) -> Config:
    """The config with every setting that the usual way doesn't have at what leaves it out.

    Fixed views (``n_views``) stay: the usual way shows new ones, which costs it nothing more.

    Args:
        config: of any strategy.
    """
    values = {name: v for name, v in _LEFT_OUT.items() if name in type(config).model_fields}
    if isinstance(config, BottleneckConfig) and config.C == "auto":
        values["C"] = DEFAULT_C[config.head]  # good for most; a user would not search for it
    return config.model_copy(update=values)
