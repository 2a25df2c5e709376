"""The configs that every task is tried with: named recipes, and Sobol points of the whole space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from autotl.backbones.zoo import EMBEDDED
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
    made = [
        Entry(f"{layers}-{head}", "bottleneck", _config("bottleneck", common, layers, head))
        for layers in ("last", "second_last", "third_last", "last_2", "last_4", "all")
        for head in ("svm", "logistic")
    ]
    for name, values in _finetune_recipes(num_stages, max_epochs).items():
        made.append(_network("finetune", name, common | values))
    n_finetune = N_FINETUNE.get(backbone, _FEWER_FINETUNE)
    for index, point in enumerate(_sobol(14, n_finetune, _SEED)):
        values = _finetune_point(point, num_stages, max_epochs)
        made.append(_network("finetune", f"sobol-{index}", common | values))
    if backbone == EMBEDDED:
        for name, values in _scratch_recipes(max_epochs).items():
            made.append(_network("scratch", name, common | values))
    n_scratch = N_SCRATCH.get(backbone, _FEWER_SCRATCH)
    for index, point in enumerate(_sobol(9, n_scratch, _SEED + 1)):
        values = _scratch_point(point, max_epochs)
        made.append(_network("scratch", f"sobol-{index}", common | values))
    return made


def _config(strategy: str, common: dict[str, Any], layers: str, head: str) -> StrategyConfig:
    return STRATEGIES[strategy].Config.model_validate({**common, "layers": layers, "head": head})


def _network(strategy: str, name: str, values: dict[str, Any]) -> Entry:
    return Entry(name, strategy, STRATEGIES[strategy].Config.model_validate(values))


_TRAINING = {
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "augmentation": "light",
    "mirror": False,
}
_FULL = {
    **_TRAINING,
    "freeze_depth": 0,
    "lr": 2e-3,
    "lr_ratio": 1.0,
    "head": "random",
}


def _finetune_recipes(num_stages: int, max_epochs: int) -> dict[str, dict[str, Any]]:
    full = {**_FULL, "epochs": max_epochs}
    discriminative = 0.01 ** (1 / num_stages)
    return {
        # everything trained at one rate, the rate tuned over four
        "full-5e-4": full | {"lr": 5e-4},
        "full-1e-3": full | {"lr": 1e-3},
        "full-2e-3": full,
        "full-5e-3": full | {"lr": 5e-3},
        "full-2e-3-short": full | {"epochs": max(1, max_epochs // 3)},
        # a tenth of the head's rate for the backbone
        "tenth": full | {"lr_ratio": 0.1},
        # the first stages frozen, the others at a tenth of the rate
        "freeze-first": full | {"freeze_depth": round(0.4 * num_stages), "lr_ratio": 0.1},
        # BiT's HyperRule for less than 20,000 images: SGD at 0.003, no mixup, no decay
        "bit": full
        | {
            "optimizer": "sgd",
            "lr": 3e-3,
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
            "mirror": True,
        },
        # fastai: one epoch of the head, then all with rates falling to a hundredth at the input
        "fastai": full
        | {
            "frozen_epochs": 1,
            "lr": 1e-3,
            "layer_decay": discriminative,
            "weight_decay": 0.01,
            "augmentation": "medium",
            "mirror": True,
        },
        # LP-FT: the solved probe as the head's start, then everything at a smaller rate
        "lp-ft": full | {"head": "probe", "lr": 5e-4},
        # surgical: the first stages and the head only
        "surgical-first": full | {"freeze_above": round(0.4 * num_stages)},
    }


def _scratch_recipes(max_epochs: int) -> dict[str, dict[str, Any]]:
    whole = {**_TRAINING, "epochs": max_epochs, "lr": 3e-3, "n_removed": 0}
    return {
        "whole": whole,
        "shallow-1": whole | {"n_removed": 1},
        "shallow-2": whole | {"n_removed": 2},
    }


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
