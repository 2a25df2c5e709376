"""A recommendation's model for use without autotl: what is checked and what is written into it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autotl.data import as_picture, decode
from autotl.errors import InputError
from autotl.export.files import ExportedModel, export_model
from autotl.export.parity import real_pictures
from autotl.recommend.words import short_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autotl.recommend.model import Recommendation


def export(
    recommendation: Recommendation,
    path: str | Path,
    format: str,
    images: Iterable[Any] | None,
) -> ExportedModel:
    """See :meth:`autotl.Recommendation.export`."""
    if images is None:
        pictures = real_pictures()
    else:
        size = recommendation.model.backbone.image_size
        pictures = [_array(image, size) for image in images]
        if not pictures:
            raise InputError("images must hold at least one picture to check the model on")
    return export_model(
        recommendation.model,
        path,
        format=format,
        metadata=_metadata(recommendation),
        pictures=pictures,
        expected=recommendation.predict_proba(pictures),
    )


def _metadata(recommendation: Recommendation) -> dict[str, str]:
    backbone = recommendation.model.backbone
    return {
        "class_names": json.dumps(list(recommendation.class_names), ensure_ascii=False),
        "input": "uint8 (n, height, width, 3), RGB; any size: the graph resizes",
        "output": "float32 (n, n_classes): calibrated probabilities, in the order of class_names",
        "strategy": recommendation.strategy,
        "backbone": short_name(backbone.name),
        "image_size": str(backbone.image_size),
        "temperature": repr(recommendation.model.temperature),
        "dataset_fingerprint": recommendation.profile.fingerprint,
        "autotl_version": version("autotl"),
    }


def _array(image: Any, size: int) -> NDArray[np.uint8]:
    """A picture as the exported model takes it, ``(h, w, 3)``, as ``predict`` would read it."""
    path = isinstance(image, str | Path)
    picture = decode(image, min_size=size) if path else as_picture(image)
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)
