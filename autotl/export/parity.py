"""Whether an exported model says what the trained one says, seen on real pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from autotl.datasets import digits
from autotl.errors import InputError

TOLERANCE = 1e-3
"""Probabilities may differ by so much."""
_TIE = 1e-5
"""Where the two highest probabilities are nearer than this, either label is right."""
_N_CROPS = 24
_N_DIGITS = 6

Picture = NDArray[np.uint8]
Run = Callable[[Picture], NDArray[np.float32]]
"""Probabilities ``(n, n_classes)`` of pictures ``(n, h, w, 3)``."""


def real_pictures() -> list[Picture]:
    """Pictures for a check where no others are given: photographs, crops of them, and scans.

    The two photographs and the handwritten digits come with scikit-learn. The crops have all
    kinds of sizes and shapes, from 8 x 8 pixels on.

    Returns:
        Arrays ``(h, w, 3) uint8``.
    """
    from sklearn.datasets import load_sample_images

    photographs = [np.asarray(image, dtype=np.uint8) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    crops = []
    for index in range(_N_CROPS):
        photograph = photographs[index % len(photographs)]
        height, width = (int(rng.integers(8, side)) for side in photograph.shape[:2])
        top = int(rng.integers(photograph.shape[0] - height))
        left = int(rng.integers(photograph.shape[1] - width))
        crops.append(photograph[top : top + height, left : left + width])
    scans = [np.repeat(scan[:, :, None], 3, axis=2) for scan in digits()[0][:_N_DIGITS]]
    return [*photographs, *crops, *scans]


def check_parity(
    run: Run, pictures: Sequence[Picture], expected: NDArray[np.float32], what: str
) -> float:
    """Refuse an exported model that differs from the trained one.

    Args:
        run: the exported model; pictures of one size are given to it together.
        pictures: each ``(h, w, 3) uint8``, of any size.
        expected: ``(n, n_classes)``, what the trained model says of them.
        what: is checked, for the message.

    Returns:
        The greatest difference of a probability.

    Raises:
        InputError: if a probability differs by more than :data:`TOLERANCE`, or a label differs.
    """
    found = np.empty_like(expected)
    for rows in _of_one_size(pictures):
        found[rows] = run(np.stack([pictures[row] for row in rows]))
    differences = np.abs(found - expected).max(axis=1)
    top = np.sort(expected, axis=1)
    is_tie = top[:, -1] - top[:, -2] <= _TIE
    is_other = (found.argmax(axis=1) != expected.argmax(axis=1)) & ~is_tie
    is_wrong = is_other | ~(differences <= TOLERANCE)  # NaN is wrong
    if is_wrong.any():
        raise InputError(
            f"the exported {what} model differs from the trained one on {int(is_wrong.sum())} of "
            f"{len(pictures)} pictures: probabilities by up to {float(differences.max()):.2g} "
            f"({TOLERANCE:g} is allowed), and {int(is_other.sum())} labels; nothing was written"
        )
    return float(differences.max())


def _of_one_size(pictures: Sequence[Picture]) -> Iterator[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), 32):
            yield rows[start : start + 32]
