"""The part of the search space that strategies share which train networks, and its inverse."""

from __future__ import annotations

from typing import Any

from autotl.analysis.profile import DatasetProfile
from autotl.strategies.augment import POLICIES
from autotl.strategies.base import Trial, suggest_backbone
from autotl.strategies.mixing import MIXES
from autotl.strategies.training import TrainingConfig

_SHORTEST = 4
"""The longest schedule by the shortest."""


def suggest_training(
    trial: Trial, strategy: str, profile: DatasetProfile, lr: tuple[float, float]
) -> dict[str, Any]:
    """Choose the values of a :class:`TrainingConfig`; ``lr`` is the range of the peak rate."""
    backbone = suggest_backbone(trial, strategy, profile)
    return {
        "backbone": backbone,
        "lr": trial.suggest_float(f"{strategy}.lr", *lr, log=True),
        "epochs": _suggest_epochs(trial, strategy, backbone, profile),
        "augmentation": trial.suggest_categorical(f"{strategy}.augmentation", POLICIES),
        "mirror": trial.suggest_categorical(f"{strategy}.mirror", (False, True)),
        "weight_decay": trial.suggest_float(f"{strategy}.weight_decay", 1e-3, 0.3, log=True),
        "label_smoothing": trial.suggest_categorical(f"{strategy}.label_smoothing", (0.0, 0.1)),
        "mix": trial.suggest_categorical(f"{strategy}.mix", MIXES),
        "balanced": profile.size.is_imbalanced,
    }


def training_params(
    strategy: str, config: TrainingConfig, profile: DatasetProfile
) -> dict[str, Any]:
    """The parameters from which :func:`suggest_training` makes a config's values."""
    most = _most_epochs(profile)
    share = config.epochs / profile.backbones[config.backbone].max_epochs
    epochs = min(most, max(1, most // _SHORTEST, round(share * most)))
    values = {
        "backbone": config.backbone,
        "lr": config.lr,
        "epochs": epochs,
        "augmentation": config.augmentation,
        "mirror": config.mirror,
        "weight_decay": max(1e-3, config.weight_decay),
        "label_smoothing": config.label_smoothing,
        "mix": config.mix,
    }
    return {f"{strategy}.{name}": value for name, value in values.items()}


def _suggest_epochs(trial: Trial, strategy: str, backbone: str, profile: DatasetProfile) -> int:
    """A number of epochs between a quarter of what one trial can afford, and all of that.

    The range is that of the cheapest backbone; for a dearer one it means the same share.
    """
    most = _most_epochs(profile)
    chosen = trial.suggest_int(f"{strategy}.epochs", max(1, most // _SHORTEST), most, log=True)
    return max(1, round(chosen * profile.backbones[backbone].max_epochs / most))


def _most_epochs(profile: DatasetProfile) -> int:
    return max(candidate.max_epochs for candidate in profile.backbones.values())
