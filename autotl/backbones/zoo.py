"""Backbones by name: the embedded one, timm's with weights from the hub, or from a file."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from autotl.backbones.sizes import check_size
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.weights import hub_weights, read_header, read_state
from autotl.errors import BackboneUnavailableError, InputError, unknown
from autotl.naming import BackboneName

EMBEDDED = "embedded"
EMBEDDED_FILE = Path(__file__).parent / "embedded" / "embedded.safetensors"
CPU_IMAGE_SIZE = 112
"""Search resolution in pixels, on a CPU, of networks made for larger pictures."""
HUB_DEFAULTS = {
    "cpu": ("resnet18.a1_in1k",),
    "cuda": ("resnet50.a1_in1k", "convnext_tiny.in12k_ft_in1k"),
}
"""What ``backbones="auto"`` adds to the embedded one, by device, where the hub is reachable."""
_BUILT: dict[tuple[str, str, str], nn.Module] = {}
_MAX_BUILT = 3
"""Pretrained models are read once and then copied, the last few of them."""
_SIZE_LIKE = re.compile(r"\d+\s*(px|pixels?)?", re.IGNORECASE)
_CHECK_SEED = 20_140_901
"""Of the random start that weights must replace; one that nobody has trained from."""


@dataclass(frozen=True)
class Backbone:
    """A timm architecture with its weights and the preprocessing that belongs to them.

    Attributes:
        name: what the user called it: ``embedded``, a timm name or ``name@file``, each maybe with
            ``@96px`` behind it.
        architecture: timm's model name.
        architecture_options: keyword arguments of ``timm.create_model``.
        image_size: side of the square pictures that it is used with, in pixels.
        mean: per channel, for pictures scaled to [0, 1].
        std: likewise.
        weights_file: the file of the pretrained weights; None: this architecture has none here.
        weights_hash: hex digest of that file, ``"random"`` without one.
        num_stages: number of stages.
        num_features: channels that the classifier reads.
        n_parameters: of the backbone, without a classifier.
    """

    name: str
    architecture: str
    architecture_options: dict[str, Any]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_file: Path | None
    weights_hash: str
    num_stages: int = 0
    num_features: int = 0
    n_parameters: int = 0

    def create(self, n_classes: int, *, pretrained: bool, seed: int = 0) -> StagedNetwork:
        """A new network with a fresh classifier; what is random is drawn from ``seed`` alone.

        Args:
            n_classes: outputs of the classifier.
            pretrained: whether the backbone gets its pretrained weights.
            seed: for the random initialisation of the rest.

        Raises:
            BackboneUnavailableError: if the weights can't be read or don't fit.
        """
        if pretrained:
            key = (self.architecture, repr(self.architecture_options), self.weights_hash)
            if key not in _BUILT:
                if len(_BUILT) == _MAX_BUILT:
                    _BUILT.pop(next(iter(_BUILT)))
                with torch.inference_mode(False):  # its copies may be trained
                    _BUILT[key] = self.build(pretrained=True)
            model = copy.deepcopy(_BUILT[key])
        else:
            model = self.build(pretrained=False, seed=seed)
        return _with_classifier(model, n_classes, seed)

    def build(self, *, pretrained: bool, seed: int = 0) -> nn.Module:
        """A timm model without classifier, its weights read from their file.

        Args:
            pretrained: whether it gets the pretrained weights.
            seed: for the random initialisation of what the file has no weights for.

        Raises:
            BackboneUnavailableError: if the weights can't be read or don't fit.
        """
        weights: dict[str, Any] = {}
        if pretrained:
            if self.weights_file is None:
                raise BackboneUnavailableError(f"backbone {self.name!r} has no pretrained weights")
            overlay = {"state_dict": read_state(self.weights_file), "custom_load": False}
            weights = {"pretrained": True, "pretrained_cfg_overlay": overlay}
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model: nn.Module = timm.create_model(
                    self.architecture, num_classes=0, **self.architecture_options, **weights
                )
        except (RuntimeError, KeyError, TypeError) as error:
            raise BackboneUnavailableError(
                f"backbone {self.name!r} can't be built: {str(error)[:300]}"
            ) from error
        return model

    def normalise(self, pixels: Tensor) -> Tensor:
        """Network input ``(n, 3, h, w) float32`` from pixels ``(n, h, w, 3) uint8``."""
        x = pixels.permute(0, 3, 1, 2).float()
        mean = torch.tensor(self.mean, device=x.device).view(1, 3, 1, 1) * 255.0
        std = torch.tensor(self.std, device=x.device).view(1, 3, 1, 1) * 255.0
        return (x - mean) / std

    def as_json(self) -> dict[str, Any]:
        """What a saved model needs to build this network again, without the weights' place."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "architecture_options": self.architecture_options,
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "weights_hash": self.weights_hash,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Backbone:
        """The backbone of a saved model; its weights come with the model."""
        return cls(
            name=values["name"],
            architecture=values["architecture"],
            architecture_options=dict(values["architecture_options"]),
            image_size=int(values["image_size"]),
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            weights_file=None,
            weights_hash=values["weights_hash"],
        )


