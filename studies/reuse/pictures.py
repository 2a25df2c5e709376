"""JPEG folders for the benchmarks: drawn pictures, and real ones at the size of users' files.

Both are class-per-sub-folder and made once: a file ``made.json`` at the top says how the folder was
made and whether it is complete. Every picture is written beside its place and renamed, so that a
folder whose making was interrupted is completed and not made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from autotl.data.pictures import decode
from autotl.errors import InputError
from autotl.runtime import n_cpus
from studies.pretrain_embedded.draw import VERSION, draw_class

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
"""Where real data sets lie, beside the repository; absent on most machines."""

FAMILIES = ("shapes", "glyphs", "bands", "textures")
"""Families of drawn pictures that take 1 to 3 ms each at 96 pixels; ``objects`` takes 12."""

_BLOCK = 5
"""So many classes of a family come before those of the next one. They are of one kinship and may
be look-alikes: a class can't be told by its family alone."""
_SEEDS_APART = 1_000
"""Added to the seed: the embedded backbone was pretrained on the classes of seed 0."""
_OPACITY = (0.45, 0.7)
"""Every picture is laid over one of no class, at an opacity from this range. Without it, a linear
classifier on the embedded backbone's features of 500 pictures gets 97 % of 10 classes right; with
it, 79 %."""
_N_BEHIND = 64
_DRAWN_QUALITY = 90
_REAL_QUALITY = 92
_CHUNK = 32
_MARKER = "made.json"
_Job = TypeVar("_Job")


def jpeg_folder(folder: Path, n: int, side: int, n_classes: int, seed: int) -> Path:
    """A folder of drawn JPEG files, one sub-folder per class, made unless it is there.

    Picture ``i`` of a class depends on ``seed``, ``side``, the class and ``i`` alone. The classes
    get equally many, the first ones one more where ``n`` isn't a multiple.

    Args:
        folder: where; made if it doesn't exist.
        n: number of pictures, at least ``n_classes``.
        side: width and height in pixels.
        n_classes: number of classes, at least 2.
        seed: of classes and pictures, 0 or more.

    Returns:
        ``folder``.

    Raises:
        InputError: an argument is out of range, or ``folder`` holds something else.
    """
    problems = [
        f"{name} must be at least {least}, but got {value}"
        for name, value, least in (
            ("n_classes", n_classes, 2),
            ("n", n, n_classes),
            ("side", side, 8),
            ("seed", seed, 0),
        )
        if value < least
    ]
    if problems:
        raise InputError.of(problems)
    settings = {"n": n, "side": side, "n_classes": n_classes, "seed": seed, "version": VERSION}
    jobs = []
    for label in range(n_classes):
        n_of_class = n // n_classes + (label < n % n_classes)
        for first in range(0, n_of_class, _CHUNK):
            last = min(first + _CHUNK, n_of_class)
            jobs.append((folder / f"class_{label:03d}", label, first, last, side, seed))
    return _make(folder, settings, _draw, jobs, ProcessPoolExecutor)


def real_folder(name: str) -> Path | None:
    """The folder of a real data set in :data:`DATA`; None where it is absent."""
    folder = DATA / name
    return folder if folder.is_dir() else None


