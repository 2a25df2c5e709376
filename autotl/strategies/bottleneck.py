"""Bottleneck: features of frozen intermediate layers, standardised, and a linear classifier."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from autotl.analysis.profile import DatasetProfile
from autotl.metrics import accuracy
from autotl.strategies.base import (
    Reporter,
    StrategyConfig,
    Task,
    Trial,
    TrialResult,
    cross_validate,
    suggest_backbone,
)
from autotl.strategies.fitted import FeatureClassifier, FittedModel
from autotl.strategies.linear import solve_linear
from autotl.strategies.path import Head

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
    """

    layers: Layers
    head: Head
    C: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    balanced: bool


class Bottleneck:
    """Features of frozen layers and a linear classifier on top."""

    name = "bottleneck"
    Config = BottleneckConfig

    def suggest(self, trial: Trial, profile: DatasetProfile) -> BottleneckConfig:
        """Choose backbone, layers, head and class weights; ``C`` is found by every fit."""
        return BottleneckConfig(
            backbone=suggest_backbone(trial, self.name, profile),
            layers=trial.suggest_categorical("bottleneck.layers", LAYERS),
            head=trial.suggest_categorical("bottleneck.head", ("svm", "logistic")),
            balanced=trial.suggest_categorical("bottleneck.balanced", (False, True)),
        )

    def params(self, config: BottleneckConfig, profile: DatasetProfile) -> dict[str, Any]:
        """The parameters from which :meth:`suggest` makes this config, but for its ``C``."""
        names = ("backbone", "layers", "head", "balanced")
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
        features = task.store.features(backbone, depths)
        solved = solve_linear(
            features[train],
            task.labels[train],
            task.n_classes,
            head=config.head,
            C=config.C,
            balanced=config.balanced,
            seed=task.seed,
        )
        staged = backbone.create(task.n_classes, pretrained=True)
        network = FeatureClassifier(staged, depths, features.shape[1], task.n_classes)
        with torch.no_grad():
            network.get_buffer("mean").copy_(torch.from_numpy(solved.mean))
            network.get_buffer("scale").copy_(torch.from_numpy(solved.scale))
            network.linear.weight.copy_(torch.from_numpy(solved.weight))
            network.linear.bias.copy_(torch.from_numpy(solved.bias))
        probabilities = None
        if validation is not None:
            probabilities = solved.predict_proba(features[validation])
            labels = task.labels[validation]
            reporter.report(
                1.0,
                task.metric.score(labels, probabilities),
                {"validation_accuracy": accuracy(labels, probabilities), "C": solved.C},
            )
        n_trained = solved.weight.size + solved.bias.size
        return FittedModel(backbone, network.eval(), task.n_classes, n_trained, probabilities)

    def cost(self, config: BottleneckConfig, task: Task) -> float:
        """Seconds: a forward pass for features not yet held, a solver linear in the samples."""
        missing = 1.0 - task.store.features_held_share(task.backbones[config.backbone])
        forward_s = task.speeds[config.backbone].forward_s * len(task.labels) * missing
        n_features = task.backbones[config.backbone].num_features
        solver_s = 1e-7 * len(task.labels) * n_features * task.n_classes
        return forward_s + solver_s * len(task.folds)