def open_backbone(name: str, *, device_type: str = "cpu") -> Backbone:
    """The backbone of that name, its weights found and checked.

    Args:
        name: ``embedded``; a timm name, whose weights come from the local cache or the hub; or
            ``timm_name@/path/to/weights`` (safetensors or a plain state dict). With a size behind
            it, as in ``embedded@96px``, the same weights are used with pictures of that size.
        device_type: ``cpu`` or ``cuda``; decides the search resolution of large networks.

    Raises:
        InputError: for a name that timm doesn't know; the nearest one is named. For a size that
            the network can't be used with.
        BackboneUnavailableError: if the weights can't be had.
    """
    parts = BackboneName.of(name)
    if parts.file and (parts.base == EMBEDDED or _SIZE_LIKE.fullmatch(parts.file)):
        raise InputError(
            f"backbone {name!r}: {parts.file!r} isn't "
            + ("needed, its weights come with it" if parts.base == EMBEDDED else "a weights file")
            + f"; a size of the pictures is written {parts.base}@96px"
        )
    if parts.base == EMBEDDED:
        return _measured(_from_file(parts, None, EMBEDDED_FILE, device_type))
    if not timm.is_model(parts.base):
        raise unknown("backbone", parts.base, [EMBEDDED, *timm.list_models()])
    if parts.file:
        file = Path(parts.file).expanduser()
        return _measured(_from_file(parts, parts.base, file, device_type))
    weights_file = hub_weights(parts.base)
    config = timm.get_pretrained_cfg(parts.base).to_dict()
    return _measured(_with_config(parts, parts.base, {}, config, weights_file, device_type))


def _from_file(name: BackboneName, timm_name: str | None, file: Path, device_type: str) -> Backbone:
    """The backbone of a weights file, whose header may name architecture and preprocessing."""
    header = read_header(file)
    made_for = header.get("timm_name", timm_name)
    if made_for is None:
        raise BackboneUnavailableError(f"{str(file)!r} doesn't say which architecture it is for")
    architecture = timm_name or made_for
    if made_for.partition(".")[0] != architecture.partition(".")[0]:
        raise BackboneUnavailableError(
            f"{str(file)!r} holds weights of {made_for!r}, not of {architecture!r}"
        )
    config = timm.get_pretrained_cfg(architecture.partition(".")[0], allow_unregistered=True)
    values = dict(config.to_dict() if config else {})
    try:
        for key in ("mean", "std"):
            if key in header:
                red, green, blue = ast.literal_eval(header[key])
                values[key] = (float(red), float(green), float(blue))
        options = dict(json.loads(header.get("timm_kwargs", "{}")))
        if "image_size" in header:
            side = int(header["image_size"])
            values |= {"input_size": (3, side, side), "own_size": True}
    except (ValueError, SyntaxError, TypeError) as error:
        raise BackboneUnavailableError(f"{file}: unreadable header: {error}") from error
    if header.get("trained_padding") == "same":
        options["pad_type"] = "same"
    return _with_config(name, architecture, options, values, file, device_type)


