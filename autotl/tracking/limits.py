"""What MLflow takes: names, lengths and numbers; and how a record is made to fit.

The limits are those of ``mlflow.utils.validation`` and its SQL schema.
"""

from __future__ import annotations

import hashlib
import math
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag

MAX_PARAM_CHARS = 6000
MAX_TAG_CHARS = 5000
MAX_NAME_CHARS = 250
_MAX_PARAMS, _MAX_TAGS, _MAX_METRICS, _MAX_CHARS = 100, 100, 500, 100_000
"""Of one request; MLflow counts characters in JSON, which writes some as six."""
_ELLIPSIS = "…"


def fitting_name(name: str) -> str:
    """A name that MLflow takes for a parameter, a figure or a tag.

    One that it takes already is left alone. In others, characters it doesn't take become ``_``,
    and a part of the name's hash keeps different names apart.
    """
    clean = re.sub(r"[^/\w.\- ]", "_", plain_text(name))
    path = posixpath.normpath(clean) if clean else ""
    if path != clean or path in ("", ".") or path.startswith(("..", "/")):
        clean = re.sub(r"[/.]", "_", clean)
    if name and clean == name and len(clean) <= MAX_NAME_CHARS:
        return name
    mark = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{clean[: MAX_NAME_CHARS - len(mark) - 1]}_{mark}"


def plain_text(text: str) -> str:
    """Text that any store can hold: no lone surrogates, of undecodable file names, and no NUL."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def shortened(text: str, n_chars: int) -> str:
    """Text of at most so many characters; what was cut off shows as an ellipsis."""
    return text if len(text) <= n_chars else text[: n_chars - 1] + _ELLIPSIS


def finite(value: float) -> float | None:
    """A number as MLflow takes it; None if it is NaN, infinite or too large for a float."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


Batch = tuple[list["Metric"], list["Param"], list["RunTag"]]


def batches(
    metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
) -> Iterator[Batch]:
    """Requests that are small enough, in order: parameters, figures, tags.

    Args:
        metrics: figures.
        params: parameters.
        tags: tags.
    """
    batch: Batch = ([], [], [])
    n_chars = 0
    entries: list[tuple[int, int, Metric | Param | RunTag]] = [
        *((1, _MAX_PARAMS, param) for param in params),
        *((0, _MAX_METRICS, metric) for metric in metrics),
        *((2, _MAX_TAGS, tag) for tag in tags),
    ]
    for kind, most, entry in entries:
        size = len(entry.key) + len(str(entry.value))
        if len(batch[kind]) >= most or (any(batch) and n_chars + size > _MAX_CHARS):
            yield batch
            batch, n_chars = ([], [], []), 0
        batch[kind].append(entry)
        n_chars += size
    if any(batch):
        yield batch
