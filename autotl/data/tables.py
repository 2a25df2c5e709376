"""Reader of tables: a CSV, TSV or Parquet file, or a DataFrame, with path and label columns."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from autotl.data.files import FileSource, file_digests, leading_out
from autotl.data.records import PART_NAMES, Limits, Records, label_name, list_some
from autotl.data.table import Part, Quarantined
from autotl.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

IMAGE_COLUMNS = ("image", "path", "file", "filename", "filepath", "image_path")
LABEL_COLUMNS = ("label", "class", "target", "category", "y")
SPLIT_COLUMN = "split"
TABLE_EXTENSIONS = (".csv", ".tsv", ".parquet")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""As ``http://`` and ``file:/``; one letter is a drive."""


def read_table_file(
    path: Path,
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    limits: Limits | None = None,
) -> Records:
    """Read a CSV, TSV or Parquet file; picture paths are relative to its folder.

    Args:
        path: the file. In a CSV an empty cell and ``nan`` are missing; other text, such as ``NA``,
            is taken as it stands.
        image: the column of paths; None finds it by the usual names.
        label: the column of labels; None finds it by the usual names.
        group: the column of groups, or None; an empty cell is a group of its own.
        limits: what to put up with; None for the defaults.

    Raises:
        InputError: all that is wrong with it, together.
    """
    frame, origin = _load(path), f"table {path}"
    first_row = 0 if path.suffix.lower() == ".parquet" else 2  # line 1 of a text is its header
    folder = path.absolute().parent
    limits = limits or Limits()
    return _read(frame, folder, origin, (image, label, group), first_row, limits)


def pictures_of_table(path: Path, image: str | None = None, label: str | None = None) -> list[str]:
    """Paths of the pictures below a table file's folder that it names; none if it names others.

    (Those are refused when it is read.)

    Args:
        path: the file.
        image: as for :func:`read_table_file`.
        label: likewise.

    Raises:
        InputError: if it can't be read or has no such columns.
    """
    frame = _load(path)
    image, _, _ = _columns(frame, f"table {path}", image, label, None)
    folder = path.absolute().parent
    cells = [cell for cell in frame[image].tolist() if isinstance(cell, str) and cell]
    names = dict.fromkeys(_below(folder, cell) for cell in cells)
    return [] if any(map(_leaves, names)) or any(map(_URL.match, cells)) else list(names)


def read_frame(
    frame: pd.DataFrame,
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    limits: Limits | None = None,
) -> Records:
    """Read a DataFrame; relative picture paths are relative to the current folder.

    Where its paths lead is the caller's own affair.

    Args:
        frame: one row per picture.
        image: the column of paths; None finds it by the usual names.
        label: the column of labels; None finds it by the usual names.
        group: the column of groups, or None.
        limits: what to put up with; None for the defaults.

    Raises:
        InputError: all that is wrong with it, together.
    """
    limits = replace(limits or Limits(), trust_paths=True)
    return _read(frame, Path.cwd(), "the DataFrame", (image, label, group), 0, limits)


