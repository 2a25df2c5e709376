"""Handwritten digits: real scans that come with scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def digits() -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """1,797 scans of handwritten digits by 13 people, 8 x 8 pixels, white on black.

    The test part of UCI's "Optical Recognition of Handwritten Digits": bitmaps of 32 x 32 pixels,
    of which every 4 x 4 block became one value, the number of its white pixels, 0 to 16; stretched
    here to a picture's 0 to 255.

    Returns:
        ``X (1797, 8, 8) uint8`` and ``y (1797,)``, the classes' names ``"0"`` to ``"9"``.

    References:
        E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
        Repository (1998), https://doi.org/10.24432/C50P49; licence CC BY 4.0.
    """
    from sklearn.datasets import load_digits  # takes a second: not at import

    scans = load_digits()
    return np.rint(scans.images * (255 / 16)).astype(np.uint8), scans.target.astype(np.str_)
