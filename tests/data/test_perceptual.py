"""Thumbnails and perceptual hashes, beside imagehash's."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autotl.data.perceptual import (
    MAX_BITS,
    hash_pairs,
    make_thumbnails,
    perceptual_hashes,
    transformed,
)


def scenes(n: int, side: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """``(n, side, side, 3)`` pictures of smooth blobs, all different."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 9, 9, 3)).astype(np.uint8)
    return np.stack(
        [
            np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC))
            for c in coarse
        ]
    )


def hashes_of(pictures: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return perceptual_hashes(transformed(make_thumbnails(pictures.__getitem__, len(pictures))))


def n_bits(one: np.uint64, other: np.uint64) -> int:
    return int(np.bitwise_count(one ^ other))


@pytest.mark.parametrize("side", [32, 64, 28, 30])
def test_a_thumbnail_is_the_mean_of_what_it_covers(side: int) -> None:
    pictures = scenes(3, side)
    thumbnails = make_thumbnails(pictures.__getitem__, 3)
    grey = pictures @ np.array([0.299, 0.587, 0.114])
    fine = grey.repeat(32, axis=1).repeat(32, axis=2)  # each pixel in 32 x 32 parts
    expected = fine.reshape(3, 32, side, 32, side).mean(axis=(2, 4))
    assert np.abs(thumbnails - expected).max() <= 0.51


def test_many_thumbnails_come_in_order() -> None:
    levels = (np.arange(1100) % 256).astype(np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], (1100, 8, 8, 3))
    thumbnails = make_thumbnails(pictures.__getitem__, 1100)
    np.testing.assert_array_equal(thumbnails[:, 5, 7], levels)


def test_the_hash_is_that_of_imagehash() -> None:
    pictures = scenes(20)
    for picture, (ours, mirrored) in zip(pictures, hashes_of(pictures), strict=True):
        image = Image.fromarray(picture)
        for shown, found in (
            (image, ours),
            (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), mirrored),
        ):
            bits = imagehash.phash(shown).hash.ravel()
            reference = np.packbits(bits).view(">u8").astype(np.uint64)[0]
            assert n_bits(found, reference) <= 6  # it shrinks with another filter


def test_the_mirrored_hash_is_the_hash_of_the_mirrored_picture() -> None:
    pictures = scenes(10)
    hashes, mirrored = hashes_of(pictures), hashes_of(pictures[:, :, ::-1])
    assert max(n_bits(a, b) for a, b in zip(hashes[:, 1], mirrored[:, 0], strict=True)) <= 1


def test_different_pictures_have_different_hashes() -> None:
    hashes = hashes_of(scenes(50))[:, 0]
    least = min(n_bits(hashes[i], hashes[j]) for i in range(50) for j in range(i))
    assert least > MAX_BITS


def flipped(code: np.uint64, bits: list[int]) -> np.uint64:
    return np.uint64(int(code) ^ sum(1 << bit for bit in bits))


def test_hashes_that_differ_in_three_bits_are_always_found() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**63, (400, 2), dtype=np.uint64)
    planted = codes[:100].copy()
    for row in range(100):
        planted[row, 0] = flipped(codes[row, 0], rng.choice(64, 3, replace=False).tolist())
        planted[row, 1] = rng.integers(0, 2**63, dtype=np.uint64)
    pairs, mirrored = hash_pairs(np.concatenate([codes, planted]))
    found = {(int(a), int(b)) for (a, b), m in zip(pairs, mirrored, strict=True) if not m}
    assert found >= {(row, 400 + row) for row in range(100)}
    assert len(found) == 100  # random hashes are never near


def test_a_mirror_image_is_found_and_said_to_be_one() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**63, (50, 2), dtype=np.uint64)
    codes[7] = codes[31][::-1]
    pairs, mirrored = hash_pairs(codes)
    assert pairs.tolist() == [[7, 31]]
    assert mirrored.tolist() == [True]


def test_a_picture_is_no_pair_with_its_own_mirror_image() -> None:
    symmetric = np.full((1, 2), 12345, dtype=np.uint64)
    assert len(hash_pairs(symmetric)[0]) == 0


def test_equal_hashes_make_a_chain_and_not_all_pairs() -> None:
    n = 3000
    pairs, mirrored = hash_pairs(np.tile(np.array([[5, 9]], dtype=np.uint64), (n, 1)))
    assert len(pairs) < 20 * n
    direct = pairs[~mirrored]
    assert set(direct.ravel().tolist()) == set(range(n))


def test_no_pictures() -> None:
    pairs, mirrored = hash_pairs(np.empty((0, 2), dtype=np.uint64))
    assert pairs.shape == (0, 2)
    assert len(mirrored) == 0
