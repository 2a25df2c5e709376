"""The configs that every task is tried with: named recipes, and Sobol points of the whole space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from autotl.backbones.zoo import EMBEDDED
from autotl.search.recipes import RECIPES
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig

N_FINETUNE = {EMBEDDED: 12}
N_SCRATCH = {EMBEDDED: 8}
_FEWER_FINETUNE, _FEWER_SCRATCH = 8, 0
_SEED = 11
FIRST = {
    EMBEDDED: ("full-1e-3", "full-2e-3", "tenth", "freeze-first", "lp-ft", "whole", "shallow-1")
}
"""Network configs that every task has before any task has the others."""
_FEWER_FIRST = ("full-1e-3", "tenth", "lp-ft")


@dataclass(frozen=True)
class Entry:
    """A config of the table.

    Attributes:
        name: of the recipe, or ``sobol-3``; unique within strategy and backbone.
        strategy: its strategy's name.
        config: its settings.
    """

    name: str
    strategy: str
    config: StrategyConfig

    def is_first(self) -> bool:
        """Whether every task has it before any task has the others."""
        if self.strategy == "bottleneck":
            return True
        return self.name in FIRST.get(self.config.backbone, _FEWER_FIRST)


def entries(backbone: str, num_stages: int, max_epochs: int, *, is_imbalanced: bool) -> list[Entry]:
    """All configs for a backbone: the same points of the space for every task.

    Args:
        backbone: its name.
        num_stages: of it; depths are the same shares of them in every backbone.
        max_epochs: of the longest schedules of this task.
        is_imbalanced: whether classes are weighed.
    """
    common = {"backbone": backbone, "balanced": is_imbalanced}
    made = []
    for recipe in RECIPES:
        if recipe.strategy == "scratch" and backbone != EMBEDDED:
            continue
        values = recipe.fields(num_stages, max_epochs)
        made.append(_entry(recipe.strategy, recipe.name, common | values))
    n_finetune = N_FINETUNE.get(backbone, _FEWER_FINETUNE)
    for index, point in enumerate(_sobol(14, n_finetune, _SEED)):
        values = _finetune_point(point, num_stages, max_epochs)
        made.append(_entry("finetune", f"sobol-{index}", common | values))
    n_scratch = N_SCRATCH.get(backbone, _FEWER_SCRATCH)
    for index, point in enumerate(_sobol(9, n_scratch, _SEED + 1)):
        values = _scratch_point(point, max_epochs)
        made.append(_entry("scratch", f"sobol-{index}", common | values))
    return made


def _entry(strategy: str, name: str, values: dict[str, Any]) -> Entry:
    return Entry(name, strategy, STRATEGIES[strategy].Config.model_validate(values))


def _sobol(n_dimensions: int, n: int, seed: int) -> np.ndarray:
    if not n:
        return np.empty((0, n_dimensions))
    power = int(np.ceil(np.log2(n)))
    points: np.ndarray = qmc.Sobol(n_dimensions, seed=seed).random_base2(power)[:n]
    return points


def _choice(u: float, options: tuple[Any, ...]) -> Any:
    return options[min(len(options) - 1, int(u * len(options)))]


def _log(u: float, low: float, high: float) -> float:
    return float(low * (high / low) ** u)


_AUGMENTATIONS = ("none", "light", "medium", "strong")
_MIXES = ("none", "none", "mixup", "cutmix")


def _training_point(u: np.ndarray, max_epochs: int) -> dict[str, Any]:
    """Seven coordinates."""
    return {
        "epochs": max(1, round(max_epochs * _choice(u[0], (1 / 3, 2 / 3, 1.0)))),
        "augmentation": _choice(u[1], _AUGMENTATIONS),
        "mirror": bool(u[2] < 0.5),
        "weight_decay": _log(u[3], 1e-3, 0.3),
        "label_smoothing": _choice(u[4], (0.0, 0.1)),
        "mix": _choice(u[5], _MIXES),
    }


def _finetune_point(u: np.ndarray, num_stages: int, max_epochs: int) -> dict[str, Any]:
    values = _training_point(u, max_epochs)
    depth = round(u[7] * num_stages)
    above = None
    if u[12] < 0.2 and depth < num_stages - 1:
        above = depth + max(1, round(0.4 * num_stages))
        above = above if above < num_stages else None
    views = 8 if depth and values["augmentation"] != "none" and u[13] < 0.5 else 0
    return {
        **values,
        "freeze_depth": depth,
        "freeze_above": above,
        "lr": _log(u[6], 3e-4, 1e-2),
        "lr_ratio": _log(u[8], 0.03, 1.0),
        "layer_decay": _choice(u[9], (1.0, 1.0, 0.6)),
        "head": _choice(u[10], ("random", "probe")),
        "pull": _choice(u[11], (0.0, 0.0, 0.0, 3.0)),
        "frozen_epochs": 1 if 0.4 < u[12] < 0.6 else 0,
        "n_views": views,
    }


def _scratch_point(u: np.ndarray, max_epochs: int) -> dict[str, Any]:
    return {
        **_training_point(u, max_epochs),
        "lr": _log(u[6], 5e-4, 1e-2),
        "n_removed": _choice(u[7], (0, 1, 2)),
    }
