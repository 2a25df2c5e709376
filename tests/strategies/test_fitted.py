"""A trained model predicts the same after it has been taken apart and built again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import nn

from autotl.backbones.zoo import Backbone
from autotl.errors import BackboneUnavailableError, InputError
from autotl.reuse.pixels import PixelView
from autotl.strategies import fitted
from autotl.strategies.fitted import FeatureClassifier, FittedModel, at_temperature

CPU = torch.device("cpu")
Make = Callable[..., FittedModel]


@pytest.fixture
def view(pictures: NDArray[np.uint8]) -> PixelView:
    return PixelView(pictures, np.arange(40))


@pytest.fixture
def whole(backbone: Backbone) -> FittedModel:
    """A network up to its own classifier."""
    network = backbone.create(3, pretrained=True, seed=3)
    return FittedModel(backbone, network, 3, 99)


@pytest.fixture
def cut(backbone: Backbone) -> FittedModel:
    """A classifier on two depths, some of its statistics set."""
    network = FeatureClassifier(backbone.create(3, pretrained=True), (2, 3), 24, 3)
    network.get_buffer("mean").uniform_(-1, 1)
    network.get_buffer("scale").uniform_(0.5, 2)
    return FittedModel(backbone, network, 3, 75)


def predict(model: FittedModel, view: PixelView) -> NDArray[np.float32]:
    return model.predict_proba(view, np.arange(len(view)), device=CPU)


def test_network_is_made_once_it_is_needed(backbone: Backbone, view: PixelView) -> None:
    made = []

    def make() -> nn.Module:
        made.append(backbone.create(3, pretrained=True))
        return made[-1]

    model = FittedModel(backbone, make, 3, 99)
    assert not made
    predict(model, view)
    assert model.network is made[0]
    assert len(made) == 1


@pytest.mark.parametrize("kind", ["whole", "cut"])
def test_built_again_it_predicts_the_same(
    kind: str, view: PixelView, request: pytest.FixtureRequest
) -> None:
    model: FittedModel = request.getfixturevalue(kind)
    values = json.loads(json.dumps(model.as_json()))
    built = FittedModel.build(values, load(save(model.tensors())))
    assert np.array_equal(predict(built, view), predict(model, view))
    assert (built.n_classes, built.n_trainable) == (3, model.n_trainable)
    assert built.tensors().keys() == model.tensors().keys()
    assert not built.network.training


def test_model_saved_before_there_were_cells_is_built(cut: FittedModel, view: PixelView) -> None:
    values = cut.as_json()
    del values["max_width"]
    assert np.array_equal(
        predict(FittedModel.build(values, cut.tensors()), view), predict(cut, view)
    )


def test_saved_with_channels_innermost(whole: FittedModel, view: PixelView) -> None:
    expected = predict(whole, view)
    whole.network.to(memory_format=torch.channels_last)
    built = FittedModel.build(whole.as_json(), load(save(whole.tensors())))
    np.testing.assert_allclose(predict(built, view), expected, atol=1e-6)


def test_prediction_is_that_of_the_network(
    whole: FittedModel, view: PixelView, pictures: NDArray[np.uint8]
) -> None:
    with torch.inference_mode():
        x = whole.backbone.normalise(torch.from_numpy(pictures[[5, 2]]))
        expected = whole.network.eval()(x).softmax(dim=1).numpy()
    found = whole.predict_proba(view, np.array([5, 2]), device=CPU)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_trained_network_predicts_in_eval_mode(whole: FittedModel, view: PixelView) -> None:
    expected = predict(whole, view)
    whole.network.train()
    assert np.array_equal(predict(whole, view), expected)


def test_more_samples_than_a_batch(
    whole: FittedModel, view: PixelView, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = predict(whole, view)
    monkeypatch.setattr(fitted, "_BATCH", 16)
    np.testing.assert_allclose(predict(whole, view), expected, atol=1e-6)


def test_no_samples(whole: FittedModel, view: PixelView) -> None:
    found = whole.predict_proba(view, np.empty(0, dtype=np.int64), device=CPU)
    assert found.shape == (0, 3)


def test_feature_classifier_standardises_pooled_activations(
    cut: FittedModel, backbone: Backbone, pictures: NDArray[np.uint8]
) -> None:
    network = cut.network
    assert isinstance(network, FeatureClassifier)
    x = backbone.normalise(torch.from_numpy(pictures[:4]))
    with torch.inference_mode():
        features = torch.cat(backbone.create(3, pretrained=True).eval().features(x, (2, 3)), 1)
        expected = network.linear((features - network.mean) / network.scale)
        torch.testing.assert_close(network.eval()(x), expected)


def test_feature_classifier_drops_what_lies_above(cut: FittedModel) -> None:
    assert not any("layer3" in name or "fc" in name for name in cut.tensors())
    assert any("layer2" in name for name in cut.tensors())


@pytest.mark.parametrize("change", ["missing", "shape", "of_other_kind"])
def test_tensors_of_another_network_are_refused(
    change: str, whole: FittedModel, cut: FittedModel
) -> None:
    tensors = whole.tensors()
    if change == "missing":
        del tensors["model.conv1.0.weight"]
    elif change == "shape":
        tensors["model.fc.weight"] = torch.zeros(4, 4)
    else:
        tensors = cut.tensors()
    with pytest.raises(InputError, match="don't fit"):
        FittedModel.build(whole.as_json(), tensors)
    if change == "of_other_kind":
        with pytest.raises(InputError, match="don't fit"):
            FittedModel.build(cut.as_json(), whole.tensors())


def test_description_of_an_unknown_architecture(whole: FittedModel) -> None:
    values = whole.as_json()
    values["backbone"] |= {"architecture": "no_such_net"}
    with pytest.raises(BackboneUnavailableError, match="can't be built"):
        FittedModel.build(values, whole.tensors())


def test_gradients_are_not_saved(whole: FittedModel) -> None:
    assert isinstance(whole.network, nn.Module)
    assert not any(value.requires_grad for value in whole.tensors().values())


def test_temperature_divides_the_logits_and_is_saved(whole: FittedModel, view: PixelView) -> None:
    warm = dataclasses.replace(whole, temperature=3.0)
    before, after = (
        model.predict_proba(view, np.arange(40), device=CPU) for model in (whole, warm)
    )
    np.testing.assert_allclose(after, at_temperature(before, 3.0), atol=1e-5)
    values = json.loads(json.dumps(warm.as_json()))
    assert FittedModel.build(values, warm.tensors()).temperature == 3.0
    del values["temperature"]  # of a model saved before there were temperatures
    assert FittedModel.build(values, warm.tensors()).temperature == 1.0
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="temperature"):
            FittedModel.build({**values, "temperature": wrong}, warm.tensors())
