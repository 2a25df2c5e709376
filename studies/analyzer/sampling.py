"""Does the distance from few pictures agree with that from many, and do its intervals cover?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from autotl.analysis.channels import LayerMoments
from autotl.analysis.similarity import channel_similarity, similarity_of


def chosen(layers: list[LayerMoments], rows: np.ndarray) -> list[LayerMoments]:
    """The moments of some of the pictures."""
    return [replace(one, mean=one.mean[rows], square=one.square[rows]) for one in layers]


def plain_distance(layers: list[LayerMoments]) -> float:
    """The distance of a whole population of pictures, without any correction."""
    found = []
    for one in layers:
        mean = one.mean.mean(axis=0, dtype=np.float64)
        variance = one.square.mean(axis=0, dtype=np.float64) - mean**2 + one.eps
        source = one.source_variance + one.eps
        found.append(((mean**2 + (np.sqrt(variance) - np.sqrt(source)) ** 2) / source).mean())
    return float(np.mean(found))


def sample(
    layers: list[LayerMoments], num_stages: int, sizes: tuple[int, ...], n_draws: int
) -> dict[str, Any]:
    """Draws pictures with replacement from a population of pictures, whose distance is known.

    Args:
        layers: of the population.
        num_stages: of the backbone.
        sizes: pictures per draw.
        n_draws: of each size.

    Returns:
        The population's distance; per size the mean of the plain and of the corrected distance, and
        the share of intervals that hold the population's.
    """
    rng = np.random.default_rng(0)
    n = len(layers[0].mean)
    whole = plain_distance(layers)
    found: dict[str, Any] = {"n": n, "distance": round(whole, 4)}
    for size in sizes:
        plain, corrected, held = [], [], 0
        for _ in range(n_draws):
            drawn = chosen(layers, rng.choice(n, size))
            similarity = channel_similarity(drawn, num_stages)
            assert similarity.distance is not None
            assert similarity.interval is not None
            plain.append(plain_distance(drawn))
            corrected.append(similarity.distance)
            held += similarity.interval[0] <= similarity_of(whole) <= similarity.interval[1]
        found[str(size)] = {
            "plain": round(float(np.mean(plain)), 4),
            "corrected": round(float(np.mean(corrected)), 4),
            "coverage": round(held / n_draws, 3),
        }
    return found
