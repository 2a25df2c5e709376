"""What MLflow runs to serve a model: pictures in, labels and probabilities out.

MLflow copies this file into the model's folder and runs it from there ("models from code"), so
that nothing is pickled; it needs autotl to be installed, and imports nothing of this package by
relative names.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import io
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from autotl.errors import InputError

COLUMN = "image"
"""The input's column."""
ALLOW_PATHS = "AUTOTL_ALLOW_PATHS"
"""The environment variable that lets requests name files of the machine that answers them."""


class ServedModel(mlflow.pyfunc.PythonModel):
    """A saved recommendation behind MLflow's interface."""

    _skip_type_hint_validation = True  # the signature says what is taken

    def load_context(self, context: Any) -> None:
        """Load the model from the folder that autotl saved.

        By name, as this file runs outside of the package, which may not import upwards itself.
        """
        self._model = importlib.import_module("autotl").load(context.artifacts["model"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Label pictures.

        Args:
            context: MLflow's.
            model_input: a frame with the column ``image``, or its values alone: of each picture the
                bytes of its file, these in base64, its pixels (``(h, w, 3) uint8`` or nested
                lists), or its path where ``AUTOTL_ALLOW_PATHS=1`` is set.
            params: not used.

        Returns:
            A row per picture: ``label``, its ``probability``, and ``probabilities`` of all classes
            in the order of the model's ``class_names``.

        Raises:
            InputError: naming the row that is no picture.
        """
        values = _values(model_input)
        if not values:
            raise InputError(f"no picture was given: send a column {COLUMN!r}")
        found = self._model.predict_proba([_picture(v, row) for row, v in enumerate(values)])
        names = np.asarray(self._model.class_names)
        return pd.DataFrame(
            {
                "label": names[found.argmax(axis=1)],
                "probability": found.max(axis=1).astype(float),
                "probabilities": [[float(p) for p in row] for row in found],
            }
        )


def _values(model_input: Any) -> list[Any]:
    if isinstance(model_input, pd.DataFrame):
        if COLUMN not in model_input.columns and len(model_input.columns) != 1:
            raise InputError(
                f"the pictures must be in a column {COLUMN!r}, got {list(model_input.columns)}"
            )
        name = COLUMN if COLUMN in model_input.columns else model_input.columns[0]
        return list(model_input[name])
    if isinstance(model_input, dict):
        return list(model_input.get(COLUMN, []))
    return list(model_input)


def _picture(value: Any, row: int) -> Any:
    """What autotl reads: a Pillow image, an array, or a path."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(value, str):
        if os.environ.get(ALLOW_PATHS) == "1" and Path(value).is_file():
            return value
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError(
                f"row {row}: neither base64 of a picture's file nor a path that may be read here "
                f"(paths need {ALLOW_PATHS}=1): {value[:40]!r}"
            ) from error
    if isinstance(value, bytes | bytearray):
        try:
            return Image.open(io.BytesIO(value))
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"row {row}: {len(value)} bytes that are no picture") from error
    pixels = np.asarray(value)
    if pixels.ndim not in (2, 3) or not np.issubdtype(pixels.dtype, np.integer):
        raise InputError(
            f"row {row}: pixels must be (h, w) or (h, w, 3) integers, got {pixels.dtype} of shape "
            f"{pixels.shape}"
        )
    if pixels.size and (pixels.min() < 0 or pixels.max() > 255):
        raise InputError(f"row {row}: pixels must be in 0 to 255")
    return pixels.astype(np.uint8)


mlflow.models.set_model(ServedModel())
