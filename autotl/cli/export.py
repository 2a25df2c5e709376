"""``autotl export``: a saved model in one file that predicts without autotl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotl.cli import options
from autotl.cli.predict import image_paths
from autotl.cli.terminal import errors_to_exits, own_warnings, result_console, say, show, write_json
from autotl.errors import InputError, unknown

_ENDINGS = {"onnx": "model.onnx", "torch": "model.pt2"}


@errors_to_exits
def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The model folder of a fit.", show_default=False)
    ],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="F",
            help="onnx (for ONNX Runtime) or torch (an exported program).",
        ),
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Where to; model.onnx or model.pt2 if not given."
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--images",
            metavar="PATH",
            help="Pictures, or a folder of them, to check the file on; some that come with "
            "scikit-learn if not given.",
            show_default=False,
        ),
    ] = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Export a model: pictures in, probabilities out, checked against the trained one."""
    if format not in _ENDINGS:
        raise unknown("format", format, _ENDINGS)
    folder = model.expanduser()
    if not folder.is_dir():
        raise InputError(
            f"no such model folder: {model} (looked for {folder.absolute()}); give the folder that "
            "`autotl fit` named as its model"
        )
    paths = image_paths(images) if images else None
    with own_warnings(say, debug):
        import autotl

        recommendation = autotl.load(folder)
        done = recommendation.export(output or Path(_ENDINGS[format]), format, images=paths)
    show(
        result_console(as_json),
        f"{done.path}: {done.n_bytes / 1e6:.1f} MB; on {done.n_pictures} pictures the same labels, "
        f"probabilities within {done.largest_difference:.1g}",
    )
    if as_json:
        write_json(
            {
                "path": done.path,
                "format": done.format,
                "n_bytes": done.n_bytes,
                "n_pictures": done.n_pictures,
                "largest_difference": done.largest_difference,
            }
        )
