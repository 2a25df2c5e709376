"""``autotl reference``: statistics of a backbone's source domain, for ``analyze`` and ``fit``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from autotl.cli import options
from autotl.cli.display import watching
from autotl.cli.terminal import errors_to_exits, own_warnings, result_console, show, write_json
from autotl.errors import InputError
from autotl.naming import BackboneName

_SUFFIX = ".safetensors"


@errors_to_exits
def reference(
    backbone: Annotated[
        str,
        typer.Argument(
            metavar="BACKBONE",
            help="'embedded', a timm name, or name@weights-file.",
            show_default=False,
        ),
    ],
    images: Annotated[
        str,
        typer.Argument(
            metavar="IMAGES",
            help="Pictures that the backbone was trained on, or of that kind: a folder with a "
            "sub-folder per class, or a .csv, .tsv or .parquet file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where to write, ending in .safetensors; what is there is replaced. Beside the "
            "weights, where it is used.",
        ),
    ] = None,
    image: options.Image = None,
    label: options.Label = None,
    device: options.Device = None,
    trust_paths: options.TrustPaths = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure a backbone's features on its source domain, so that data sets can be compared."""
    from autotl.cli.fit import require
    from autotl.cli.settings import from_options

    config = from_options({"backbones": backbone, "device": device})
    if isinstance(config.backbones, str) or len(config.backbones) != 1:
        raise InputError(f"give one backbone by its name, got {backbone!r}")
    require(images)
    name = BackboneName.of(config.backbones[0])
    if output is not None:
        _check(output.expanduser())
    elif name.file:
        _check_folder(Path(name.file).expanduser().absolute().parent)
    with watching(quiet) as progress, own_warnings(progress.note, debug):
        progress.phase("start")
        from autotl.analysis.reference import place_of
        from autotl.backbones.zoo import EMBEDDED
        from autotl.references import make_reference

        is_embedded = name.base == EMBEDDED
        if is_embedded and output is None:
            raise InputError(
                f"the reference statistics that come with {EMBEDDED!r} aren't replaced; name "
                "another file with --output"
            )
        opened, made = make_reference(
            config.backbones[0],
            images,
            image=image,
            label=label,
            device=config.device,
            trust_paths=trust_paths,
            progress=progress,
        )
        own_place = place_of(opened)
        file = own_place if output is None else output.expanduser()
        assert file is not None
        made.save(file)
    summary = made.summary()
    text = (
        f"reference statistics of {summary['n_samples']:,} pictures of {summary['n_classes']:,} "
        f"classes: {file}"
    )
    if is_embedded:
        text += f"\nanalyze and fit use those that come with {EMBEDDED!r}"
    elif own_place is not None and file.absolute() != own_place.absolute():
        text += f"\nanalyze and fit use them once they are called {own_place}"
    show(result_console(as_json), text)
    if as_json:
        write_json({"file": file, **summary})


def _check(file: Path) -> None:
    """See that the file can be written, before anything heavy is done.

    Raises:
        InputError: if not.
    """
    if file.suffix != _SUFFIX:
        raise InputError(f"--output: the file must end in {_SUFFIX}, got {str(file)!r}")
    if not file.absolute().parent.is_dir():
        raise InputError(f"--output: no such folder: {file.absolute().parent}")
    if file.is_dir():
        raise InputError(f"--output: {str(file)!r} is a folder")
    _check_folder(file.absolute().parent)


def _check_folder(folder: Path) -> None:
    """See that a file can be made in a folder, where there is one.

    Raises:
        InputError: if not.
    """
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(
            f"reference statistics can't be written to the folder {str(folder)!r}, which is closed "
            "to you; name another file with --output"
        )
