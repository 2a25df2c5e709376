"""A trained model of any strategy: pixels in, class probabilities out, saved without pickle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autotl.backbones.speed import autocast
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.errors import InputError
from autotl.reuse.pixels import PixelView

_BATCH = 128


class FeatureClassifier(nn.Module):
    """A linear layer on standardised pooled activations of one or several depths.

    What lies above the deepest of them is deleted: with one shallow depth this is a shallower
    network.

    Args:
        network: the backbone.
        depths: ascending, each in ``1 ... network.num_stages``.
        n_inputs: widths of these depths together.
        n_classes: number of outputs.
        seed: of the linear layer's random start.
        max_width: up to which maps are averaged over cells, see :meth:`StagedNetwork.features`.
    """

    def __init__(
        self,
        network: StagedNetwork,
        depths: Sequence[int],
        n_inputs: int,
        n_classes: int,
        seed: int = 0,
        max_width: int = 0,
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.depths = tuple(depths)
        self.max_width = max_width
        self.network = network.drop_above(max(depths))
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))
        self.linear = nn.utils.skip_init(nn.Linear, n_inputs, n_classes)
        generator, bound = torch.Generator().manual_seed(seed), n_inputs**-0.5
        for parameter in self.linear.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, n_classes)`` of normalised pictures ``(n, 3, h, w)``."""
        features = torch.cat(self.network.features(x, self.depths, self.max_width), dim=1)
        logits: Tensor = self.linear((features - self.mean) / self.scale)
        return logits


@dataclass(frozen=True)
class FittedModel:
    """A network with all it needs to predict.

    Attributes:
        backbone: its architecture and preprocessing.
        source: the network, or what makes it once it is needed: of most trials' models nothing but
            the validation predictions is.
        n_classes: number of classes.
        n_trainable: parameters that were trained.
        validation_probabilities: of the fold's validation samples, where the training made them.
        temperature: logits are divided by it; fitted after the training, on validation samples.
    """

    backbone: Backbone
    source: nn.Module | Callable[[], nn.Module]
    n_classes: int
    n_trainable: int
    validation_probabilities: NDArray[np.float32] | None = None
    temperature: float = 1.0

    @cached_property
    def network(self) -> nn.Module:
        """Logits from normalised pictures; a :class:`StagedNetwork` or a
        :class:`FeatureClassifier`.
        """
        return self.source if isinstance(self.source, nn.Module) else self.source()

    @torch.inference_mode()
    def predict_proba(
        self,
        pixels: PixelView,
        samples: NDArray[np.int64],
        *,
        device: torch.device,
        precision: str = "fp32",
    ) -> NDArray[np.float32]:
        """Class probabilities ``(k, n_classes) float32`` of these samples ``(k,) int64``.

        Channels are innermost on a CPU, where that took 0.6 of the time in fp32.
        """
        inner = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        network = self.network.to(device).to(memory_format=inner).eval()
        found = np.empty((len(samples), self.n_classes), dtype=np.float32)
        for start in range(0, len(samples), _BATCH):
            batch = torch.from_numpy(pixels[samples[start : start + _BATCH]]).to(device)
            x = self.backbone.normalise(batch).contiguous(memory_format=inner)
            with autocast(precision, device):
                logits = network(x)
            scaled = logits.float() / self.temperature
            found[start : start + _BATCH] = scaled.softmax(dim=1).cpu().numpy()
        return found

    def tensors(self) -> dict[str, Tensor]:
        """The network's tensors by name, on the CPU."""
        return {
            name: value.detach().cpu().contiguous()
            for name, value in self.network.state_dict().items()
        }

    def as_json(self) -> dict[str, Any]:
        """What :meth:`build` needs beside the tensors."""
        own = self.network if isinstance(self.network, FeatureClassifier) else None
        return {
            "backbone": self.backbone.as_json(),
            "n_classes": self.n_classes,
            "n_trainable": self.n_trainable,
            "depths": None if own is None else list(own.depths),
            "max_width": 0 if own is None else own.max_width,
            "temperature": self.temperature,
        }

    @classmethod
    def build(cls, values: dict[str, Any], tensors: dict[str, Tensor]) -> FittedModel:
        """The model that :meth:`as_json` and :meth:`tensors` describe.

        Raises:
            InputError: if the tensors aren't those of the described network.
        """
        backbone = Backbone.from_json(values["backbone"])
        n_classes = int(values["n_classes"])

        def empty() -> nn.Module:
            staged = backbone.create(n_classes, pretrained=False)
            if values["depths"] is None:
                return staged
            return FeatureClassifier(
                staged,
                values["depths"],
                len(tensors["mean"]),
                n_classes,
                max_width=int(values.get("max_width", 0)),
            )

        try:
            with torch.device("meta"):  # nothing is allocated before the shapes are known to fit
                _refuse_other_shapes(empty(), tensors)
            network = empty()
            network.load_state_dict(tensors)
        except (RuntimeError, KeyError) as error:
            raise InputError(f"the model's weights don't fit its description: {error}") from error
        temperature = float(values.get("temperature", 1.0))
        if not 0.0 < temperature < np.inf:
            raise InputError(f"the model's temperature must be above 0, but is {temperature}")
        n_trainable = int(values["n_trainable"])
        return cls(backbone, network.eval(), n_classes, n_trainable, temperature=temperature)


def _refuse_other_shapes(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors that aren't the network's, before it takes memory.

    Raises:
        InputError: naming the first one that is missing, surplus or of another shape.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(expected.keys() | given.keys()):
        if expected.get(name) != given.get(name):
            raise InputError(
                f"the model's weights don't fit its description: {name} should have shape "
                f"{expected.get(name)}, but has {given.get(name)} (None: there is none)"
            )


def at_temperature(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities ``(n, n_classes)`` as the same logits give them at another temperature.

    Args:
        probabilities: rows sum to 1; zeros stay as small as a float32 can tell.
        temperature: to divide the logits by, above 0.
    """
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float32] = (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)
    return found