def _with_config(
    name: BackboneName,
    architecture: str,
    options: dict[str, Any],
    config: dict[str, Any],
    weights_file: Path,
    device_type: str,
) -> Backbone:
    native = int(config.get("input_size", (3, 224, 224))[-1])
    is_fixed = bool(config.get("fixed_input_size"))
    shrink = device_type == "cpu" and not config.get("own_size")
    own = min(native, CPU_IMAGE_SIZE) if shrink else native
    whole = Backbone(
        name=str(name),
        architecture=architecture,
        architecture_options=options,
        image_size=native,
        mean=tuple(config.get("mean", (0.485, 0.456, 0.406))),
        std=tuple(config.get("std", (0.229, 0.224, 0.225))),
        weights_file=weights_file,
        weights_hash=hashlib.blake2b(weights_file.read_bytes(), digest_size=8).hexdigest(),
    )

    def at(size: int) -> Backbone:
        built_for = {"img_size": size} if is_fixed and size != native else {}
        return replace(whole, image_size=size, architecture_options=options | built_for)

    if name.image_size is not None:
        check_size(
            whole.name,
            name.image_size,
            native,
            lambda size: at(size).build(pretrained=True),
            is_fixed=is_fixed,
            min_size=int((config.get("min_input_size") or (3, 0, 0))[-1]),
        )
    return at(own if name.image_size is None else name.image_size)


def random_backbone(architecture: str, image_size: int, **options: Any) -> Backbone:
    """An architecture without pretrained weights; only scratch training can use it."""
    if not timm.is_model(architecture):
        raise unknown("backbone", architecture, timm.list_models())
    if image_size < 8:
        raise InputError(f"image_size must be at least 8 pixels, but got {image_size}")
    half = (0.5, 0.5, 0.5)
    return _described(
        Backbone(architecture, architecture, options, image_size, half, half, None, "random")
    )


def _measured(backbone: Backbone) -> Backbone:
    """The backbone with its stages counted, its weights loaded once to see that they fit."""
    return _described(backbone, pretrained=True)


def _with_classifier(model: nn.Module, n_classes: int, seed: int) -> StagedNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.reset_classifier(n_classes)  # type: ignore[operator]
    return StagedNetwork(model)


def _described(backbone: Backbone, pretrained: bool = False) -> Backbone:
    network = _with_classifier(backbone.build(pretrained=pretrained, seed=_CHECK_SEED), 2, 0)
    if pretrained:
        _check_fit(backbone, network)
    return replace(
        backbone,
        num_stages=network.num_stages,
        num_features=int(network.model.num_features),  # type: ignore[arg-type]
        n_parameters=sum(p.numel() for p in network.backbone_parameters()),
    )


def _check_fit(backbone: Backbone, network: StagedNetwork) -> None:
    """Refuse weights that are another architecture's: timm loads what fits and is silent.

    Weights of the backbone that are still at their random start weren't in the file; weights of
    layers that the backbone hasn't belong to a deeper one.
    """
    assert backbone.weights_file is not None
    start = dict(backbone.build(pretrained=False, seed=_CHECK_SEED).named_parameters())
    own = {
        name: parameter
        for name, parameter in network.model.named_parameters()
        if network.depth_of(name) < network.num_stages
    }
    missing = [
        name
        for name, parameter in own.items()
        if parameter.ndim > 1 and start[name].std() > 0 and torch.equal(parameter, start[name])
    ]
    given = read_state(backbone.weights_file).keys()
    parts = {name.partition(".")[0] for name in own}
    surplus = []
    if not own.keys() - given:  # else names are an older form, which timm translates
        surplus = sorted(
            name
            for name in given - own.keys()
            if name.endswith(".weight") and name.partition(".")[0] in parts
        )
    if missing or surplus:
        found = f"has none for {missing[0]!r}" if missing else f"has some for {surplus[0]!r}"
        raise BackboneUnavailableError(
            f"{str(backbone.weights_file)!r} holds weights of another architecture than "
            f"{backbone.architecture!r}: it {found} ({len(missing) + len(surplus)} such)"
        )
