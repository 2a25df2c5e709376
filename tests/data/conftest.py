"""Small pictures, drawn where the tests need them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws a picture of random pixels at a path below ``tmp_path``; equal seeds, equal bytes."""

    def draw_one(name: str, seed: int = 0, size: tuple[int, int] = (9, 7)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return draw_one


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """An image folder with three pictures each of cat and dog."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(3):
            draw(f"pets/{name}/{i}.png", seed=10 * c + i)
    return tmp_path / "pets"
