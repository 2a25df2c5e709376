"""What is frozen stays bit for bit; the rest moves at its own rate from the pretrained start."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.finetune import Finetune, FinetuneConfig
from autotl.strategies.fitted import FittedModel
from autotl.strategies.linear import solve_linear

MakeTask = Callable[..., Task]
Fit = Callable[..., FittedModel]
TRAIN = np.arange(60)
STILL = 1e-12
"""A learning rate at which nothing moves."""


@pytest.fixture
def fit(make_task: MakeTask, backbone: Backbone) -> Fit:
    def fitted(task: Task | None = None, **changed: Any) -> FittedModel:
        values = {
            "freeze_depth": 0,
            "lr": 2e-3,
            "lr_ratio": 1.0,
            "head": "random",
            "epochs": 1,
            "augmentation": "none",
            "mirror": False,
            "weight_decay": 0.01,
            "label_smoothing": 0.0,
            "balanced": False,
        }
        config = FinetuneConfig(backbone=backbone.name, **values | changed)
        return Finetune().fit(config, task or make_task(), TRAIN, None, SilentReporter())

    return fitted


def depth_of(model: FittedModel, name: str) -> int:
    """The stage of a tensor, running statistics included."""
    assert isinstance(model.network, StagedNetwork)
    holder = name.removeprefix("model.").rpartition(".")[0]
    return model.network.depth_of(f"{holder}.weight")


def moved(model: FittedModel, start: dict[str, torch.Tensor]) -> dict[str, float]:
    """How far each trained tensor of the backbone is from its start."""
    return {
        name: float((value - start[name]).abs().mean())
        for name, value in model.tensors().items()
        if value.is_floating_point() and "running" not in name and not name.startswith("model.fc")
    }


@pytest.fixture
def pretrained(backbone: Backbone) -> dict[str, torch.Tensor]:
    return backbone.create(3, pretrained=True).state_dict()


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("augmentation", ["none", "strong"])
def test_frozen_stages_stay_bit_for_bit(
    fit: Fit, pretrained: dict[str, torch.Tensor], depth: int, augmentation: str
) -> None:
    model = fit(freeze_depth=depth, epochs=2, augmentation=augmentation)
    for name, value in model.tensors().items():
        frozen = depth_of(model, name) < depth
        assert torch.equal(value, pretrained[name]) == frozen, name


def test_everything_moves_with_nothing_frozen(
    fit: Fit, pretrained: dict[str, torch.Tensor]
) -> None:
    for name, value in fit(epochs=2).tensors().items():
        assert not torch.equal(value, pretrained[name]), name


def test_starts_from_the_pretrained_weights(fit: Fit, pretrained: dict[str, torch.Tensor]) -> None:
    for name, distance in moved(fit(lr=STILL), pretrained).items():
        assert distance < 1e-6, name


def test_smaller_rate_ratio_moves_the_backbone_less(
    fit: Fit, pretrained: dict[str, torch.Tensor]
) -> None:
    full = moved(fit(lr_ratio=1.0, weight_decay=0.0), pretrained)
    tenth = moved(fit(lr_ratio=0.1, weight_decay=0.0), pretrained)
    hardly = moved(fit(lr_ratio=1e-9, weight_decay=0.0), pretrained)
    for name in full:
        assert tenth[name] < 0.5 * full[name], name
        assert hardly[name] < 1e-6, name


def test_rate_ratio_leaves_the_rate_of_the_head(
    fit: Fit, pretrained: dict[str, torch.Tensor]
) -> None:
    name = "model.fc.weight"
    distances = [
        float((fit(lr_ratio=ratio).tensors()[name] - pretrained[name]).abs().mean())
        for ratio in (1.0, 1e-3)
    ]
    assert distances[1] > 0.5 * distances[0] > 0


def test_trained_parameters_are_those_above_the_depth(fit: Fit, backbone: Backbone) -> None:
    assert fit(freeze_depth=5).n_trainable == 32 * 3 + 3
    assert fit(freeze_depth=0).n_trainable == backbone.n_parameters + 32 * 3 + 3
    counts = [fit(freeze_depth=depth).n_trainable for depth in range(6)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 6


@pytest.mark.parametrize("balanced", [False, True])
def test_probe_head_starts_as_the_solved_probe(
    fit: Fit, make_task: MakeTask, backbone: Backbone, balanced: bool
) -> None:
    labels = np.repeat([0, 1, 2, 0], [30, 20, 5, 35])
    task = make_task(labels=labels)
    model = fit(task, head="probe", lr=STILL, freeze_depth=5, balanced=balanced)
    features = task.store.features(backbone, (5,))
    solved = solve_linear(
        features[TRAIN], labels[TRAIN], 3, head="logistic", C=0.01, balanced=balanced, seed=0
    )
    found = model.predict_proba(task.pixels(32), task.all_samples, device=task.device)
    np.testing.assert_allclose(found, solved.predict_proba(features), atol=1e-3)


def test_random_head_is_drawn_from_the_seed(fit: Fit, make_task: MakeTask) -> None:
    name = "model.fc.weight"
    first, same, other = (fit(make_task(seed=seed), lr=STILL).tensors()[name] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(
    ("own_stages", "deepest", "drawn", "expected"),
    [(5, 5, 3, 3), (13, 13, 13, 13), (5, 13, 13, 5), (5, 13, 6, 2), (5, 13, 0, 0)],
)
def test_freeze_depth_is_the_same_share_of_every_backbone(
    make_profile: Callable[..., DatasetProfile],
    own_stages: int,
    deepest: int,
    drawn: int,
    expected: int,
) -> None:
    profile = make_profile("own", "deep")
    stages = {"own": own_stages, "deep": deepest}
    profile = replace(
        profile,
        backbones={
            name: replace(candidate, num_stages=stages[name])
            for name, candidate in profile.backbones.items()
        },
    )
    study = optuna.create_study()
    study.enqueue_trial({"finetune.backbone": "own", "finetune.freeze_depth": drawn})
    assert Finetune().suggest(study.ask(), profile).freeze_depth == expected


@pytest.mark.parametrize(("counts", "balanced"), [((30, 30, 30), False), ((60, 20, 10), True)])
def test_imbalanced_classes_are_weighed(
    make_profile: Callable[..., DatasetProfile], counts: tuple[int, ...], balanced: bool
) -> None:
    profile = make_profile(samples_per_class=counts)
    trial = optuna.create_study().ask()
    assert Finetune().suggest(trial, profile).balanced == balanced


def test_freezing_from_both_ends_trains_what_lies_between(
    fit: Fit, pretrained: dict[str, torch.Tensor]
) -> None:
    model = fit(freeze_depth=1, freeze_above=3, epochs=2)
    for name, value in model.tensors().items():
        frozen = depth_of(model, name) in (0, 3, 4)
        assert torch.equal(value, pretrained[name]) == frozen, name


def test_layer_decay_slows_each_earlier_stage(
    fit: Fit, pretrained: dict[str, torch.Tensor]
) -> None:
    model = fit(layer_decay=0.1, weight_decay=0.0)
    by_stage: dict[int, list[float]] = {}
    for name, distance in moved(model, pretrained).items():
        by_stage.setdefault(depth_of(model, name), []).append(distance)
    medians = [float(np.median(by_stage[stage])) for stage in range(5)]
    for earlier, later in itertools.pairwise(medians):
        assert 0.02 * later < earlier < 0.5 * later


def test_pull_keeps_the_backbone_near_its_start(
    fit: Fit, pretrained: dict[str, torch.Tensor]
) -> None:
    free = moved(fit(epochs=4, weight_decay=0.0), pretrained)
    pulled = moved(fit(epochs=4, pull=300.0, weight_decay=0.0), pretrained)
    assert np.mean([pulled[name] < 0.7 * free[name] for name in free]) == 1.0
    head = "model.fc.weight"
    distances = [
        (fit(epochs=4, pull=p).tensors()[head] - fit(lr=STILL).tensors()[head]).abs().mean()
        for p in (0.0, 300.0)
    ]
    assert distances[1] > 0.5 * distances[0]


def test_frozen_epochs_train_the_head_first(
    fit: Fit, pretrained: dict[str, torch.Tensor], make_task: MakeTask, backbone: Backbone
) -> None:
    still = fit(frozen_epochs=2, epochs=1, lr=2e-2, lr_ratio=1e-10, weight_decay=0.0)
    assert max(moved(still, pretrained).values()) < 1e-9
    reached: list[float] = []

    class Noting(SilentReporter):
        def report(self, progress: float, score: float, metrics: object) -> None:
            reached.append(progress)

    task = make_task()
    values = {
        "backbone": backbone.name,
        "freeze_depth": 0,
        "lr": 2e-3,
        "lr_ratio": 1.0,
        "head": "random",
        "epochs": 3,
        "frozen_epochs": 1,
        "augmentation": "light",
        "mirror": False,
        "weight_decay": 0.01,
        "label_smoothing": 0.0,
        "balanced": False,
    }
    config = FinetuneConfig(**values)
    model = Finetune().fit(config, task, TRAIN, np.arange(60, 90), Noting())
    np.testing.assert_allclose(reached, [0.25, 0.5, 0.75, 1.0])
    assert min(moved(model, pretrained).values()) > 0
    without = config.model_copy(update={"frozen_epochs": 0})
    assert Finetune().cost(config, task) > Finetune().cost(without, task)


@pytest.mark.parametrize("changed", [{"mix": "mixup"}, {"mix": "cutmix"}, {"optimizer": "sgd"}])
@pytest.mark.parametrize("freeze_depth", [0, 3])
def test_ways_of_training_change_the_result_and_repeat_it(
    fit: Fit, changed: dict[str, str], freeze_depth: int
) -> None:
    plain = fit(freeze_depth=freeze_depth).tensors()["model.fc.weight"]
    found = [fit(freeze_depth=freeze_depth, **changed).tensors() for _ in range(2)]
    assert not torch.equal(found[0]["model.fc.weight"], plain)
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
