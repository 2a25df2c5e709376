"""Windows of thumbnails: found among a few, then refined."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autotl.data.alignment import best_windows, lie_inside, refined, shown_in

SIDE = 32


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """A picture of 400 pixels with details of some size."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (10, 10)).astype(np.uint8)
    return Image.fromarray(coarse).resize((400, 400), Image.Resampling.BICUBIC)


def thumbnail(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((0, 0, 400, 400), (1.0, 0.0, 1.0, 0.0)),
        ((0, 20, 360, 400), (0.9, -0.1, 0.95, 0.05)),
        ((48, 8, 392, 352), (0.86, 0.1, 0.86, -0.1)),
    ],
)
def test_a_window_is_found(
    scene: Image.Image,
    box: tuple[int, int, int, int],
    window: tuple[float, ...],
    mirror: bool,
) -> None:
    part = thumbnail(scene.crop(box))
    shown = part[:, ::-1] if mirror else part
    thumbnails = np.stack([thumbnail(scene), shown])
    one, other = np.array([0]), np.array([1])
    alike, windows, mirrored = best_windows(thumbnails, one, other)
    assert mirrored.tolist() == [mirror]
    assert alike[0] > 0.9
    found = refined(thumbnails[:1], part[None], windows, 16, 2)
    found = refined(thumbnails[:1], part[None], found, 32, 2)
    np.testing.assert_allclose(found[0], window, atol=0.015)
    assert lie_inside(found).all()
    agreed = np.corrcoef(shown_in(thumbnails[:1], found).ravel(), part.ravel())[0, 1]
    assert agreed > 0.99


def test_each_pair_gets_its_own_answer(scene: Image.Image) -> None:
    boxes = [(0, 0, 400, 400), (0, 0, 344, 344), (56, 56, 400, 400)]
    thumbnails = np.stack([thumbnail(scene.crop(box)) for box in boxes])
    wholes, parts = np.array([1, 0, 0]), np.array([2, 2, 1])
    alike, windows, _ = best_windows(thumbnails, wholes, parts)
    assert alike[0] < 0.8
    np.testing.assert_allclose(windows[1], [0.86, 0.14, 0.86, 0.14], atol=0.01)
    np.testing.assert_allclose(windows[2], [0.86, -0.14, 0.86, -0.14], atol=0.01)


def test_brightness_and_contrast_do_not_matter(scene: Image.Image) -> None:
    whole, part = thumbnail(scene), thumbnail(scene.crop((20, 0, 400, 380)))
    start = np.array([[1, 0, 1, 0]], dtype=np.float32)
    plain = refined(whole[None], part[None], start, 32, 3)
    changed = refined(whole[None] * 0.5 + 40, part[None], start, 32, 3)
    np.testing.assert_allclose(plain, changed, atol=2e-3)


def test_windows_over_the_edge_or_too_small_are_refused() -> None:
    windows = np.array(
        [[1, 0, 1, 0], [0.9, 0.2, 1, 0], [0.7, 0, 1, 0], [1, 0, 1.2, 0], [0.9, 0.1, 0.9, -0.1]],
        dtype=np.float32,
    )
    assert lie_inside(windows).tolist() == [True, False, False, False, True]


def test_pictures_without_content_do_no_harm() -> None:
    plain = np.full((2, SIDE, SIDE), 7, dtype=np.float32)
    alike, windows, _ = best_windows(plain, np.array([0]), np.array([1]))
    assert np.isfinite(alike).all()
    assert np.isfinite(refined(plain[:1], plain[1:], windows, 16, 2)).all()
