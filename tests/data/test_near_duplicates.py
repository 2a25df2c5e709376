"""One picture in several versions is linked, different pictures aren't."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from autotl.data import near_duplicates, to_pixels

N = 120


def scene(seed: int) -> Image.Image:
    """A picture of 120 x 90 pixels: coloured blobs and a few shapes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, r = (int(v) for v in rng.integers((0, 0, 6), (120, 90, 25)))
        draw.ellipse((x, y, x + r, y + r), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


def saved(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content)


VERSIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: saved(image, 40),
    "half the size": lambda image: image.resize((60, 45)),
    "twice the size": lambda image: image.resize((240, 180)),
    "mirrored": ImageOps.mirror,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.75),
}
CROPS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": lambda image: image.crop((8, 2, 118, 82)),
    "cropped and mirrored": lambda image: ImageOps.mirror(image.crop((4, 4, 112, 88))),
}


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    return [scene(seed) for seed in range(N)]


def pixels_of(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([to_pixels(image, 64) for image in images])


def found_in(
    pixels: NDArray[np.uint8], features: NDArray[np.float32] | None = None
) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in near_duplicates(pixels.__getitem__, len(pixels), features)}


def test_different_pictures_are_not_linked(originals: list[Image.Image]) -> None:
    features = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
    assert found_in(pixels_of(originals), features) == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_linked_to_its_original(originals: list[Image.Image], version: str) -> None:
    changed = [VERSIONS[version](image) for image in originals[:40]]
    found = found_in(pixels_of(originals + changed))
    expected = {(i, N + i) for i in range(40)}
    assert len(found & expected) >= 39
    assert found <= expected


@pytest.mark.parametrize("version", CROPS)
def test_a_crop_is_linked_where_the_features_bring_it_up(
    originals: list[Image.Image], version: str
) -> None:
    changed = [CROPS[version](image) for image in originals[:40]]
    pixels = pixels_of(originals + changed)
    expected = {(i, N + i) for i in range(40)}
    features = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
    features = np.concatenate([features, features[:40] + 0.01])
    found = found_in(pixels, features)
    assert len(found & expected) >= 36
    assert found <= expected
    assert len(found_in(pixels)) < 10


def test_blocks_of_pictures_change_nothing(
    originals: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("autotl.data.near_duplicates")
    size = (N, len(module._NATURAL))
    coefficients = np.random.default_rng(0).normal(3, 2, size).astype(np.float32)
    chosen = np.arange(0, N, 2)
    whole = module.Agreement.of(coefficients, chosen, 0)
    alone = module.Agreement.of(coefficients[chosen], np.arange(len(chosen)), 0)
    monkeypatch.setattr(module, "_BLOCK", 7)
    parts = module.Agreement.of(coefficients, chosen, 0)
    for other in (alone, parts):
        np.testing.assert_allclose(other.mean, whole.mean, rtol=1e-6)
        np.testing.assert_allclose(other.scale, whole.scale, rtol=1e-6)
        assert other.chance == pytest.approx(whole.chance)
    changed = [VERSIONS["saved again"](image) for image in originals[:40]]
    assert len(found_in(pixels_of(originals + changed))) >= 39


def test_features_alone_link_nothing(originals: list[Image.Image]) -> None:
    same = np.tile(np.random.default_rng(0).normal(size=(N // 2, 8)), (2, 1)).astype(np.float32)
    assert found_in(pixels_of(originals), same) == set()


def test_plain_pictures_are_not_linked() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(40, 200, (60, 1, 1, 1))
    shades = np.stack([np.asarray(scene(i).resize((64, 64)), dtype=float) / 25 for i in range(6)])
    plain = np.clip(rng.normal(levels + shades.repeat(10, axis=0), 0.5), 0, 255).astype(np.uint8)
    features = np.zeros((60, 4), dtype=np.float32)
    features[:, 0] = np.arange(60) % 2
    assert found_in(plain, features) == set()


def test_strokes_of_one_kind_are_not_linked() -> None:
    """Unless they are the same to a pixel: not where a window of one is like the other."""
    rng = np.random.default_rng(0)
    ends = np.stack([rng.integers(*bounds, 60) for bounds in ((28, 37), (8, 13), (51, 56))], axis=1)
    drawn = []
    for x, top, bottom in ends.tolist():
        image = Image.new("L", (64, 64), 255)
        ImageDraw.Draw(image).line((x, top, x + 2, bottom), 0, 3)
        drawn.append(image)
    features = rng.normal(size=(10, 8)).astype(np.float32).repeat(6, axis=0)
    for one, other in found_in(pixels_of(drawn), features):
        assert np.abs(ends[one] - ends[other]).max() <= 1


def test_what_all_pictures_have_in_common_links_none() -> None:
    """A strong common form, as of X-rays, with details of their own."""
    common = np.asarray(scene(1000).resize((64, 64)), dtype=float)
    rng = np.random.default_rng(0)
    detail = np.stack(
        [
            np.asarray(Image.fromarray(c).resize((64, 64), Image.Resampling.BICUBIC), dtype=float)
            for c in rng.integers(0, 256, (150, 16, 16, 3)).astype(np.uint8)
        ]
    )
    pixels = (0.85 * common + 0.15 * detail).astype(np.uint8)
    assert np.corrcoef(pixels[0].ravel(), pixels[1].ravel())[0, 1] > 0.9
    assert found_in(pixels) == set()
    assert len(found_in(np.concatenate([pixels, pixels[:30] // 2]))) >= 26


def test_many_copies_are_connected(originals: list[Image.Image]) -> None:
    from autotl.data import duplicate_groups

    copies = [saved(image, q) for image in originals[:20] for q in (50, 60, 70, 80, 90)]
    pixels = pixels_of(originals + copies)
    links = near_duplicates(pixels.__getitem__, len(pixels))
    groups = duplicate_groups(
        [bytes([i % 256, i // 256, 1]) for i in range(len(pixels))], links=links
    )
    for i in range(20):
        assert len({groups[i], *groups[N + 5 * i : N + 5 * i + 5]}) == 1
    assert len(set(groups.tolist())) == N


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_pictures(n: int) -> None:
    pixels = pixels_of([scene(0)] * 2)[:n]
    assert found_in(pixels, np.ones((n, 3), dtype=np.float32)) == ({(0, 1)} if n == 2 else set())
