"""Scratch: the backbone's architecture, whole or cut shorter, from random weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.stages import StagedNetwork
from autotl.strategies.augment import POLICIES
from autotl.strategies.base import (
    Reporter,
    StrategyConfig,
    Task,
    Trial,
    TrialResult,
    cross_validate,
    suggest_backbone,
    suggest_epochs,
    training_cost,
)
from autotl.strategies.fitted import FeatureClassifier, FittedModel
from autotl.strategies.training import Recipe, train_network


class ScratchConfig(StrategyConfig):
    """How to train from random weights.

    Attributes:
        backbone: whose architecture.
        n_removed: stages left out at the end; 0 is the whole architecture, more is shallower.
        lr: peak learning rate of AdamW.
        epochs: passes over the training samples.
        augmentation: policy.
        mirror: whether pictures are mirrored left to right.
        weight_decay: of AdamW.
        label_smoothing: in [0, 1).
        balanced: whether classes weigh the same in the loss.
    """

    n_removed: int
    lr: float
    epochs: int
    augmentation: str
    mirror: bool
    weight_decay: float
    label_smoothing: float
    balanced: bool


class Scratch:
    """Training from random weights, in a network that may be shallower."""

    name = "scratch"
    Config = ScratchConfig

    def suggest(self, trial: Trial, profile: DatasetProfile) -> ScratchConfig:
        """Choose architecture, its depth, and the training."""
        backbone = suggest_backbone(trial, self.name, profile)
        return ScratchConfig(
            backbone=backbone,
            n_removed=trial.suggest_int("scratch.n_removed", 0, 2),
            lr=trial.suggest_float("scratch.lr", 3e-4, 1e-2, log=True),
            epochs=suggest_epochs(trial, self.name, backbone, profile),
            augmentation=trial.suggest_categorical("scratch.augmentation", POLICIES),
            mirror=trial.suggest_categorical("scratch.mirror", (False, True)),
            weight_decay=trial.suggest_float("scratch.weight_decay", 1e-3, 0.3, log=True),
            label_smoothing=trial.suggest_categorical("scratch.label_smoothing", (0.0, 0.1)),
            balanced=profile.size.is_imbalanced,
        )

    def run(self, config: ScratchConfig, task: Task, reporter: Reporter) -> TrialResult:
        """Train and validate on every fold."""
        return cross_validate(self, config, task, reporter)

    def fit(
        self,
        config: ScratchConfig,
        task: Task,
        train: NDArray[np.int64],
        validation: NDArray[np.int64] | None,
        reporter: Reporter,
    ) -> FittedModel:
        """Train one network."""
        backbone = task.backbones[config.backbone]
        staged = backbone.create(task.n_classes, pretrained=False, seed=task.seed)
        network: StagedNetwork | FeatureClassifier = staged
        depth = max(1, staged.num_stages - config.n_removed)
        if depth < staged.num_stages:
            n_channels = staged.num_channels(depth, backbone.image_size)
            network = FeatureClassifier(staged, (depth,), n_channels, task.n_classes, task.seed)
        parameters = [([p for p in network.parameters() if p.requires_grad], config.lr)]
        recipe = Recipe(
            epochs=config.epochs,
            weight_decay=config.weight_decay,
            label_smoothing=config.label_smoothing,
            augmentation=config.augmentation,
            mirror=config.mirror,
            balanced=config.balanced,
        )
        return train_network(
            network, backbone, parameters, recipe, task, train, validation, reporter
        )

    def cost(self, config: ScratchConfig, task: Task) -> float:
        """Seconds of all epochs on all folds."""
        return training_cost(config.backbone, config.epochs, 0, task)
