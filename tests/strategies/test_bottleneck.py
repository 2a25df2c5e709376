"""The linear classifier solved on stored features is the network that is handed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from autotl.backbones.zoo import Backbone
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig, Layers, depths_of
from autotl.strategies.fitted import FeatureClassifier, FittedModel
from autotl.strategies.linear import solve_linear, solve_selected

MakeTask = Callable[..., Task]
TRAIN, VALIDATION = np.arange(30, 90), np.arange(30)


@pytest.fixture
def fit(make_task: MakeTask, backbone: Backbone) -> Callable[..., FittedModel]:
    def fitted(task: Task | None = None, **changed: Any) -> FittedModel:
        values = {"layers": "last_2", "head": "svm", "C": 0.01, "balanced": False} | changed
        config = BottleneckConfig(backbone=backbone.name, **values)
        return Bottleneck().fit(config, task or make_task(), TRAIN, VALIDATION, SilentReporter())

    return fitted


@pytest.mark.parametrize(
    ("layers", "of_five", "of_two"),
    [
        ("last", (5,), (2,)),
        ("second_last", (4,), (1,)),
        ("third_last", (3,), (1,)),
        ("last_2", (4, 5), (1, 2)),
        ("last_4", (2, 3, 4, 5), (1, 2)),
        ("all", (1, 2, 3, 4, 5), (1, 2)),
    ],
)
def test_layers_count_from_the_end(
    layers: Layers, of_five: tuple[int, ...], of_two: tuple[int, ...]
) -> None:
    assert depths_of(layers, 5) == of_five
    assert depths_of(layers, 2) == of_two


@pytest.mark.parametrize("layers", ["last", "second_last", "all"])
@pytest.mark.parametrize("head", ["svm", "logistic"])
def test_network_predicts_what_was_solved(
    fit: Callable[..., FittedModel], make_task: MakeTask, layers: Layers, head: str
) -> None:
    model = fit(layers=layers, head=head)
    from_pixels = model.predict_proba(
        make_task().pixels(32), VALIDATION, device=torch.device("cpu")
    )
    np.testing.assert_allclose(from_pixels, model.validation_probabilities, atol=1e-4)


@pytest.mark.parametrize("layers", ["last", "second_last", "all"])
@pytest.mark.parametrize(("max_width", "kept"), [(200, 1.0), (0, 0.4), (200, 0.4)])
def test_network_with_selected_cells_predicts_what_was_solved(
    fit: Callable[..., FittedModel],
    make_task: MakeTask,
    layers: Layers,
    max_width: int,
    kept: float,
) -> None:
    model = fit(layers=layers, max_width=max_width, kept=kept)
    rebuilt = FittedModel.build(json.loads(json.dumps(model.as_json())), model.tensors())
    for own in (model, rebuilt):
        from_pixels = own.predict_proba(
            make_task().pixels(32), VALIDATION, device=torch.device("cpu")
        )
        np.testing.assert_allclose(from_pixels, model.validation_probabilities, atol=1e-4)


def test_selected_features_are_those_of_cells_of_every_stage(
    fit: Callable[..., FittedModel], make_task: MakeTask, backbone: Backbone
) -> None:
    task = make_task()
    model = fit(task, layers="all", max_width=200, kept=0.4)
    features = task.store.features(backbone, (1, 2, 3, 4, 5), max_width=200)
    assert features.shape[1] > task.store.features(backbone, (1, 2, 3, 4, 5)).shape[1]
    expected = solve_selected(
        features[TRAIN],
        task.labels[TRAIN],
        3,
        kept=0.4,
        head="svm",
        C=0.01,
        balanced=False,
        seed=task.seed,
    )
    np.testing.assert_allclose(
        model.validation_probabilities, expected.predict_proba(features[VALIDATION]), atol=1e-6
    )
    assert model.n_trainable == (round(0.4 * features.shape[1]) + 1) * 3


def test_cost_of_cells_is_a_pass_of_their_own(make_task: MakeTask, backbone: Backbone) -> None:
    task = make_task()
    plain, cells = (
        BottleneckConfig(
            backbone=backbone.name, layers="all", head="svm", balanced=False, max_width=width
        )
        for width in (0, 200)
    )
    selected = cells.model_copy(update={"kept": 0.4})
    task.store.features(backbone, (1,))
    pass_s = task.speeds[backbone.name].forward_s * len(task.labels)
    strategy = Bottleneck()
    assert strategy.cost(plain, task) < strategy.cost(cells, task) < strategy.cost(selected, task)
    before = strategy.cost(cells, task)
    task.store.features(backbone, (1,), max_width=200)
    assert before - strategy.cost(cells, task) == pytest.approx(pass_s)


def test_config_without_cells_is_as_it_was() -> None:
    written = '{"layers":"all","head":"svm","C":"auto","balanced":false}'
    config = BottleneckConfig.model_validate({"backbone": "any", **json.loads(written)})
    assert (config.max_width, config.kept) == (0, 1.0)


@pytest.mark.parametrize("wrong", [{"max_width": -1}, {"kept": 0.0}, {"kept": 1.1}])
def test_impossible_selection_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        BottleneckConfig.model_validate(
            {"backbone": "any", "layers": "last", "head": "svm", "balanced": False, **wrong}
        )


@pytest.mark.parametrize("head", ["svm", "logistic"])
@pytest.mark.parametrize("balanced", [False, True])
def test_solves_on_the_features_of_the_training_samples(
    fit: Callable[..., FittedModel],
    make_task: MakeTask,
    backbone: Backbone,
    head: Any,
    balanced: bool,
) -> None:
    labels = np.repeat([0, 1, 2], [40, 40, 10])
    task = make_task(labels=labels)
    features = task.store.features(backbone, (4, 5))
    expected = solve_linear(
        features[TRAIN], labels[TRAIN], 3, head=head, C=0.3, balanced=balanced, seed=task.seed
    )
    model = fit(task, head=head, C=0.3, balanced=balanced)
    np.testing.assert_allclose(
        model.validation_probabilities, expected.predict_proba(features[VALIDATION]), atol=1e-6
    )


def test_c_is_chosen_and_reported(make_task: MakeTask, backbone: Backbone) -> None:
    class Reporter(SilentReporter):
        def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
            told.update(metrics)

    told: dict[str, float] = {}
    config = BottleneckConfig(backbone=backbone.name, layers="last_2", head="svm", balanced=False)
    task = make_task()
    model = Bottleneck().fit(config, task, TRAIN, VALIDATION, Reporter())
    features = task.store.features(backbone, (4, 5))
    expected = solve_linear(
        features[TRAIN],
        task.labels[TRAIN],
        3,
        head="svm",
        C="auto",
        balanced=False,
        seed=task.seed,
    )
    assert told["C"] == expected.C
    np.testing.assert_allclose(
        model.validation_probabilities, expected.predict_proba(features[VALIDATION]), atol=1e-6
    )


@pytest.mark.parametrize("C", [0.0, -1.0, "automatic"])
def test_impossible_c_is_refused(C: object) -> None:
    with pytest.raises(ValidationError, match="C"):
        BottleneckConfig.model_validate(
            {"backbone": "any", "layers": "last", "head": "svm", "C": C, "balanced": False}
        )


def test_learns(fit: Callable[..., FittedModel], make_task: MakeTask) -> None:
    model = fit(layers="all", C=0.1)
    assert model.validation_probabilities is not None
    assert np.mean(model.validation_probabilities.argmax(1) == make_task().labels[:30]) > 0.8


def test_no_network_is_made_for_predictions_alone(
    fit: Callable[..., FittedModel], make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    fit(task)  # now the features are there
    monkeypatch.setattr(Backbone, "create", lambda *_, **__: pytest.fail("a network was made"))
    assert fit(task).validation_probabilities is not None


def test_backbone_keeps_its_weights(fit: Callable[..., FittedModel], backbone: Backbone) -> None:
    network = fit(layers="third_last").network
    assert isinstance(network, FeatureClassifier)
    pretrained = backbone.create(1, pretrained=True).model.state_dict()
    kept = network.network.model.state_dict()
    assert kept
    assert all(torch.equal(value, pretrained[name]) for name, value in kept.items())


def test_trained_parameters_are_those_of_the_linear_layer(
    fit: Callable[..., FittedModel],
) -> None:
    assert fit(layers="last_2").n_trainable == (24 + 32) * 3 + 3


def test_class_missing_from_training(fit: Callable[..., FittedModel], make_task: MakeTask) -> None:
    labels = np.where(np.arange(90) < 30, 2, np.arange(90) % 2)
    model = fit(make_task(labels=labels))
    assert model.validation_probabilities is not None
    assert set(model.validation_probabilities.argmax(1).tolist()) <= {0, 1}


def test_every_choice_of_layers_can_be_drawn() -> None:
    from typing import get_args

    from autotl.strategies import bottleneck

    assert set(bottleneck.LAYERS) == set(get_args(Layers))
