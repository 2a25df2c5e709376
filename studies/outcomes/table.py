"""The table on disk: one row for each config, task and seed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FILE = Path(__file__).with_name("outcomes.parquet")
_ARRAYS = ("validation_correct", "test_correct")
_CURVES = ("curve_validation", "curve_test", "curve_seconds")
KEY = ("dataset", "n_train", "backbone", "strategy", "name", "seed")
"""What names a row."""


def to_line(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON; per-sample arrays as base64 of their int8."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if name in _ARRAYS:
            plain[name] = base64.b64encode(np.asarray(value, np.int8).tobytes()).decode()
        elif name in _CURVES:
            plain[name] = [round(float(v), 5) for v in value]
        else:
            plain[name] = value
    return json.dumps(plain)


def from_lines(lines: Iterator[str]) -> list[dict[str, Any]]:
    """The rows of lines; a last line that was cut off is left out."""
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        for name in _ARRAYS:
            if name in row:
                row[name] = base64.b64decode(row[name])
        rows.append(row)
    return rows


def restore(work: Path, file: Path = FILE) -> None:
    """Write the published rows as lines into a work folder that hasn't any of them."""
    if not file.is_file():
        return
    frame = pd.read_parquet(file)
    for (dataset, n_train, backbone), rows in frame.groupby(["dataset", "n_train", "backbone"]):
        lines = work / unit_file(dataset, n_train, backbone)
        if not lines.is_file():
            made = [to_line(_plain(row)) for row in rows.to_dict("records")]
            lines.write_text("".join(line + "\n" for line in made))


def unit_file(dataset: str, n_train: int, backbone: str) -> str:
    """Name of the file of a task's lines with a backbone."""
    return f"{dataset}-{n_train}-{backbone}.jsonl"


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the frame as it was measured: what it lacks left out, bytes as arrays."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name in _ARRAYS:
            if isinstance(value, bytes):
                found[name] = correct_of(value)
        elif name in _CURVES:
            if value is not None and np.ndim(value):
                found[name] = value
        elif not (value is None or (isinstance(value, float) and np.isnan(value))):
            found[name] = value.item() if isinstance(value, np.generic) else value
    return found


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What names a row."""
    return tuple(row[name] for name in KEY)


def write(rows: list[dict[str, Any]], file: Path = FILE) -> pd.DataFrame:
    """Write the table; later rows of the same key win.

    Returns:
        The table, sorted by key.
    """
    by_key = {key_of(row): row for row in rows}
    frame = pd.DataFrame([by_key[key] for key in sorted(by_key)])
    for name in ("validation", "test", "validation_log_loss", "test_log_loss", "seconds"):
        frame[name] = frame[name].astype(np.float32)
    part = file.with_suffix(".part")
    frame.to_parquet(part, compression="zstd", index=False)
    part.replace(file)
    return frame


def read(file: Path = FILE) -> pd.DataFrame:
    """The table of complete rows.

    Columns: those of :data:`KEY`; ``weights_hash``, ``config`` (JSON), ``metric``, ``n_folds``,
    ``n_development``, ``n_test``, ``validation``, ``test``, ``validation_log_loss``,
    ``test_log_loss``, ``seconds``, ``seconds_without``, ``n_trainable``; ``curve_validation``,
    ``curve_test``, ``curve_seconds``; ``validation_correct``, ``test_correct`` (int8 bytes, see
    :func:`correct_of`).
    """
    frame = pd.read_parquet(file)
    return frame[frame["state"] == "complete"].reset_index(drop=True)


def correct_of(value: bytes) -> NDArray[np.int8]:
    """Per-sample correctness of a row: 0/1 (-1: not validated), or how many folds were right."""
    return np.frombuffer(value, dtype=np.int8)
