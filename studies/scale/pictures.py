"""Some scans of handwritten digits as a folder, as workers in other processes need them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from autotl.datasets.digits import digits


def write_digits(folder: Path, n: int) -> Path:
    """The first so many scans, a sub-folder for each class."""
    pictures, labels = digits()
    for i, (picture, label) in enumerate(zip(pictures[:n], labels[:n], strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{i:04d}.png")
    return folder
