"""A saved recommendation as a folder that MLflow can load, serve and register."""

from __future__ import annotations

import os
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path

CODE = Path(__file__).with_name("served.py")


def save_served(model: Path, folder: Path) -> Path:
    """Write an MLflow model (``pyfunc``) around a saved recommendation.

    Models from code and safetensors: nothing in the folder is pickled. Its input is a column
    ``image``, see :mod:`autotl.tracking.served`.

    Args:
        model: the folder that :meth:`autotl.Recommendation.save` wrote.
        folder: where to; replaced if it exists, and either complete or not there.

    Returns:
        The folder.

    Raises:
        OSError: if it can't be written; nothing is left of it.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of columns of any type, and of what MLflow would like
            _write(model, part)
    except OSError:  # such as a full disk, which needs the room
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    return folder


def _write(model: Path, folder: Path) -> None:
    import mlflow.pyfunc
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(AnyType(), "image")]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "probability"),
                ColSpec(Array(DataType.double), "probabilities"),
            ]
        ),
    )
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(CODE),
        artifacts={"model": str(model)},
        signature=signature,
        pip_requirements=[f"autotl=={version('autotl')}"],
    )
