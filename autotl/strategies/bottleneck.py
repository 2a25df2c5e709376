"""Bottleneck: features of frozen intermediate layers, standardised, and a linear classifier."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.zoo import Backbone
from autotl.metrics import accuracy
from autotl.strategies.base import (
    Reporter,
    StrategyConfig,
    Task,
    Trial,
    TrialResult,
    suggest_backbone,
)
from autotl.strategies.cross_validation import cross_validate
from autotl.strategies.fitted import FeatureClassifier, FittedModel
from autotl.strategies.linear import LinearClassifier, n_selected, solve_selected
from autotl.strategies.path import Head

CELLS_WIDTH = 512
"""Features that a stage gives at most when its map is averaged over cells, not over all of it."""
KEPT = 0.3
"""Share of the features that is kept when the most useful ones are selected."""

Layers = Literal["last", "second_last", "third_last", "last_2", "last_4", "all"]

LAYERS: tuple[Layers, ...] = ("last", "second_last", "third_last", "last_2", "last_4", "all")


def depths_of(layers: Layers, num_stages: int) -> tuple[int, ...]:
    """The depths that a choice of layers means for a backbone of that many stages."""
    last = num_stages
    first = {
        "last": last,
        "second_last": last - 1,
        "third_last": last - 2,
        "last_2": last - 1,
        "last_4": last - 3,
        "all": 1,
    }[layers]
    first = max(1, first)
    if layers in {"last", "second_last", "third_last"}:
        return (first,)
    return tuple(range(first, last + 1))


class BottleneckConfig(StrategyConfig):
    """How to classify frozen features.

    Attributes:
        backbone: whose features.
        layers: after which stages, counted from the end; several are concatenated.
        head: linear support vector machine or softmax probe.
        C: inverse strength of the L2 penalty, or ``auto``: chosen inside the training samples.
        balanced: whether classes weigh the same however rare they are.
        max_width: 0: a stage's map is averaged over all positions; else over 2x2 or 4x4 cells, as
            long as that gives no more features than this; not so the end of the network.
        kept: share of the features to keep, those that weigh most; 1: all.
    """

    layers: Layers
    head: Head
    C: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    balanced: bool
    max_width: Annotated[int, Field(ge=0)] = 0
    kept: Annotated[float, Field(gt=0, le=1)] = 1.0


class Bottleneck:
    """Features of frozen layers and a linear classifier on top."""

    name = "bottleneck"
    Config = BottleneckConfig

    def suggest(self, trial: Trial, profile: DatasetProfile) -> BottleneckConfig:
        """Choose all but ``C``, which every fit finds."""
        return BottleneckConfig(
            backbone=suggest_backbone(trial, self.name, profile),
            layers=trial.suggest_categorical("bottleneck.layers", LAYERS),
            head=trial.suggest_categorical("bottleneck.head", ("svm", "logistic")),
            balanced=trial.suggest_categorical("bottleneck.balanced", (False, True)),
            max_width=trial.suggest_categorical("bottleneck.max_width", (0, CELLS_WIDTH)),
            kept=trial.suggest_categorical("bottleneck.kept", (1.0, KEPT)),
        )

    def params(self, config: BottleneckConfig, profile: DatasetProfile) -> dict[str, Any]:
        """The parameters from which :meth:`suggest` makes this config, but for its ``C``."""
        names = ("backbone", "layers", "head", "balanced", "max_width", "kept")
        return {f"bottleneck.{name}": getattr(config, name) for name in names}

    def run(self, config: BottleneckConfig, task: Task, reporter: Reporter) -> TrialResult:
        """Train and validate on every fold."""
        return cross_validate(self, config, task, reporter)

    def fit(
        self,
        config: BottleneckConfig,
        task: Task,
        train: NDArray[np.int64],
        validation: NDArray[np.int64] | None,
        reporter: Reporter,
    ) -> FittedModel:
        """Solve the linear classifier on the training samples' features."""
        reporter.check()
        backbone = task.backbones[config.backbone]
        depths = depths_of(config.layers, backbone.num_stages)
        features = task.store.features(backbone, depths, max_width=config.max_width)
        n_features = features.shape[1]
        to_solve, held_out = features[train], None if validation is None else features[validation]
        del features  # of many pictures one copy more would count
        solved = solve_selected(
            to_solve,
            task.labels[train],
            task.n_classes,
            kept=config.kept,
            head=config.head,
            C=config.C,
            balanced=config.balanced,
            seed=task.seed,
        )
        probabilities = None
        if validation is not None and held_out is not None:
            probabilities = solved.predict_proba(held_out)
            labels = task.labels[validation]
            reporter.report(
                1.0,
                task.metric.score(labels, probabilities),
                {"validation_accuracy": accuracy(labels, probabilities), "C": solved.C},
            )
        n_kept = n_selected(n_features, config.kept)
        n_trained = n_kept * task.n_classes + solved.bias.size
        network = partial(_network, backbone, depths, config.max_width, solved)
        return FittedModel(backbone, network, task.n_classes, n_trained, probabilities)

    def cost(self, config: BottleneckConfig, task: Task) -> float:
        """Seconds: a forward pass for features not yet held, a solver linear in the samples."""
        backbone = task.backbones[config.backbone]
        missing = 1.0 - task.store.features_held_share(backbone, config.max_width)
        forward_s = task.speeds[config.backbone].forward_s * len(task.labels) * missing
        n_features = backbone.num_features
        if config.max_width:
            n_features = min(len(task.labels), config.max_width * backbone.num_stages)
        if config.kept < 1.0:
            n_features *= 2  # solved twice
        solver_s = 1e-7 * len(task.labels) * n_features * task.n_classes
        return forward_s + solver_s * len(task.folds)


def _network(
    backbone: Backbone, depths: tuple[int, ...], max_width: int, solved: LinearClassifier
) -> FeatureClassifier:
    """The pretrained network up to the deepest of the depths, and what was solved on them."""
    n_classes, n_features = solved.weight.shape
    staged = backbone.create(n_classes, pretrained=True)
    network = FeatureClassifier(staged, depths, n_features, n_classes, max_width=max_width)
    with torch.no_grad():
        network.get_buffer("mean").copy_(torch.from_numpy(solved.mean))
        network.get_buffer("scale").copy_(torch.from_numpy(solved.scale))
        network.linear.weight.copy_(torch.from_numpy(solved.weight))
        network.linear.bias.copy_(torch.from_numpy(solved.bias))
    return network.eval()