def as_jpeg(source_folder: Path, target_folder: Path, side: int = 256) -> Path:
    """Save a class-per-sub-folder data set again as JPEG files of a given longer side.

    The real data sets at hand are stored at 28 to 160 pixels, some of them as PNG: about the size
    that networks read. The files of users come from cameras and scanners and are larger, and
    decoding and shrinking them is what a training that reads files pays for in every epoch. 256
    pixels is the size to which data sets are commonly shrunk for training; it is far below a
    camera's, so that the share of decoding is understated rather than overstated.

    Args:
        source_folder: its sub-folders are the classes; any depth below.
        target_folder: where; made if it doesn't exist. Names of files stay, but for the extension.
        side: longer side in pixels; the aspect ratio is kept.

    Returns:
        ``target_folder``.

    Raises:
        InputError: there is no picture, ``side`` is too small, or ``target_folder`` holds something
            else.
    """
    if side < 8:
        raise InputError(f"side must be at least 8 pixels, but got {side}")
    found = sorted(
        file
        for file in source_folder.glob("*/**/*")
        if file.suffix.lower() in IMG_EXTENSIONS and file.is_file()
    )
    if not found:
        raise InputError(f"folder {source_folder} has no pictures in sub-folders")
    jobs = []
    for file in found:
        place = target_folder / file.relative_to(source_folder)
        kept = place.suffix.lower() == ".jpg"
        jobs.append((file, place if kept else place.with_name(f"{place.name}.jpg"), side))
    settings = {"source": source_folder.name, "n": len(jobs), "side": side}
    return _make(target_folder, settings, _save_again, jobs, ThreadPoolExecutor)


def _make(
    folder: Path,
    settings: Mapping[str, Any],
    make: Callable[[_Job], None],
    jobs: Iterable[_Job],
    executor: Callable[[int], Executor],
) -> Path:
    """Run the jobs unless the marker says that they are done."""
    marker = folder / _MARKER
    if marker.is_file():
        found = json.loads(marker.read_text())
        complete = found.pop("complete", False)
        if found != settings:
            raise InputError(
                f"folder {folder} was made with {found}, not with {dict(settings)}; name another "
                "one, or delete it"
            )
        if complete:
            return folder
    elif folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"folder {folder} holds other files; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    _mark(marker, {**settings, "complete": False})
    with executor(n_cpus()) as pool:
        for _ in pool.map(make, jobs):
            pass
    _mark(marker, {**settings, "complete": True})
    return folder


def _mark(marker: Path, values: Mapping[str, Any]) -> None:
    part = marker.with_suffix(".part")
    part.write_text(json.dumps(values))
    os.replace(part, marker)


def _draw(job: tuple[Path, int, int, int, int, int]) -> None:
    folder, label, first, last, side, seed = job
    files = [folder / f"{i:06d}.jpg" for i in range(first, last)]
    if all(file.is_file() for file in files):
        return
    folder.mkdir(exist_ok=True)
    block, place = divmod(label, _BLOCK)
    turn, family = divmod(block, len(FAMILIES))
    pictures = draw_class(
        FAMILIES[family],
        turn * _BLOCK + place,
        last - first,
        first=first,
        seed=seed + _SEEDS_APART,
        size=side,
    )
    behind = _behind(side, seed)
    for i, file, picture in zip(range(first, last), files, pictures, strict=True):
        rng = np.random.default_rng([seed, label, i])
        other = np.roll(behind[rng.integers(len(behind))], rng.integers(side, size=2), (0, 1))
        opacity = rng.uniform(*_OPACITY)
        mixed = np.rint(opacity * picture + (1 - opacity) * other).astype(np.uint8)
        _write(Image.fromarray(mixed), file, _DRAWN_QUALITY)


@lru_cache(maxsize=1)
def _behind(side: int, seed: int) -> NDArray[np.uint8]:
    """Pictures that belong to no class ``(_N_BEHIND, side, side, 3)``."""
    per_family = _N_BEHIND // len(FAMILIES)
    seeds = range(seed + 2 * _SEEDS_APART, seed + 2 * _SEEDS_APART + per_family)
    return np.concatenate(
        [draw_class(family, 0, 1, seed=own, size=side) for family in FAMILIES for own in seeds]
    )


def _save_again(job: tuple[Path, Path, int]) -> None:
    source, target, side = job
    if target.is_file():
        return
    image = decode(source)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(image.resize(size, Image.Resampling.BICUBIC), target, _REAL_QUALITY)


def _write(image: Image.Image, file: Path, quality: int) -> None:
    part = file.with_suffix(".part")
    image.save(part, "JPEG", quality=quality)
    os.replace(part, file)
