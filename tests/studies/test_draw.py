"""The drawn images: same seed, same pixels; instances differ, classes differ more."""

import numpy as np
import pytest

from studies.pretrain_embedded.draw import FAMILIES, draw_class

SIZE = 32


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_shape_and_dtype(family: str) -> None:
    images = draw_class(family, 0, 2, size=SIZE)
    assert images.shape == (2, SIZE, SIZE, 3)
    assert images.dtype == np.uint8


def test_same_seed_gives_same_pixels(family: str) -> None:
    np.testing.assert_array_equal(
        draw_class(family, 3, 2, seed=5, size=SIZE), draw_class(family, 3, 2, seed=5, size=SIZE)
    )


def test_an_instance_does_not_depend_on_what_was_drawn_before(family: str) -> None:
    np.testing.assert_array_equal(
        draw_class(family, 1, 3, size=SIZE)[2:], draw_class(family, 1, 1, first=2, size=SIZE)
    )


def test_global_random_state_is_neither_used_nor_changed(family: str) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_class(family, 0, 1, size=SIZE)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_seeds_instances_and_classes_differ(family: str) -> None:
    first, second = draw_class(family, 0, 2, size=SIZE)
    other_class = draw_class(family, 1, 1, size=SIZE)[0]
    other_seed = draw_class(family, 0, 1, seed=1, size=SIZE)[0]
    for other in (second, other_class, other_seed):
        assert (first != other).mean() > 0.05


def test_no_image_is_empty(family: str) -> None:
    for class_index in range(6):
        for image in draw_class(family, class_index, 3, size=SIZE):
            assert image.astype(float).std() > 1.0


def test_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"family must be one of .*'clouds'"):
        draw_class("clouds", 0, 1)


def test_two_classes_can_be_told_apart_by_their_strokes() -> None:
    """Mean clean shape: instances of a glyph resemble their own class more than another one."""

    def ink(images: np.ndarray) -> np.ndarray:
        grey = images.astype(np.float32).mean(3).reshape(len(images), -1)
        grey -= np.median(grey, axis=1, keepdims=True)
        grey = np.abs(grey)
        return grey / np.linalg.norm(grey, axis=1, keepdims=True)

    own = [ink(draw_class("glyphs", c, 24, size=SIZE)) for c in (0, 17)]
    means = [part[:12].mean(0) for part in own]
    for c in (0, 1):
        assert (own[c][12:] @ means[c]).mean() > (own[c][12:] @ means[1 - c]).mean()
