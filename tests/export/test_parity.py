from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.errors import InputError
from autotl.export.parity import TOLERANCE, Picture, check_parity, real_pictures


def test_the_pictures_are_real_and_of_many_sizes() -> None:
    pictures = real_pictures()
    assert len(pictures) >= 30
    assert len({picture.shape for picture in pictures}) > 20
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert picture.std() > 5


PICTURES: list[Picture] = [np.full((4 + i % 2, 5, 3), i, np.uint8) for i in range(6)]
EXPECTED = np.array([[0.7, 0.3]] * 5 + [[0.5, 0.5]], dtype=np.float32)


def model(changes: dict[int, tuple[float, float]]) -> object:
    """A model that knows a picture by its colour."""

    def run(batch: Picture) -> NDArray[np.float32]:
        rows = [EXPECTED[i] + np.array(changes.get(i, (0, 0))) for i in batch[:, 0, 0, 0]]
        return np.array(rows, dtype=np.float32)

    return run


def test_the_greatest_difference_is_told() -> None:
    run = model({2: (-4e-4, 4e-4), 3: (1e-4, -1e-4)})
    found = check_parity(run, PICTURES, EXPECTED, "onnx")  # type: ignore[arg-type]
    assert found == pytest.approx(4e-4, rel=0.01)


@pytest.mark.parametrize("value", [2 * TOLERANCE, float("nan"), 0.5])
def test_one_other_probability_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"onnx model differs .* on 1 of 6 pictures"):
        check_parity(model({4: (-value, value)}), PICTURES, EXPECTED, "onnx")  # type: ignore[arg-type]


def test_a_label_may_differ_in_a_tie_only() -> None:
    run = model({5: (-4e-4, 4e-4)})
    check_parity(run, PICTURES, EXPECTED, "onnx")  # type: ignore[arg-type]
    clear = EXPECTED.copy()
    clear[5] = [0.5004, 0.4996]
    with pytest.raises(InputError, match="1 labels"):
        check_parity(run, PICTURES, clear, "onnx")  # type: ignore[arg-type]
