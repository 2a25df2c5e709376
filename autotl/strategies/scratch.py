"""Scratch: the backbone's architecture, whole or cut shorter, from random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.stages import StagedNetwork
from autotl.strategies.base import (
    Reporter,
    Task,
    Trial,
    TrialResult,
)
from autotl.strategies.costs import training_cost
from autotl.strategies.cross_validation import cross_validate
from autotl.strategies.fitted import FeatureClassifier, FittedModel
from autotl.strategies.optimizer import ParameterGroup
from autotl.strategies.space import suggest_training, training_params
from autotl.strategies.training import TrainingConfig, train_network


class ScratchConfig(TrainingConfig):
    """How to train from random weights.

    Attributes:
        n_removed: stages left out at the end; 0 is the whole architecture, more is shallower.
    """

    n_removed: int


class Scratch:
    """Training from random weights, in a network that may be shallower."""

    name = "scratch"
    Config = ScratchConfig

    def suggest(self, trial: Trial, profile: DatasetProfile) -> ScratchConfig:
        """Choose architecture, its depth, and the training."""
        return ScratchConfig(
            n_removed=trial.suggest_int("scratch.n_removed", 0, 2),
            **suggest_training(trial, self.name, profile, lr=(3e-4, 1e-2)),
        )

    def params(self, config: ScratchConfig, profile: DatasetProfile) -> dict[str, Any]:
        """The parameters from which :meth:`suggest` makes this config, or the nearest one."""
        own = {"scratch.n_removed": min(2, config.n_removed)}
        return {**training_params(self.name, config, profile), **own}

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
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        groups = [ParameterGroup(trained, config.lr)]
        return train_network(network, backbone, groups, config, task, train, validation, reporter)

    def cost(self, config: ScratchConfig, task: Task) -> float:
        """Seconds of all epochs on all folds; stages left out cost nothing."""
        depth = max(1, task.backbones[config.backbone].num_stages - config.n_removed)
        return training_cost(config, task, end_depth=depth)
