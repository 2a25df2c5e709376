"""Partial fine-tuning: a new softmax head, first stages frozen, the rest trained more slowly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.stages import StagedNetwork
from autotl.strategies.base import (
    Reporter,
    Task,
    Trial,
    TrialResult,
)
from autotl.strategies.checkpoint import checkpoint_of
from autotl.strategies.costs import training_cost
from autotl.strategies.cross_validation import cross_validate
from autotl.strategies.fitted import FittedModel
from autotl.strategies.linear import solve_linear
from autotl.strategies.optimizer import ParameterGroup
from autotl.strategies.space import suggest_training, training_params
from autotl.strategies.training import TrainingConfig, train_network

_PROBE_C = 0.01
_PULLS = (0.0, 3.0)
_N_VIEWS = 8
"""As good as new views in every epoch within the noise; 4 cost 0.8 points (studies/reuse)."""


class FinetuneConfig(TrainingConfig):
    """How to fine-tune; ``lr`` is the head's.

    Attributes:
        freeze_depth: stages below it are frozen; 0: everything is trained, ``num_stages``: the
            head only.
        freeze_above: stages from this depth on are frozen too, the head is not: what is trained
            lies between (Lee et al. 2023, arXiv 2210.11466); None: none of them.
        lr_ratio: learning rate of the backbone's last stage divided by the head's.
        layer_decay: each stage's rate divided by that of the stage after it, in (0, 1].
        head: a random classifier, or the softmax probe solved on the frozen features
            (Kumar et al. 2022, arXiv 2202.10054).
        frozen_epochs: epochs before the others in which the head alone is trained, by a schedule
            of their own (Howard and Gugger 2020, arXiv 2002.04688).
        pull: of the backbone's weights back to the pretrained ones, see
            :class:`~autotl.strategies.optimizer.ParameterGroup`.
    """

    freeze_depth: int
    freeze_above: int | None = None
    lr_ratio: float
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    head: Literal["random", "probe"]
    frozen_epochs: int = Field(default=0, ge=0)
    pull: float = Field(default=0.0, ge=0)


class Finetune:
    """Fine-tuning of the stages from a depth on, with a new head."""

    name = "finetune"
    Config = FinetuneConfig

    def suggest(self, trial: Trial, profile: DatasetProfile) -> FinetuneConfig:
        """Choose backbone, what to freeze, the rates, the head's start and the training.

        ``finetune.freeze_depth`` and ``finetune.freeze_above`` count the stages of the deepest
        candidate; for a backbone with fewer stages they mean the same share of them. What would
        change nothing in a config is left at its default, so that equal configs are equal.
        """
        training = suggest_training(trial, self.name, profile, lr=(1e-4, 1e-2))
        deepest = _deepest(profile)
        freeze = trial.suggest_int("finetune.freeze_depth", 0, deepest)
        above = trial.suggest_int("finetune.freeze_above", 1, deepest)
        own_stages = profile.backbones[training["backbone"]].num_stages
        depth, end = round(freeze * own_stages / deepest), round(above * own_stages / deepest)
        n_views = trial.suggest_categorical("finetune.n_views", (0, _N_VIEWS))
        lr_ratio = trial.suggest_float("finetune.lr_ratio", 0.01, 1.0, log=True)
        layer_decay = trial.suggest_float("finetune.layer_decay", 0.1, 1.0, log=True)
        pull = trial.suggest_categorical("finetune.pull", _PULLS)
        frozen_epochs = trial.suggest_categorical("finetune.frozen_epochs", (0, 1))
        is_head_only = depth == own_stages
        return FinetuneConfig(
            freeze_depth=depth,
            freeze_above=end if depth < end < own_stages else None,
            n_views=n_views if depth and training["augmentation"] != "none" else 0,
            lr_ratio=1.0 if is_head_only else lr_ratio,
            layer_decay=1.0 if is_head_only else layer_decay,
            head=trial.suggest_categorical("finetune.head", ("random", "probe")),
            frozen_epochs=0 if is_head_only else frozen_epochs,
            pull=0.0 if is_head_only else pull,
            optimizer=trial.suggest_categorical("finetune.optimizer", ("adamw", "sgd")),
            **training,
        )

    def params(self, config: FinetuneConfig, profile: DatasetProfile) -> dict[str, Any]:
        """The parameters from which :meth:`suggest` makes this config, or the nearest one."""
        deepest, own_stages = _deepest(profile), profile.backbones[config.backbone].num_stages
        above = own_stages if config.freeze_above is None else config.freeze_above
        values = {
            "freeze_depth": round(config.freeze_depth * deepest / own_stages),
            "freeze_above": max(1, round(above * deepest / own_stages)),
            "n_views": _N_VIEWS if config.n_views else 0,
            "lr_ratio": config.lr_ratio,
            "layer_decay": max(0.1, config.layer_decay),
            "pull": _PULLS[1] if config.pull else _PULLS[0],
            "frozen_epochs": min(1, config.frozen_epochs),
            "head": config.head,
            "optimizer": config.optimizer,
        }
        own = {f"finetune.{name}": value for name, value in values.items()}
        return {**training_params(self.name, config, profile), **own}

    def run(self, config: FinetuneConfig, task: Task, reporter: Reporter) -> TrialResult:
        """Train and validate on every fold."""
        return cross_validate(self, config, task, reporter)

    def fit(
        self,
        config: FinetuneConfig,
        task: Task,
        train: NDArray[np.int64],
        validation: NDArray[np.int64] | None,
        reporter: Reporter,
    ) -> FittedModel:
        """Train one network."""
        backbone = task.backbones[config.backbone]
        network = backbone.create(task.n_classes, pretrained=True, seed=task.seed)
        if config.head == "probe":
            _solve_head(network, config, task, train)
        if config.frozen_epochs:
            network.freeze(network.num_stages)
            first = config.model_copy(update={"epochs": config.frozen_epochs})
            head = [ParameterGroup(list(network.head_parameters()), config.lr)]
            share = config.frozen_epochs / (config.frozen_epochs + config.epochs)
            begun, rest = _Span(reporter, 0.0, share), _Span(reporter, share, 1.0)
            if rest.checkpoint.load() is None:  # else the trial goes on there
                train_network(network, backbone, head, first, task, train, validation, begun)
            reporter = rest
        network.freeze(config.freeze_depth, config.freeze_above)
        groups = [*_backbone_groups(network, config)]
        groups.append(ParameterGroup(list(network.head_parameters()), config.lr))
        return train_network(network, backbone, groups, config, task, train, validation, reporter)

    def cost(self, config: FinetuneConfig, task: Task) -> float:
        """Seconds of all epochs on all folds; frozen stages cost what the store hasn't yet."""
        seconds = training_cost(config, task, config.freeze_depth)
        if config.frozen_epochs:
            first = config.model_copy(update={"epochs": config.frozen_epochs})
            seconds += training_cost(first, task, task.backbones[config.backbone].num_stages)
        return seconds


