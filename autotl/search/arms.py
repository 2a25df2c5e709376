"""What a search may try on a data set: recipes and drawn settings, on each backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.search.knowledge import DRAWN, Arm
from autotl.search.recipes import RECIPES, recipe
from autotl.search.space import Space, is_inside, narrow, nearest, settings_of, within
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig

_FINITE = ("bottleneck",)
"""Strategies whose recipes are all that there is to try."""
_TYPICAL = {"finetune": "full-2e-3", "scratch": "whole"}
"""What stands for drawn settings where something must be said of them beforehand; of a strategy
without recipes that is the least that it can choose."""
_OF_THE_DATA = ("epochs", "balanced")
"""Settings that recipes take from the data set and the time: a space may move them."""
_EVERYTHING: Space = {}


def arms_of(
    strategies: Sequence[str], profile: DatasetProfile, space: Space = _EVERYTHING
) -> list[Arm]:
    """All arms: each recipe once, and drawn settings as often as wanted, on every backbone.

    Recipes outside of a space are left out. Where a space leaves so few settings that all can be
    tried, each is an arm, named by what it chooses, in the place of drawn ones.

    Args:
        strategies: names.
        profile: of the data set.
        space: what the study leaves of their choices.
    """
    recipes = [
        arm
        for own in RECIPES
        if own.strategy in strategies
        for backbone in profile.backbones
        if _is_allowed(arm := Arm(own.strategy, own.name, backbone), profile, space)
    ]
    with_recipes = {(arm.strategy, arm.backbone) for arm in recipes}
    others = []
    for name in strategies:
        for backbone in profile.backbones:
            drawn = Arm(name, DRAWN, backbone)
            if name in _FINITE and (name, backbone) in with_recipes:
                continue
            if is_inside({f"{name}.backbone": backbone}, space):
                listed = [Arm(name, own, backbone) for own in _settings(drawn, profile, space)]
                others += listed or [drawn]
    return recipes + others


def config_of(arm: Arm, profile: DatasetProfile, space: Space = _EVERYTHING) -> StrategyConfig:
    """The config that an arm stands for; of drawn settings a typical one."""
    own = profile.backbones[arm.backbone]
    name = _TYPICAL.get(arm.strategy, DRAWN) if arm.recipe == DRAWN else arm.recipe
    if name == DRAWN or _narrows(space, arm.strategy):
        typical = Arm(arm.strategy, name, arm.backbone)
        strategy = narrow(STRATEGIES[arm.strategy], space)
        return within(strategy, params_of(typical, profile, space), profile)[1]
    fields = recipe(arm.strategy, name).fields(own.num_stages, own.max_epochs)
    common = {"backbone": arm.backbone, "balanced": profile.size.is_imbalanced}
    return STRATEGIES[arm.strategy].Config.model_validate({**common, **fields})


def params_of(arm: Arm, profile: DatasetProfile, space: Space = _EVERYTHING) -> dict[str, Any]:
    """What :meth:`Strategy.suggest` must be answered to make an arm's config.

    Of drawn settings that is the backbone alone.
    """
    if arm.recipe == DRAWN:
        return {f"{arm.strategy}.backbone": arm.backbone}
    listed = _settings(arm, profile, space)
    if arm.recipe in listed:
        return listed[arm.recipe]
    params = STRATEGIES[arm.strategy].params(config_of(arm, profile), profile)
    moved = [f"{arm.strategy}.{name}" for name in _OF_THE_DATA]
    return params | {
        name: nearest(params[name], space[name])
        for name in moved
        if name in params and name in space
    }


def _settings(arm: Arm, profile: DatasetProfile, space: Space) -> dict[str, dict[str, Any]]:
    """All settings of an arm's strategy on its backbone by what they choose, if few are left."""
    if not _narrows(space, arm.strategy):
        return {}
    strategy = narrow(STRATEGIES[arm.strategy], space)
    found = settings_of(strategy, profile, arm.backbone)
    chosen = [name for name in (found or [{}])[0] if any(p[name] != found[0][name] for p in found)]
    return {
        ", ".join(f"{name.partition('.')[2]}={params[name]}" for name in chosen) or "only": params
        for params in found
    }


def _is_allowed(arm: Arm, profile: DatasetProfile, space: Space) -> bool:
    return not _narrows(space, arm.strategy) or is_inside(params_of(arm, profile, space), space)


def _narrows(space: Space, strategy: str) -> bool:
    return any(name.startswith(f"{strategy}.") for name in space)
