"""Readers of data in memory: a pair of arrays, or a map-style data set such as torch's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autotl.data import pictures
from autotl.data.records import (
    Limits,
    Records,
    digest,
    label_name,
    list_some,
    picture_digest,
)
from autotl.data.table import Quarantined
from autotl.errors import InputError, UnreadableImageError

_N_READ_TWICE = 8
"""So many items are read twice, to find out whether the data set changes them at random."""

_ONE_AT_A_TIME = Lock()
"""A data set that someone else wrote may not stand several threads."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Pictures in one array, ``(n, h, w)`` or ``(n, h, w, 1|3|4) uint8``; not copied."""

    array: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.array)

    def name(self, index: int) -> str:
        return f"array[{index}]"

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        return pictures.from_array(self.array[index])


@dataclass(frozen=True, eq=False)
class ItemSource:
    """Pictures that a map-style data set makes on demand: ``items[i]`` is (picture, label)."""

    items: Any

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        return f"dataset[{index}]"

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        try:
            with _ONE_AT_A_TIME:
                return as_picture(self.items[index][0])
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableImageError(str(error)) from error


def read_arrays(images: Any, labels: Any, group: Any = None) -> Records:
    """Read a pair of arrays.

    Args:
        images: ``(n, h, w)`` or ``(n, h, w, c) uint8`` with c of 1 (grey), 3 (RGB) or 4 (RGBA).
        labels: ``(n,)`` of integers or text.
        group: ``(n,)`` of integers or text, or None.

    Raises:
        InputError: for another dtype, shape or length; the message says what was received and how
            to convert it.
    """
    problems = _array_problems(images)
    n_images = len(images) if hasattr(images, "__len__") else 0
    names = _names(labels, "y", n_images, problems)
    groups = None if group is None else _names(group, "group", n_images, problems, gaps=True)
    if problems:
        raise InputError.of(problems)
    return Records(
        source=ArraySource(images),
        rows=range(n_images),
        labels=[name or "" for name in names],
        digests=[digest(np.ascontiguousarray(image).data) for image in images],
        groups=groups,
        origin="the pair of arrays",
    )


def read_items(items: Any, limits: Limits | None = None) -> Records:
    """Read a map-style data set of (PIL image, tensor or uint8 array; label).

    It is gone through once for the labels; pictures are read from it again when they are needed.
    Integer labels are named by its ``classes`` if it, or the data set that it is a subset of, has
    them.

    Args:
        items: the data set.
        limits: what to put up with; None for the defaults.

    Raises:
        InputError: items that aren't (picture, label); pictures that change between two reads;
            labels out of range or missing; too many items that can't be read.
    """
    n_items = len(items)
    source = ItemSource(items)
    class_names = _class_names(items)
    rows: list[int] = []
    labels: list[str] = []
    digests: list[bytes] = []
    quarantine: list[Quarantined] = []
    missing: list[int] = []
    for index in range(n_items):
        try:
            item = items[index]
            picture, label = _pair(item, index)
            image = as_picture(picture)
        except InputError:
            raise
        except (OSError, SyntaxError, ValueError) as error:
            quarantine.append(Quarantined(source.name(index), str(error)))
            continue
        name = _class_name(label, class_names, index)
        if name is None:
            missing.append(index)
            continue
        rows.append(index)
        labels.append(name)
        digests.append(picture_digest(image))
        if len(rows) <= _N_READ_TWICE and picture_digest(source.read(index)) != digests[-1]:
            raise InputError(
                f"{source.name(index)} gives another picture each time: the data set augments at "
                "random; give it without random transforms (autotl augments by itself)"
            )
    if missing:
        raise InputError(f"no label in {len(missing)} items: dataset index {list_some(missing)}")
    (limits or Limits()).refuse_many(quarantine, n_items, f"the {type(items).__name__}")
    return Records(
        source=source,
        rows=rows,
        labels=labels,
        digests=digests,
        quarantine=tuple(quarantine),
        origin=f"the {type(items).__name__}",
    )


