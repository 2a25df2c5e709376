"""Whether the samples suffice: dimension, learning curve, and parameters to be trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.capacity import Capacity
from autotl.analysis.intrinsic import both_dimensions
from autotl.analysis.learning_curve import LearningCurve, measure_learning_curve
from autotl.analysis.moments import Features, Labels


@dataclass(frozen=True)
class Sufficiency:
    """How far the samples go.

    Attributes:
        backbone: whose features were measured.
        num_features: how many these are.
        two_nn: their intrinsic dimension on the smallest scale; None: unknown.
        levina_bickel: the same on a larger scale; None: unknown.
        learning_curve: of a linear classifier on these features.
        capacity: parameters that each strategy would train, by backbone.
    """

    backbone: str
    num_features: int
    two_nn: float | None
    levina_bickel: float | None
    learning_curve: LearningCurve
    capacity: Mapping[str, Capacity]

    @property
    def dimensions(self) -> str:
        """The intrinsic dimension in words; empty where it is unknown."""
        known = {f"{d:.0f}" for d in (self.two_nn, self.levina_bickel) if d is not None}
        return " or ".join(sorted(known, key=int))


def measure_sufficiency(
    backbone: str,
    features: Features,
    labels: Labels,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    capacity: Mapping[str, Capacity],
    seed: int = 0,
    pictures: NDArray[np.int64] | None = None,
    n_train: int | None = None,
) -> Sufficiency:
    """Measure features of the development samples.

    Args:
        backbone: whose features.
        features: ``(n, d)``; of features that aren't finite nothing is known.
        labels: ``(n,) int64``.
        train: rows to learn from; the dimension is that of these.
        validation: rows to be right about.
        capacity: parameters by backbone, passed on.
        seed: of what is drawn.
        pictures: ``(n,) int64``, equal for samples that show the same picture, of which one counts
            for the dimension: copies next to each other would make it too small. None: all differ.
        n_train: samples to learn from that there are, ``train`` being a sample of them; None: these
            are all.
    """
    if not np.isfinite(features).all():
        unknown = LearningCurve(n_train=len(train), reason="the features aren't finite")
        return Sufficiency(backbone, int(features.shape[1]), None, None, unknown, capacity)
    distinct = (
        train if pictures is None else train[np.unique(pictures[train], return_index=True)[1]]
    )
    smallest_scale, larger_scale = both_dimensions(features[distinct], seed)
    return Sufficiency(
        backbone=backbone,
        num_features=int(features.shape[1]),
        two_nn=_known(smallest_scale),
        levina_bickel=_known(larger_scale),
        learning_curve=measure_learning_curve(features, labels, train, validation, seed, n_train),
        capacity=capacity,
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
