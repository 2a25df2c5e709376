"""Training from random weights, in the whole architecture or a shallower one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.fitted import FeatureClassifier, FittedModel
from autotl.strategies.scratch import Scratch, ScratchConfig

MakeTask = Callable[..., Task]
Fit = Callable[..., FittedModel]


@pytest.fixture
def fit(make_task: MakeTask, backbone: Backbone) -> Fit:
    def fitted(task: Task | None = None, **changed: Any) -> FittedModel:
        values = {
            "n_removed": 0,
            "lr": 5e-3,
            "epochs": 1,
            "augmentation": "none",
            "mirror": False,
            "weight_decay": 0.01,
            "label_smoothing": 0.0,
            "balanced": False,
        }
        config = ScratchConfig(backbone=backbone.name, **values | changed)
        train = np.arange(60)
        return Scratch().fit(config, task or make_task(), train, None, SilentReporter())

    return fitted


def test_learns(fit: Fit, make_task: MakeTask) -> None:
    task = make_task()
    for n_removed in (0, 2):
        model = fit(epochs=12, n_removed=n_removed, augmentation="light")
        found = model.predict_proba(task.pixels(32), np.arange(60, 90), device=task.device)
        assert np.mean(found.argmax(1) == task.labels[60:]) > 0.8


def test_starts_from_random_weights(fit: Fit, make_task: MakeTask, backbone: Backbone) -> None:
    task = make_task()
    without = replace(backbone, weights_file=None)
    first = fit(task, lr=1e-12)
    second = fit(replace(task, backbones={backbone.name: without}), lr=1e-12)
    pretrained = backbone.create(3, pretrained=True).state_dict()
    for name, value in first.tensors().items():
        assert torch.equal(value, second.tensors()[name])
        if name.endswith("weight") and value.ndim > 1 and "fc" not in name:
            assert not torch.allclose(value, pretrained[name]), name


def test_seed_decides_the_start(fit: Fit, make_task: MakeTask) -> None:
    for n_removed, names in (
        (0, ("model.conv1.0.weight", "model.fc.weight")),
        (1, ("network.model.conv1.0.weight", "linear.weight")),
    ):
        first, second = (
            fit(make_task(seed=seed), lr=1e-12, n_removed=n_removed).tensors() for seed in (0, 1)
        )
        for name in names:
            assert not torch.allclose(first[name], second[name]), name


@pytest.mark.parametrize(("n_removed", "depth"), [(1, 4), (2, 3), (4, 1), (9, 1)])
def test_removed_stages_are_gone(fit: Fit, n_removed: int, depth: int) -> None:
    model = fit(n_removed=n_removed)
    assert isinstance(model.network, FeatureClassifier)
    assert model.network.depths == (depth,)
    stages = {f"layer{i}" for i in range(1, 5) if any(f"layer{i}." in n for n in model.tensors())}
    assert stages == {f"layer{i}" for i in range(1, depth)}


def test_whole_architecture_is_trained(fit: Fit) -> None:
    model = fit()
    assert isinstance(model.network, StagedNetwork)
    assert model.n_trainable == sum(p.numel() for p in model.network.parameters())
    assert fit(n_removed=1).n_trainable < model.n_trainable


def test_all_parameters_move(fit: Fit, make_task: MakeTask, backbone: Backbone) -> None:
    start = backbone.create(3, pretrained=False, seed=make_task().seed).state_dict()
    for name, value in fit(epochs=2).tensors().items():
        assert not torch.equal(value, start[name]), name
