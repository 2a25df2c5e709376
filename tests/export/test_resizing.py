from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from autotl.data.pictures import to_pixels
from autotl.export.resizing import squash, tall_upright_first


def squashed(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    x = torch.from_numpy(picture)[None]
    found: NDArray[np.uint8] = squash(x, size, tall_upright_first=tall_upright_first())[0].numpy()
    return found


@pytest.mark.parametrize("size", [17, 32, 64])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        *((1, 1), (1, 50), (50, 1), (8, 8), (31, 33), (64, 64), (33, 300), (300, 33)),
        *((96, 96), (97, 200), (192, 193), (193, 577), (577, 193), (50, 40), (427, 640), (900, 37)),
    ],
)
def test_pixels_are_pillow_s_own(height: int, width: int, size: int) -> None:
    rng = np.random.default_rng(height * 1000 + width)
    for picture in (
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        rng.choice(np.array([0, 255], np.uint8), (height, width, 3)),
    ):
        expected = to_pixels(Image.fromarray(picture), size)
        np.testing.assert_array_equal(squashed(picture, size), expected)


def test_random_sizes_and_even_colours() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        size = int(rng.integers(8, 70))
        height, width = (int(2 ** rng.uniform(0, 9)) for _ in range(2))
        colours = 1 + int(rng.integers(4))
        palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
        picture = palette[rng.integers(0, colours, (height, width))]
        expected = to_pixels(Image.fromarray(picture), size)
        np.testing.assert_array_equal(squashed(picture, size), expected, f"{height} x {width}")


def test_pictures_of_a_batch_do_not_mix() -> None:
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (3, 70, 40, 3), dtype=np.uint8)
    together = squash(torch.from_numpy(batch), 24, tall_upright_first=tall_upright_first())
    assert together.dtype == torch.uint8
    assert together.shape == (3, 24, 24, 3)
    for picture, found in zip(batch, together.numpy(), strict=True):
        np.testing.assert_array_equal(found, squashed(picture, 24))


def test_either_order_of_older_and_newer_pillows_is_at_most_a_rounding_apart() -> None:
    rng = np.random.default_rng(0)
    tall = torch.from_numpy(rng.integers(0, 256, (1, 200, 50, 3), dtype=np.uint8))
    newer, older = (squash(tall, 32, tall_upright_first=first).int() for first in (True, False))
    assert (newer - older).abs().max() == 1
    wide = tall.transpose(1, 2)
    newer, older = (squash(wide, 32, tall_upright_first=first) for first in (True, False))
    assert torch.equal(newer, older)