def _load(path: Path) -> pd.DataFrame:
    import pandas as pd

    kind = path.suffix.lower()
    if kind not in TABLE_EXTENSIONS:
        raise unknown("kind of data file", path.name, TABLE_EXTENSIONS)
    if path.stat().st_size == 0:
        raise InputError(f"table {path} is empty (0 bytes)")
    try:
        if kind == ".parquet":
            from pyarrow.parquet import ParquetFile

            with ParquetFile(path) as file:
                content = file.read()
            content.validate(full=True)  # else damaged text is only found where it is used
            of_parquet: pd.DataFrame = content.to_pandas()
            return of_parquet
        frame = pd.read_csv(
            path,
            sep="\t" if kind == ".tsv" else _separator(path),
            dtype=str,
            keep_default_na=False,
            na_values=["", "nan", "NaN"],
            encoding="utf-8-sig",
        )
    except UnicodeDecodeError as error:
        raise InputError(f"table {path} isn't UTF-8 text ({error}); save it as UTF-8") from error
    except MemoryError:
        raise
    except Exception as error:  # pandas and Arrow raise any kind on a damaged file
        raise InputError(f"table {path} can't be read as {kind[1:].upper()}: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(f"rows of table {path} have more fields than its header has names")
    return frame


def _separator(path: Path) -> str:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def _read(
    frame: pd.DataFrame,
    root: Path,
    origin: str,
    columns: tuple[str | None, str | None, str | None],
    first_row: int,
    limits: Limits,
) -> Records:
    """Check the columns, then the cells, then the files; rows are numbered from ``first_row``."""
    image, label, group = _columns(frame, origin, *columns)
    if not len(frame):
        raise InputError(f"{origin} has no rows; its columns are {_listed(frame)}")
    cells = frame[image].tolist()
    if any(isinstance(cell, (bytes, dict)) for cell in cells):
        raise InputError(
            f"column {image!r} of {origin} holds the pictures themselves, not paths; read it with "
            "datasets.load_dataset and give that to autotl"
        )
    paths = [None if label_name(cell) is None else str(cell) for cell in cells]
    names = ["" if path is None else _below(root, path) for path in paths]
    labels = _names(frame[label].tolist())
    problems = _gaps(paths, f"path in column {image!r} of {origin}", first_row)
    problems += _gaps(labels, f"label in column {label!r} of {origin}", first_row)
    problems += _foreign(paths, names, root, origin, first_row, limits)
    if problems:
        raise InputError.of(problems)
    here = [os.path.isfile(os.path.join(root, name)) for name in names]
    absent = [name for name, is_here in zip(names, here, strict=True) if not is_here]
    quarantine = tuple(Quarantined(name, "no such file") for name in absent)
    limits.refuse_many(quarantine, len(names), origin, f"paths are relative to {root}; ")
    kept = tuple(compress(names, here))
    groups = None if group is None else _names(frame[group].tolist())
    parts = _parts(frame)
    return Records(
        source=FileSource(str(root), kept),
        rows=range(len(kept)),
        labels=[name or "" for name in compress(labels, here)],
        digests=file_digests(str(root), kept),
        groups=None if groups is None else list(compress(groups, here)),
        parts=None if parts is None else list(compress(parts, here)),
        quarantine=quarantine,
        origin=origin,
    )


def _gaps(values: Sequence[str | None], what: str, first_row: int) -> list[str]:
    empty = [i + first_row for i, value in enumerate(values) if value is None]
    if not empty:
        return []
    return [
        f"no {what} in {len(empty)} of {len(values)} rows: row {list_some(empty)}; fill them in "
        "or drop those rows"
    ]


def _foreign(
    paths: Sequence[str | None],
    names: Sequence[str],
    root: Path,
    origin: str,
    first_row: int,
    limits: Limits,
) -> list[str]:
    """What is wrong with paths to elsewhere: URLs, and paths or links out of the folder."""

    def listed(rows: Sequence[int]) -> str:
        return list_some([f"row {i + first_row} ({paths[i]})" for i in rows])

    problems = []
    urls = [i for i, path in enumerate(paths) if path is not None and _URL.match(path)]
    if urls:
        problems.append(
            f"URLs instead of paths in {origin}: {listed(urls)}; nothing is fetched from a "
            "network: download the pictures and give their paths"
        )
    if not limits.trust_paths:
        is_url = set(urls)
        leaving = [i for i in leading_out(str(root), names) if i not in is_url and paths[i]]
        if leaving:
            problems.append(
                f"paths or links that lead out of the folder {root} of {origin}: "
                f"{listed(leaving)}; move the pictures there, or give trust_paths=True "
                "(--trust-paths) if you trust the file"
            )
    return problems


def _columns(
    frame: pd.DataFrame, origin: str, image: str | None, label: str | None, group: str | None
) -> tuple[str, str, str | None]:
    problems: list[str] = []
    found: list[str] = []
    for option, given, usual in (("image", image, IMAGE_COLUMNS), ("label", label, LABEL_COLUMNS)):
        if given is not None:
            found.append(given)
            continue
        matches = [name for name in frame.columns if str(name).lower() in usual]
        found.append(matches[0] if matches else "")
        if len(matches) != 1:
            problems.append(
                f"{origin} has {'several columns' if matches else 'no column'} that may hold the "
                f"{option}{f' ({_quoted(matches)})' if matches else ''}; give {option}= one of its "
                f"columns: {_listed(frame)}"
            )
    for option, given in (("image", image), ("label", label), ("group", group)):
        n_found = sum(name == given for name in frame.columns)
        if given is not None and n_found != 1:
            problems.append(
                f"{origin} has {n_found or 'no'} column{'s' if n_found else ''} {given!r} for "
                f"{option}=; its columns: {_listed(frame)}"
            )
    if problems:
        raise InputError.of(problems)
    return found[0], found[1], group


def _below(root: Path, path: str) -> str:
    """The path relative to ``root`` where it lies below it, otherwise as it is; normalised."""
    path = os.path.normpath(path)
    if os.path.isabs(path):
        relative = os.path.relpath(path, root)
        path = path if _leaves(relative) else relative
    return Path(path).as_posix()


def _leaves(name: str) -> bool:
    return os.path.isabs(name) or name == ".." or name.startswith("../")


def _names(values: Sequence[object]) -> list[str | None]:
    """Class or group names of a column; ``1.0``, ``2.0`` ... are the whole numbers they stand for.

    (A column of integers with gaps is written so by pandas.)
    """
    names = [label_name(value) for value in values]
    if all(name is None or re.fullmatch(r"-?\d+\.0", name) for name in names):
        return [None if name is None else name[:-2] for name in names]
    return names


def _parts(frame: pd.DataFrame) -> list[Part] | None:
    """The parts named by a column called ``split``; any other value is unassigned."""
    if SPLIT_COLUMN not in frame.columns:
        return None
    named = [(label_name(value) or "").strip().lower() for value in frame[SPLIT_COLUMN].tolist()]
    return [PART_NAMES.get(name, Part.UNASSIGNED) for name in named]


def _listed(frame: pd.DataFrame) -> str:
    return _quoted(list(frame.columns)) or "none"


def _quoted(names: Sequence[object]) -> str:
    return ", ".join(map(repr, names))