def as_picture(value: Any) -> Image.Image:
    """The picture of a PIL image, a tensor or an array.

    Args:
        value: a PIL image; a tensor ``(h, w)`` or ``(1|3|4, h, w)``, uint8 or float in [0, 1]; an
            array as for :func:`autotl.data.pictures.from_array`.

    Raises:
        UnreadableImageError: for anything else.
    """
    if isinstance(value, Image.Image):
        return pictures.as_seen(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return pictures.from_array(_tensor_array(value, torch))
    if isinstance(value, np.ndarray):
        return pictures.from_array(value)
    raise UnreadableImageError(
        f"a picture must be a PIL image, a tensor or a uint8 array, got {type(value).__name__}"
    )


def _tensor_array(tensor: Any, torch: Any) -> NDArray[np.uint8]:
    tensor = tensor.detach().cpu()
    if tensor.ndim not in (2, 3) or (tensor.ndim == 3 and tensor.shape[0] not in (1, 3, 4)):
        raise UnreadableImageError(
            f"an image tensor must have shape (h, w) or (1|3|4, h, w), got {tuple(tensor.shape)}"
        )
    if tensor.is_floating_point():
        if not bool(((tensor >= 0) & (tensor <= 1)).all()):
            raise UnreadableImageError(
                f"a float image tensor must lie in [0, 1], got {float(tensor.min()):.3g} to "
                f"{float(tensor.max()):.3g}; leave out the normalisation (autotl does it itself)"
            )
        tensor = (tensor * 255).round().to(torch.uint8)
    array: NDArray[np.uint8] = tensor.numpy()
    return array if array.ndim == 2 else array.transpose(1, 2, 0)


def _pair(item: Any, index: int) -> tuple[Any, Any]:
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    got = f"{type(item).__name__}" + (f" of {len(item)}" if hasattr(item, "__len__") else "")
    raise InputError(f"each item must be a pair (picture, label), but dataset[{index}] is a {got}")


def _class_names(items: Any) -> list[str] | None:
    """The ``classes`` of a data set, or of the one that it is a subset of."""
    for _ in range(8):
        classes = getattr(items, "classes", None)
        if isinstance(classes, (list, tuple)):
            return [str(name) for name in classes]
        if not hasattr(items, "dataset"):
            return None
        items = items.dataset
    return None


def _class_name(label: Any, class_names: Sequence[str] | None, index: int) -> str | None:
    """The name of a label: a number is looked up among the class names if there are any."""
    if getattr(label, "ndim", None) == 0:
        label = label.item()  # a NumPy or torch scalar
    if class_names is None or not isinstance(label, int):
        return label_name(label)
    if not 0 <= label < len(class_names):
        raise InputError(
            f"dataset[{index}] has label {label}, but the data set has {len(class_names)} classes: "
            f"labels must be 0 to {len(class_names) - 1}"
        )
    return class_names[label]


def _array_problems(images: Any) -> list[str]:
    expected = "X must be a uint8 array of shape (n, h, w) or (n, h, w, 1|3|4)"
    if not isinstance(images, np.ndarray):
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(images, torch.Tensor):
            return [f"{expected}, got a tensor; give X.numpy() with the channels last"]
        return [f"{expected}, got a {type(images).__name__}; give np.stack(X) of equal sizes"]
    problems: list[str] = []
    if images.ndim == 4 and images.shape[1] in (1, 3, 4) and images.shape[3] not in (1, 3, 4):
        problems.append(
            f"{expected}, got shape {images.shape}: channels first; give X.transpose(0, 2, 3, 1)"
        )
    elif images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        problems.append(f"{expected}, got shape {images.shape}")
    elif 0 in images.shape:
        problems.append(f"{expected}, got shape {images.shape}: no pixels")
    if images.dtype != np.uint8:
        problems.append(f"{expected}, got dtype {images.dtype}{_conversion(images)}")
    return problems


def _conversion(images: NDArray[Any]) -> str:
    if images.dtype == np.bool_:
        return "; give X.astype(np.uint8) * 255"
    if not images.size or not np.issubdtype(images.dtype, np.number):
        return ""
    low, high = images.min(), images.max()
    span = f" with values from {low:.4g} to {high:.4g}"
    if not (low >= 0 and high <= 65535):  # NaN among them
        return f"{span}; scale it to 0 ... 255, then give X.round().astype(np.uint8)"
    if np.issubdtype(images.dtype, np.floating):
        if high <= 1:
            return f"{span}; give (X * 255).round().astype(np.uint8)"
        if high <= 255:
            return f"{span}; give X.round().astype(np.uint8)"
    elif high <= 255:
        return f"{span}; give X.astype(np.uint8)"
    return f"{span}; give (X / 257).round().astype(np.uint8) if they are 16-bit values"


def _names(
    values: Any, title: str, n_images: int, problems: list[str], gaps: bool = False
) -> list[str | None]:
    """Names of ``(n,)`` labels or groups; what is wrong joins ``problems``."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    if isinstance(values, str) or not hasattr(values, "__len__"):
        problems.append(f"{title} must be a sequence of {n_images}, got {values!r}")
        return []
    array = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=object)
    if array.ndim != 1:
        one_hot = "; for one-hot rows give y.argmax(axis=1)" if array.ndim == 2 else ""
        problems.append(f"{title} must have shape ({n_images},), got {array.shape}{one_hot}")
        return []
    if len(array) != n_images:
        problems.append(
            f"X and {title} must be of one length, but X has {n_images} and {title} {len(array)}"
        )
        return []
    names = [label_name(value) for value in array]
    missing = [i for i, name in enumerate(names) if name is None]
    if missing and not gaps:
        problems.append(
            f"no label in {len(missing)} of {n_images} values of {title}: index "
            f"{list_some(missing)}"
        )
    return names
