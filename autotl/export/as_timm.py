"""A trained model as a plain timm model, where that is the same function."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from autotl.backbones.stages import StagedNetwork
from autotl.errors import InputError
from autotl.strategies.fitted import FeatureClassifier, FittedModel

_TOLERANCE = 1e-4
"""Of probabilities; the classifier's arithmetic is in another order."""
_SOURCE = {"state_dict", "file", "custom_load", "url", "hf_hub_id"}
"""Where the backbone's weights came from: these are others now."""


def to_timm(model: FittedModel, class_names: Sequence[str]) -> nn.Module:
    """The timm model with the trained weights and head; its softmax gives the probabilities.

    The temperature, and for bottleneck features their standardisation, go into the classifier's
    weights. ``pretrained_cfg`` carries the preprocessing, so that ``timm.data.create_transform(
    **timm.data.resolve_model_data_config(model))`` makes the model's input, and the class names.

    Args:
        model: stays as it is.
        class_names: in the order of the outputs.

    Raises:
        InputError: if the model reads other layers than the last one, so that no timm model of
            this architecture is the same function; or the classifier isn't a linear layer.
    """
    staged = cast(StagedNetwork, model.network)
    if isinstance(model.network, FeatureClassifier):
        staged, depths = model.network.network, model.network.depths
        if depths != (staged.num_stages,):
            raise InputError(
                f"to_timm() needs a model whose classifier reads the last layer of the whole "
                f"backbone, but this one reads after the stages {list(depths)} of "
                f"{staged.num_stages}; export('onnx') and export('torch') take any model"
            )
    timm_model = copy.deepcopy(staged.model).cpu().eval().requires_grad_(True)
    classifier = timm_model.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear):
        raise InputError(
            f"to_timm() needs a linear classifier, but that of {model.backbone.architecture!r} is "
            f"a {type(classifier).__name__}; use export('onnx') or export('torch')"
        )
    with torch.no_grad():
        _fold(model, classifier)
    _describe(model, timm_model, class_names)
    _verify(model, timm_model)
    return timm_model


def _fold(model: FittedModel, classifier: nn.Linear) -> None:
    """Put the temperature, and the standardisation of features, into the classifier."""
    weight, bias = classifier.weight.double(), classifier.bias.double()
    if isinstance(model.network, FeatureClassifier):
        own = copy.deepcopy(model.network).cpu().double()
        weight = own.linear.weight / own.scale
        bias = own.linear.bias - weight @ own.mean
    classifier.weight.copy_(weight / model.temperature)
    classifier.bias.copy_(bias / model.temperature)


def _describe(model: FittedModel, timm_model: nn.Module, class_names: Sequence[str]) -> None:
    size = model.backbone.image_size
    values = {
        "input_size": (3, size, size),
        "num_classes": model.n_classes,
        "mean": model.backbone.mean,
        "std": model.backbone.std,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "test_input_size": None,
        "test_crop_pct": None,
        "label_names": tuple(class_names),
    }
    known: dict[str, object] = dict(timm_model.pretrained_cfg)  # type: ignore[arg-type]
    config = {key: value for key, value in known.items() if key not in _SOURCE} | values
    timm_model.pretrained_cfg = timm_model.default_cfg = config  # type: ignore[assignment]


def _verify(model: FittedModel, timm_model: nn.Module) -> None:
    """Refuse a model that isn't the same function.

    Raises:
        InputError: if its probabilities differ from the trained model's.
    """
    size = model.backbone.image_size
    x = torch.randn((4, 3, size, size), generator=torch.Generator().manual_seed(0))
    network = copy.deepcopy(model.network).cpu().eval()
    with torch.inference_mode():
        expected = (network(x) / model.temperature).softmax(dim=1)
        difference = float((timm_model(x).softmax(dim=1) - expected).abs().max())
    if not difference <= _TOLERANCE:
        raise InputError(
            f"a plain {model.backbone.architecture!r} of timm isn't the same function (its "
            f"probabilities differ by {difference:.2g}); use export('onnx') or export('torch')"
        )
