"""What tests of several studies need: a clock that a test sets, and pictures in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


class Clock:
    """Stands for the module ``time``; passes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def take(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
) -> Path:
    """The tiny problem as PNG files at the network's size."""
    root = tmp_path_factory.mktemp("pictures")
    for i, (picture, label) in enumerate(zip(pictures, picture_labels, strict=True)):
        (root / f"class{label}").mkdir(exist_ok=True)
        Image.fromarray(picture).save(root / f"class{label}" / f"{i:03d}.png")
    return root