def _deepest(profile: DatasetProfile) -> int:
    return max(candidate.num_stages for candidate in profile.backbones.values())


def _backbone_groups(network: StagedNetwork, config: FinetuneConfig) -> Iterator[ParameterGroup]:
    """The trained stages with their rates; those of one rate together."""
    members: dict[float, list[nn.Parameter]] = {}
    for stage in range(network.num_stages):
        behind = network.num_stages - 1 - stage
        lr = config.lr * config.lr_ratio * config.layer_decay**behind
        members.setdefault(lr, []).extend(network.stage_parameters(stage))
    for lr, parameters in members.items():
        if parameters:
            yield ParameterGroup(parameters, lr, config.pull)


class _Span:
    """A reporter for the part of a trial from ``begin`` to ``end``, shares of its work."""

    def __init__(self, reporter: Reporter, begin: float, end: float) -> None:
        self._reporter = reporter
        self.checkpoint = checkpoint_of(reporter).at(f"{begin:.3f}")
        self._begin = begin
        self._end = end

    def check(self) -> None:
        self._reporter.check()

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        whole = self._begin + progress * (self._end - self._begin)
        self._reporter.report(whole, score, metrics)


def _solve_head(
    network: StagedNetwork, config: FinetuneConfig, task: Task, train: NDArray[np.int64]
) -> None:
    """Set the classifier to the probe solved on the frozen network's last features."""
    backbone = task.backbones[config.backbone]
    features = task.store.features(backbone, (backbone.num_stages,))
    solved = solve_linear(
        features[train],
        task.labels[train],
        task.n_classes,
        head="logistic",
        C=_PROBE_C,
        balanced=config.balanced,
        seed=task.seed,
    )
    weight, bias = solved.on_raw_features()
    classifier = network.classifier
    if isinstance(classifier, nn.Linear) and classifier.in_features == weight.shape[1]:
        with torch.no_grad():
            classifier.weight.copy_(torch.from_numpy(weight))
            classifier.bias.copy_(torch.from_numpy(bias))
