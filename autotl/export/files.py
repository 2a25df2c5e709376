"""Exported models as files: ONNX, and torch's exported programs; checked before they appear."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from autotl.errors import InputError, unknown
from autotl.export.graph import PICTURES, PROBABILITIES, trace
from autotl.export.parity import Picture, Run, check_parity
from autotl.strategies.fitted import FittedModel

if TYPE_CHECKING:
    import onnx

FORMATS = ("onnx", "torch")
_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
METADATA = "autotl.json"
"""The name under which ``torch.export.load(..., extra_files=...)`` finds the metadata."""


@dataclass(frozen=True)
class ExportedModel:
    """A model in a file that needs no autotl.

    Attributes:
        path: of the file.
        format: ``onnx`` or ``torch``.
        n_bytes: size of the file.
        n_pictures: so many were predicted by both models.
        largest_difference: of a probability, on those; the labels are the same.
    """

    path: Path
    format: str
    n_bytes: int
    n_pictures: int
    largest_difference: float


def export_model(
    model: FittedModel,
    path: str | Path,
    *,
    format: str,
    metadata: dict[str, str],
    pictures: Sequence[Picture],
    expected: NDArray[np.float32],
) -> ExportedModel:
    """Write a model; the file appears when it has been checked, or not at all.

    Args:
        model: to export.
        path: of the file; its folder must exist. A file there is replaced.
        format: ``onnx`` or ``torch``.
        metadata: texts by key, written into the file.
        pictures: to check it on, each ``(h, w, 3) uint8``.
        expected: ``(n, n_classes)``, what the trained model says of them.

    Raises:
        InputError: for an unknown format; if a package is missing, the architecture can't be
            exported, the file can't be written, or it predicts otherwise than the model.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if format == "onnx":
        require_onnx()
    path = Path(path).expanduser()
    if not path.absolute().parent.is_dir():
        raise InputError(f"no such folder: {path.absolute().parent}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    program = trace(model)
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".export-") as folder:
            if format == "onnx":
                part = Path(folder) / "model.onnx"
                _write_onnx(program, part, metadata)
                run = open_onnx(part)
            else:
                part = Path(folder) / "model.pt2"
                torch.export.save(program, part, extra_files={METADATA: json.dumps(metadata)})
                run = open_program(part)
            difference = check_parity(run, pictures, expected, format)
            os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from error
    return ExportedModel(path, format, path.stat().st_size, len(pictures), difference)


def require_onnx() -> None:
    """Refuse where the extra is not installed.

    Raises:
        InputError: naming the missing packages and the extra.
    """
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"ONNX needs the extra autotl[onnx] (missing: {', '.join(missing)}): "
            "pip install 'autotl[onnx]'"
        )


def open_onnx(file: Path) -> Run:
    """What predicts with an ONNX file, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(batch: Picture) -> NDArray[np.float32]:
        (found,) = session.run([PROBABILITIES], {PICTURES: batch})
        return np.asarray(found, dtype=np.float32)

    return run


def open_program(file: Path) -> Run:
    """What predicts with a file of ``torch.export.save``, on the CPU."""
    module = torch.export.load(file).module()

    def run(batch: Picture) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(batch)), dtype=np.float32)

    return run


def _write_onnx(program: ExportedProgram, file: Path, metadata: dict[str, str]) -> None:
    import onnx

    try:
        with _quiet():
            torch.onnx.export(
                program,
                (),
                file,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=[PICTURES],
                output_names=[PROBABILITIES],
            )
        written = onnx.load_model(file)
        _name_dimensions(written.graph)
        onnx.helper.set_model_props(written, metadata)
        written.producer_name = "autotl"
        onnx.save_model(written, file)
    except OSError:
        raise
    except Exception as error:  # the exporter raises any kind for what it doesn't know
        raise InputError(
            f"ONNX can't express this network ({type(error).__name__}: {str(error)[:300]}); "
            "try format='torch'"
        ) from error


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """Call the free dimensions ``n``, ``height`` and ``width``, and forget those in between."""
    del graph.value_info[:]
    names = ("n", "height", "width")
    for value, n_free in ((graph.input[0], 3), (graph.output[0], 1)):
        for dimension, name in zip(value.type.tensor_type.shape.dim[:n_free], names, strict=False):
            dimension.dim_param = name


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's notes and warnings are about its own insides."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
