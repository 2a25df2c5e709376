"""Reader of image folders: a class per sub-folder, with or without train, val and test folders."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from autotl.data.files import FileSource, file_digests, files_below, leading_out
from autotl.data.pictures import picture_extensions
from autotl.data.records import PART_NAMES, Limits, Records, list_some
from autotl.data.table import Part, Quarantined
from autotl.errors import InputError

GROUP_BY_PARENT = "parent"
"""The one grouping that a folder knows: pictures in one folder below their class."""


def read_folder(folder: Path, group: str | None = None, limits: Limits | None = None) -> Records:
    """Read an image folder.

    Args:
        folder: its sub-folders are the classes, at any depth below; or ``train``, ``val``
            (``valid``, ``validation``) and ``test`` folders, in any case, which hold the classes.
        group: ``"parent"``: pictures whose folder below the class folder has the same name are one
            group (``cat/rex/1.jpg`` and ``dog/rex/7.jpg`` are); those straight in the class
            folder are in none.
        limits: what to put up with; None for the defaults. Links within the folder are followed
            anyway.

    Raises:
        InputError: nothing that is a picture; links out of the folder; pictures outside of class
            folders; folders of which only some are parts; another ``group``.
    """
    limits = limits or Limits()
    if group not in (None, GROUP_BY_PARENT):
        raise InputError(
            f"group={group!r} names a column, but {folder} is a folder; use "
            f"group={GROUP_BY_PARENT!r} (the folder below the class), or give a CSV file with "
            "columns for path, label and group"
        )
    found = _picture_names(folder)
    if not limits.trust_paths:
        _refuse_links_out(folder, found)
    paths = [PurePosixPath(name) for name in found]
    has_parts = _has_parts(folder, paths)
    depth = 2 if has_parts else 1  # how many folders a picture lies below: the class is the last
    inside = [path for path in paths if len(path.parts) > depth]
    outside = [path for path in paths if len(path.parts) <= depth]
    if not inside or len(outside) > limits.max_unreadable * len(paths):
        raise InputError(_no_class_folder(folder, outside))
    names = tuple(map(str, inside))
    return Records(
        source=FileSource(str(folder), names),
        rows=range(len(names)),
        labels=[path.parts[depth - 1] for path in inside],
        digests=file_digests(str(folder), names),
        groups=[_parent(path, depth) for path in inside] if group else None,
        parts=[PART_NAMES[path.parts[0].lower()] for path in inside] if has_parts else None,
        quarantine=tuple(Quarantined(str(path), "lies in no class folder") for path in outside),
        origin=f"folder {folder}",
    )


def _picture_names(folder: Path) -> list[str]:
    try:
        files = list(files_below(folder))
    except OSError as error:
        raise InputError(f"folder {error.filename} can't be listed: {error.strerror}") from error
    known = picture_extensions()
    names = [name for name in files if PurePosixPath(name).suffix.lower() in known]
    if not names:
        raise InputError(no_pictures(folder, files))
    return names


def no_pictures(folder: Path | str, files: Iterable[str]) -> str:
    """What to say of a folder without pictures: which files it has.

    Args:
        folder: the folder.
        files: paths of its files.
    """
    ends = Counter(PurePosixPath(name).suffix.lower() or "no extension" for name in files)
    seen = ", ".join(f"{end} ({count})" for end, count in ends.most_common(5))
    return (
        f"folder {folder} holds no pictures ({f'other files: {seen}' if ends else 'no files'});"
        " expected a sub-folder per class with .jpg, .png or other picture files"
    )


def _refuse_links_out(folder: Path, names: list[str]) -> None:
    leaving = [names[i] for i in leading_out(str(folder), names)]
    if leaving:
        raise InputError(
            f"links that lead out of the folder {folder}: {list_some(leaving)}; put the pictures "
            "themselves there, or give trust_paths=True (--trust-paths) if you trust the links"
        )


def _has_parts(folder: Path, paths: list[PurePosixPath]) -> bool:
    """Whether the top-level folders are parts: all of them are, by name."""
    top = sorted({path.parts[0] for path in paths if len(path.parts) > 1})
    as_part: dict[Part, list[str]] = defaultdict(list)
    for name in top:
        if name.lower() in PART_NAMES:
            as_part[PART_NAMES[name.lower()]].append(name)
    others = [name for name in top if name.lower() not in PART_NAMES]
    if as_part and not others:
        if Part.TRAIN not in as_part:
            raise InputError(
                f"folder {folder} has {list_some(top)} but no train folder; add one, or give the "
                "folder of classes itself"
            )
        return True
    if len(as_part) > 1:
        raise InputError(
            f"in folder {folder}, {', '.join(n for found in as_part.values() for n in found)} look "
            f"like parts of a data set, but {list_some(others)} don't; move those out, or put "
            "every class into the parts"
        )
    return False  # at most one class happens to be called "train" or "test"


def _no_class_folder(folder: Path, outside: list[PurePosixPath]) -> str:
    return (
        f"{len(outside)} pictures in folder {folder} lie in no class folder: "
        f"{list_some(outside)}; put each into a sub-folder named after its class, move unlabelled "
        "ones out, or give a CSV file with path and label columns"
    )


def _parent(path: PurePosixPath, depth: int) -> str | None:
    return "/".join(path.parts[depth:-1]) or None
