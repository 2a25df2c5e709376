"""How large the data set is: samples, classes, pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.metrics import IMBALANCE_FOR_BALANCED_ACCURACY

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class SizeProfile:
    """Size of the development samples (those that may be learnt from).

    Attributes:
        n_samples: development samples.
        n_test: locked test samples.
        samples_per_class: in the order of the classes.
        imbalance: samples of the largest class by those of the smallest.
        median_size: median width and height of the original pictures, in pixels.
        size_range: smallest and largest side that occurs, in pixels.
        grey_share: share of pictures without colour, in [0, 1].
        n_duplicates: samples whose pixels another sample has too.
        n_distinct: pictures that differ by more than being saved again, resized, mirrored or
            cropped: the number of samples that counts; None: unknown.
        side_quantiles: of the shorter side of the original pictures, in pixels, at
            :data:`QUANTILES`.
        aspect_quantiles: of their width by their height.
    """

    n_samples: int
    n_test: int
    samples_per_class: tuple[int, ...]
    imbalance: float
    median_size: tuple[int, int]
    size_range: tuple[int, int]
    grey_share: float
    n_duplicates: int
    n_distinct: int | None = None
    side_quantiles: tuple[int, ...] = ()
    aspect_quantiles: tuple[float, ...] = ()

    @property
    def n_classes(self) -> int:
        return len(self.samples_per_class)

    @property
    def is_imbalanced(self) -> bool:
        """Whether the classes differ enough to weigh them, and to judge by balanced accuracy."""
        return self.imbalance >= IMBALANCE_FOR_BALANCED_ACCURACY


def measure_size(
    labels: NDArray[np.int64],
    n_classes: int,
    original_sizes: NDArray[np.int32],
    is_grey: NDArray[np.bool_],
    digests: NDArray[np.bytes_],
    n_test: int,
    pictures: NDArray[np.int64] | None = None,
) -> SizeProfile:
    """The size of development samples.

    Args:
        labels: ``(n_samples,)``.
        n_classes: number of classes, at least 2.
        original_sizes: ``(n_samples, 2)``, width and height in pixels.
        is_grey: ``(n_samples,)``.
        digests: ``(n_samples,)``, equal for equal pixels.
        n_test: number of locked test samples.
        pictures: ``(n_samples,)``, equal for samples that show the same picture; None: unknown.
    """
    counts = np.bincount(labels, minlength=n_classes)
    width, height = np.median(original_sizes, axis=0)
    _, copies = np.unique(digests, return_counts=True)
    aspects = original_sizes[:, 0] / np.maximum(original_sizes[:, 1], 1)
    return SizeProfile(
        n_samples=len(labels),
        n_test=n_test,
        samples_per_class=tuple(int(count) for count in counts),
        imbalance=float(counts.max() / max(1, counts.min())),
        median_size=(int(width), int(height)),
        size_range=(int(original_sizes.min()), int(original_sizes.max())),
        grey_share=float(is_grey.mean()),
        n_duplicates=int(len(digests) - len(copies)),
        n_distinct=None if pictures is None else len(np.unique(pictures)),
        side_quantiles=tuple(int(s) for s in np.quantile(original_sizes.min(axis=1), QUANTILES)),
        aspect_quantiles=tuple(float(a) for a in np.quantile(aspects, QUANTILES)),
    )
