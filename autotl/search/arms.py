"""What a search may try on a data set: recipes and drawn settings, on each backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.search.knowledge import DRAWN, Arm
from autotl.search.recipes import RECIPES, recipe
from autotl.search.space import within
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig

_FINITE = ("bottleneck",)
"""Strategies whose recipes are all that there is to try."""
_TYPICAL = {"finetune": "full-2e-3", "scratch": "whole"}
"""What stands for drawn settings where something must be said of them beforehand; of a strategy
without recipes that is the least that it can choose."""


def arms_of(strategies: Sequence[str], profile: DatasetProfile) -> list[Arm]:
    """All arms: each recipe once, and drawn settings as often as wanted, on every backbone."""
    found = [
        Arm(own.strategy, own.name, backbone)
        for own in RECIPES
        if own.strategy in strategies
        for backbone in profile.backbones
    ]
    drawn = [
        Arm(name, DRAWN, backbone)
        for name in strategies
        if name not in _FINITE
        for backbone in profile.backbones
    ]
    return found + drawn


def config_of(arm: Arm, profile: DatasetProfile) -> StrategyConfig:
    """The config that an arm stands for; of drawn settings a typical one."""
    own = profile.backbones[arm.backbone]
    name = _TYPICAL.get(arm.strategy, DRAWN) if arm.recipe == DRAWN else arm.recipe
    if name == DRAWN:
        return within(STRATEGIES[arm.strategy], params_of(arm, profile), profile)[1]
    fields = recipe(arm.strategy, name).fields(own.num_stages, own.max_epochs)
    common = {"backbone": arm.backbone, "balanced": profile.size.is_imbalanced}
    return STRATEGIES[arm.strategy].Config.model_validate({**common, **fields})


def params_of(arm: Arm, profile: DatasetProfile) -> dict[str, Any]:
    """What :meth:`Strategy.suggest` must be answered to make an arm's config.

    Of drawn settings that is the backbone alone.
    """
    if arm.recipe == DRAWN:
        return {f"{arm.strategy}.backbone": arm.backbone}
    return STRATEGIES[arm.strategy].params(config_of(arm, profile), profile)
