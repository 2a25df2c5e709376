"""Reader of Hugging Face data sets. The library itself is imported by whoever made the data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from autotl.data import pictures
from autotl.data.files import file_digest
from autotl.data.records import PART_NAMES, Records, digest, label_name, list_some
from autotl.data.table import Part
from autotl.data.tables import LABEL_COLUMNS
from autotl.errors import InputError, UnreadableImageError


@dataclass(frozen=True, eq=False)
class HubSource:
    """The image column of a Hugging Face ``Dataset`` whose cells are the stored bytes.

    Attributes:
        dataset: the data set, with that column cast to ``Image(decode=False)``.
        column: its name.
        title: how its rows are named.
    """

    dataset: Any
    column: str
    title: str

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return f"{self.title}[{index}]"

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        cell = self.dataset[index][self.column]
        if cell is None:
            raise UnreadableImageError("the cell is empty")
        if cell["bytes"] is not None:
            return pictures.decode(cell["bytes"], min_size)
        return pictures.decode(cell["path"] or "", min_size)

    def digests(self) -> list[bytes]:
        """Digests of the stored bytes, or of the files where only paths are stored."""
        found: list[bytes] = []
        for row in self.dataset:
            cell = row[self.column] or {"bytes": b"", "path": None}
            if cell["bytes"] is None and cell["path"]:
                found.append(file_digest(cell["path"]))
            else:
                found.append(digest(cell["bytes"] or b""))
        return found


def read_hub(
    dataset: Any, image: str | None = None, label: str | None = None, group: str | None = None
) -> list[Records]:
    """Read a Hugging Face ``Dataset``, or the parts of a ``DatasetDict``.

    Args:
        dataset: with an ``Image`` column, and a label column that is a ``ClassLabel``, or else has
            a usual name. Transforms set on it are left out.
        image: the image column; None finds it by its type.
        label: the label column; None finds it.
        group: the column of groups, or None.

    Returns:
        One record set per part; a plain ``Dataset`` is one.

    Raises:
        InputError: columns that can't be found, missing labels, a part with another name than
            train, validation or test.
    """
    if not isinstance(dataset, Mapping):
        return [_read_one(dataset, (image, label, group), None, "dataset")]
    strange = [name for name in dataset if str(name).lower() not in PART_NAMES]
    if strange:
        raise InputError(
            f"the DatasetDict has parts {list_some(strange)}; known: {', '.join(PART_NAMES)}; give "
            f"one of its data sets, such as dataset[{strange[0]!r}], or rename the parts"
        )
    columns = (image, label, group)
    return [
        _read_one(part, columns, PART_NAMES[str(name).lower()], str(name))
        for name, part in dataset.items()
    ]


def _read_one(
    dataset: Any, columns: tuple[str | None, str | None, str | None], part: Part | None, title: str
) -> Records:
    image, label, group = _columns(dataset, *columns)
    plain = dataset.with_format(None)
    values = plain.select_columns([label])[:][label]
    names = _names(values, dataset.features[label])
    missing = [i for i, name in enumerate(names) if name is None]
    if missing:
        raise InputError(
            f"no label in column {label!r} of {title} in {len(missing)} of {len(names)} rows: row "
            f"{list_some(missing)}; drop them with dataset.filter"
        )
    groups = None
    if group is not None:
        groups = [label_name(value) for value in plain.select_columns([group])[:][group]]
    stored = plain.select_columns([image])
    stored = stored.cast_column(image, type(dataset.features[image])(decode=False))
    source = HubSource(stored, image, title)
    return Records(
        source=source,
        rows=range(len(source)),
        labels=[name or "" for name in names],
        digests=source.digests(),
        groups=groups,
        parts=None if part is None else [part] * len(source),
        origin="the Hugging Face data set",
    )


def _columns(
    dataset: Any, image: str | None, label: str | None, group: str | None
) -> tuple[str, str, str | None]:
    features = dataset.features
    types = {name: type(feature).__name__ for name, feature in features.items()}
    listed = ", ".join(f"{name!r} ({kind})" for name, kind in types.items())
    problems: list[str] = []
    for option, given in (("image", image), ("label", label), ("group", group)):
        if given is not None and given not in types:
            problems.append(f"no column {given!r} for {option}=; the columns: {listed}")
    if image in types and types[image] != "Image":
        problems.append(
            f"column {image!r} isn't of type Image but {types[image]}; give "
            f"dataset.cast_column({image!r}, datasets.Image())"
        )
    images = [image] if image else [name for name, kind in types.items() if kind == "Image"]
    if len(images) != 1:
        problems.append(f"{len(images)} columns are of type Image; give image= one of: {listed}")
    labels = [label] if label else [name for name, kind in types.items() if kind == "ClassLabel"]
    labels = labels or [name for name in types if name.lower() in LABEL_COLUMNS]
    if len(labels) != 1:
        problems.append(f"{len(labels)} columns may hold the label; give label= one of: {listed}")
    if problems:
        raise InputError.of(problems)
    return images[0], labels[0], group


def _names(values: list[Any], feature: Any) -> list[str | None]:
    """Class names of a label column; a ``ClassLabel`` of -1 is a missing one."""
    class_names = getattr(feature, "names", None)
    if class_names is None:
        return [label_name(value) for value in values]
    return [None if value is None or value < 0 else class_names[value] for value in values]
