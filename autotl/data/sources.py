"""``read_dataset``: the one entrance for data, whatever its kind."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from autotl.config import MAX_UNREADABLE
from autotl.data.folders import read_folder
from autotl.data.hub import read_hub
from autotl.data.memory import read_arrays, read_items
from autotl.data.records import (
    Limits,
    Records,
    build_table,
    join_test,
    joined,
)
from autotl.data.remote import Mirrors
from autotl.data.table import ImageTable
from autotl.data.tables import read_frame, read_table_file
from autotl.errors import InputError
from autotl.naming import is_url, without_secrets

KINDS = (
    "an image folder; a .csv, .tsv or .parquet file; a pandas DataFrame; a pair (X, y) of arrays; "
    "a torch Dataset; a Hugging Face Dataset or DatasetDict"
)


def read_dataset(
    dataset: Any,
    *,
    image: str | None = None,
    label: str | None = None,
    group: Any = None,
    test: Any = None,
    trust_paths: bool = False,
    max_unreadable: float = MAX_UNREADABLE,
    mirrors: Mirrors | None = None,
) -> ImageTable:
    """Read labelled pictures of any kind.

    Args:
        dataset: an image folder (class per sub-folder, with or without train, val and test
            folders); a CSV, TSV or Parquet file or a DataFrame with path and label columns, and
            perhaps one called ``split``; a pair ``(X (n, h, w[, c]) uint8, y (n,))``; a torch
            map-style ``Dataset`` of (PIL image or tensor, label); a Hugging Face ``Dataset`` or
            ``DatasetDict``. A folder or file may be a URL that fsspec can open; a copy is read.
        image: the column of pictures, for tables and Hugging Face; None finds it.
        label: the column of labels, likewise.
        group: what keeps samples together on one side of a split: a column's name; for a folder
            ``"parent"``; for arrays an ``(n,)`` sequence.
        test: a test set of any of these kinds, with the same classes; all of it is the test part.
        trust_paths: whether paths in a table file, and links, may lead out of the data set's
            folder. URLs in a table are never fetched.
        max_unreadable: share of the pictures, in [0, 1], that may be missing or without class.
        mirrors: where copies of what is behind URLs are kept; None: in the user's cache
            (``~/.cache/autotl/mirrors``).

    Returns:
        The table; pictures are read on demand, and those that turn out not to be readable are for
        the caller to leave out (:meth:`ImageTable.without`).

    Raises:
        InputError: what is wrong, the value received, and what to do; several at once.
    """
    columns = {"image": image, "label": label, "group": group}
    limits = Limits(trust_paths, max_unreadable)
    copies: dict[str, str] = {}

    def here(place: Any) -> Any:
        if not is_url(place):
            return place
        copy = (mirrors or Mirrors()).fetch(place, image, label)
        shown = without_secrets(place).rstrip("/")
        is_table = copy.is_file()
        copies[str(copy.parent if is_table else copy)] = (
            shown.rpartition("/")[0] if is_table else shown
        )
        return copy

    try:
        records = _read(here(dataset), columns, limits)
        if test is not None:
            records = join_test(records, _read_test(here(test), columns, limits))
        return build_table(records)
    except InputError as error:
        if not copies:
            raise
        told = reduce(lambda text, copy: text.replace(copy, copies[copy]), copies, str(error))
        raise InputError(told) from error  # the user knows the data by the URL


def _read(dataset: Any, columns: dict[str, Any], limits: Limits) -> Records:
    if isinstance(dataset, (str, Path)):
        return _read_path(Path(dataset).expanduser(), columns, limits)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(dataset, pandas.DataFrame):
        return read_frame(dataset, **columns, limits=limits)
    if _is_hub(dataset):
        return reduce(joined, read_hub(dataset, **columns))
    _refuse(columns, ("image", "label"), "only a table has columns")
    if _is_pair(dataset):
        images, labels = dataset
        return read_arrays(images, labels, columns["group"])
    _refuse(columns, ("group",), "give a table with a column for it instead")
    map_style = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if map_style and not isinstance(dataset, (Mapping, tuple, bytes)):
        return read_items(dataset, limits)
    hint = "; give its .dataset" if hasattr(dataset, "dataset") else ""
    raise InputError(f"a data set may be {KINDS}; got {_described(dataset)}{hint}")


def _read_path(path: Path, columns: dict[str, Any], limits: Limits) -> Records:
    if path.is_dir():
        remedy = f"{path} is a folder, whose sub-folders are the classes; give a CSV file instead"
        _refuse(columns, ("image", "label"), remedy)
        return read_folder(path, columns["group"], limits)
    if path.is_file():
        return read_table_file(path, **columns, limits=limits)
    raise InputError(f"no such file or folder: {path} (looked for {path.absolute()})")


def _read_test(test: Any, columns: dict[str, Any], limits: Limits) -> Records:
    """Read a test set; options that its kind doesn't know belong to the other data set."""
    is_folder = isinstance(test, (str, Path)) and Path(test).expanduser().is_dir()
    is_table = isinstance(test, (str, Path)) or hasattr(test, "columns") or _is_hub(test)
    group = columns["group"]
    if is_folder or not is_table:
        usable = {"image": None, "label": None, "group": None}
        if is_folder and group == "parent":
            usable["group"] = group
        return _read(test, usable, limits)
    return _read(test, {**columns, "group": group if isinstance(group, str) else None}, limits)


def _described(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, (tuple, Mapping)) else ""
    return f"a {type(value).__name__}{size}"


def _refuse(columns: dict[str, Any], options: tuple[str, ...], remedy: str) -> None:
    given = [f"{name}={columns[name]!r}" for name in options if columns[name] is not None]
    if given:
        raise InputError(f"{', '.join(given)} can't be used with this kind of data: {remedy}")


def _is_pair(dataset: Any) -> bool:
    """Whether it is (X, y): two of anything in a tuple, or a list that starts with an array."""
    return (isinstance(dataset, tuple) and len(dataset) == 2) or (
        isinstance(dataset, list) and len(dataset) == 2 and hasattr(dataset[0], "dtype")
    )


def _is_hub(dataset: Any) -> bool:
    datasets = sys.modules.get("datasets")
    kinds = () if datasets is None else (datasets.Dataset, datasets.DatasetDict)
    return isinstance(dataset, kinds)
