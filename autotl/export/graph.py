"""A trained model as one graph: uint8 pictures of any size in, calibrated probabilities out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from autotl.errors import InputError
from autotl.export.resizing import squash, tall_upright_first
from autotl.strategies.fitted import FittedModel

PICTURES, PROBABILITIES = "pictures", "probabilities"
"""Names of the graph's input and output."""


class PictureClassifier(nn.Module):
    """All that :meth:`autotl.Recommendation.predict_proba` does with decoded pictures.

    Args:
        model: is copied, and stays as it is.
    """

    def __init__(self, model: FittedModel) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.network = copy.deepcopy(model.network).cpu().eval().requires_grad_(False)
        self.temperature = model.temperature
        self.tall_upright_first = tall_upright_first()

    def forward(self, pictures: Tensor) -> Tensor:
        """Class probabilities ``(n, n_classes) float32`` of pictures ``(n, h, w, 3) uint8``."""
        size = self.backbone.image_size
        pixels = squash(pictures, size, tall_upright_first=self.tall_upright_first)
        logits: Tensor = self.network(self.backbone.normalise(pixels))
        return (logits.float() / self.temperature).softmax(dim=1)


def trace(model: FittedModel) -> ExportedProgram:
    """The model's graph for any number of pictures, and for any size from 2 x 2 pixels on.

    Raises:
        InputError: if torch can't trace this architecture.
    """
    size = model.backbone.image_size
    example = torch.zeros((2, size + 7, size + 5, 3), dtype=torch.uint8)
    free = {PICTURES: dict.fromkeys(range(3), Dim.DYNAMIC)}
    try:
        with torch.no_grad():
            classifier = PictureClassifier(model).eval()
            return torch.export.export(classifier, (example,), dynamic_shapes=free)
    except Exception as error:  # the tracer raises any kind for what it doesn't know
        raise InputError(
            f"torch can't trace backbone {model.backbone.name!r} "
            f"({type(error).__name__}: {str(error).strip()[:300]}); save() keeps the model"
        ) from error
