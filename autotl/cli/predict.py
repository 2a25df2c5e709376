"""``autotl predict``: classes of new images by a saved model."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.table import Table

from autotl.cli import options
from autotl.cli.terminal import errors_to_exits, own_warnings, say, visible
from autotl.errors import InputError, UnreadableImageError
from autotl.naming import is_url

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH_SIZE = 256
BATCH_PIXELS = 64_000_000
_UNREADABLE_FOUND = 1


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        path: of the image.
        label: name of the most probable class.
        probabilities: by class, in the model's order.
    """

    path: str
    label: str
    probabilities: tuple[float, ...]


@errors_to_exits
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The model folder of a fit.", show_default=False)
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...", help="Image files, or folders of them.", show_default=False
        ),
    ],
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a CSV file instead of a table."),
    ] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="The probability of every class, not of the best only.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Predict the classes of images. Those that can't be read are named and passed over."""
    folder = model.expanduser()
    if not folder.is_dir():
        raise InputError(
            f"no such model folder: {model} (looked for {folder.absolute()}); give the folder that "
            "`autotl fit` named as its model"
        )
    paths = image_paths(images)
    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise InputError(f"--csv: no such folder: {csv_file.absolute().parent}")
    with own_warnings(say, debug):
        import autotl

        recommendation = autotl.load(folder)
    unreadable: list[str] = []
    predictions = list(_predictions(recommendation, paths, unreadable))
    names = [str(name) for name in recommendation.class_names]
    if csv_file is not None:
        write_csv(csv_file, predictions, names if proba else None)
        say(f"{len(predictions)} predictions in {csv_file}")
    elif predictions:
        show_table(predictions, names if proba else None)
    if unreadable:
        listed = "\n".join(f"  {line}" for line in unreadable)
        say(f"{len(unreadable)} of {len(paths)} images can't be read:\n{listed}", style="red")
        raise typer.Exit(_UNREADABLE_FOUND)


def image_paths(given: Sequence[str]) -> list[str]:
    """The files named, and the pictures below the folders named, each once.

    Raises:
        InputError: if something named doesn't exist, or a folder holds no picture.
    """
    from autotl.data.files import files_below
    from autotl.data.pictures import picture_extensions

    found: dict[str, None] = {}
    problems = []
    for name in given:
        place = Path(name).expanduser()
        if is_url(name):
            problems.append(f"{name} is a URL, and predict reads files; copy the pictures here")
        elif place.is_dir():
            inside = [
                str(place / file)
                for file in files_below(place)
                if Path(file).suffix.lower() in picture_extensions()
            ]
            if not inside:
                problems.append(f"no pictures in the folder {name}")
            found.update(dict.fromkeys(inside))
        elif place.exists():
            found[str(place)] = None
        else:
            problems.append(f"no such image or folder: {name} (looked for {place.absolute()})")
    if problems:
        raise InputError.of(problems)
    return list(found)


def _predictions(
    recommendation: Any, paths: Sequence[str], unreadable: list[str]
) -> Iterator[Prediction]:
    """Predictions in the order of the paths; what can't be read is added to ``unreadable``."""
    size = recommendation.model.backbone.image_size
    for batch in _batches(paths, size, unreadable):
        rows = recommendation.predict_proba([image for _, image in batch])
        for (path, _), row in zip(batch, rows, strict=True):
            label = str(recommendation.class_names[int(row.argmax())])
            yield Prediction(path, label, tuple(float(value) for value in row))


def _batches(
    paths: Sequence[str], size: int, unreadable: list[str]
) -> Iterator[list[tuple[str, Image]]]:
    """Decoded pictures, as many at a time as memory easily holds."""
    from autotl.data.pictures import decode

    batch: list[tuple[str, Image]] = []
    n_pixels = 0
    for path in paths:
        try:
            image = decode(path, min_size=size)
        except UnreadableImageError as error:
            unreadable.append(f"{path}: {error}")
            continue
        batch.append((path, image))
        n_pixels += image.width * image.height
        if len(batch) == BATCH_SIZE or n_pixels > BATCH_PIXELS:
            yield batch
            batch, n_pixels = [], 0
    if batch:
        yield batch


def show_table(predictions: Sequence[Prediction], class_names: Sequence[str] | None) -> None:
    """Print predictions; with class names, the probability of each class."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a pipe gets whole paths, tab by tab
        if class_names is not None:
            typer.echo("\t".join(["path", "class", *class_names]))
        for prediction in predictions:
            fields = _fields(prediction, class_names, digits=4)
            typer.echo("\t".join(fields))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("path", overflow="fold")
    table.add_column("class")
    for name in class_names or ("probability",):
        table.add_column(name, justify="right")
    for prediction in predictions:
        table.add_row(*map(visible, _fields(prediction, class_names, digits=3)))
    console.print(table)


def write_csv(
    path: Path, predictions: Sequence[Prediction], class_names: Sequence[str] | None
) -> None:
    """Write predictions; the file appears whole or not at all.

    Raises:
        InputError: if it can't be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, suffix=".tmp")
    except OSError as error:
        raise InputError(f"--csv: can't write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            _write_rows(file, predictions, class_names)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise InputError(f"--csv: can't write {path}: {error.strerror}") from error


def _write_rows(
    file: TextIO, predictions: Sequence[Prediction], class_names: Sequence[str] | None
) -> None:
    writer = csv.writer(file)
    writer.writerow(["path", "class", *(class_names or ["probability"])])
    for prediction in predictions:
        writer.writerow(_fields(prediction, class_names, digits=6))


def _fields(prediction: Prediction, class_names: Sequence[str] | None, digits: int) -> list[str]:
    shown = (max(prediction.probabilities),) if class_names is None else prediction.probabilities
    return [prediction.path, prediction.label, *(f"{value:.{digits}f}" for value in shown)]
