"""How alike two data sets are, by their profiles: near ones are likely to want the same settings.

Each profile is a few coordinates in units of their own: counts and pixels as powers of ten,
shares and accuracies as they are, so that a step of 1 is a factor of ten or all that is possible.
The distance is the root mean square of the differences; nothing in it is fitted. The idea is that
of meta-features (Brazdil et al. 2003, doi 10.1023/A:1021713901879; Feurer et al. 2015,
doi 10.1609/aaai.v29i1.9354), here with those that a pretrained network measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autotl.analysis.similarity import similarity_of

_ACCURACIES = ("k_nn_accuracy", "centroid_accuracy")
_SAME_NETWORK = ("n_parameters", "num_stages", "image_size")


def profile_distance(first: Mapping[str, Any], second: Mapping[str, Any]) -> float | None:
    """The distance of two profiles, 0 for the same data set; symmetric.

    Seven coordinates count alike: log10 of the samples, of the classes, of the imbalance and of
    the median picture's side; the share of grey pictures; and, as means over the backbones that
    both profiles know, the similarity to the source domain at every stage, and how well the frozen
    features tell the classes apart (k-NN and nearest centroid, 0 for chance and 1 for all right).
    What one side doesn't know is left out.

    Args:
        first: a profile as plain values, see
            :meth:`~autotl.analysis.profile.DatasetProfile.as_json`, or as read from its file.
        second: likewise.

    Returns:
        At least 0; None if no backbone is in both.

    Raises:
        KeyError, TypeError, ValueError: if a profile lacks its parts or they aren't numbers.
    """
    if first["fingerprint"] == second["fingerprint"]:
        return 0.0
    shared = [
        (one, second["backbones"][name])
        for name, one in first["backbones"].items()
        if name in second["backbones"]
        and all(one[key] == second["backbones"][name][key] for key in _SAME_NETWORK)
    ]
    if not shared:
        return None
    n_classes = [len(profile["size"]["samples_per_class"]) for profile in (first, second)]
    one, other = _of_size(first["size"]), _of_size(second["size"])
    squares = [_square([a], [b]) for a, b in zip(one, other, strict=True)]
    squares.append(
        _mean(_square(_of_domain(a["similarity"]), _of_domain(b["similarity"])) for a, b in shared)
    )
    squares.append(
        _mean(
            _square(
                _of_features(a["transferability"], n_classes[0]),
                _of_features(b["transferability"], n_classes[1]),
            )
            for a, b in shared
        )
    )
    return math.sqrt(_mean(squares) or 0.0)


def _of_size(size: Mapping[str, Any]) -> list[float]:
    width, height = size["median_size"]
    return [
        math.log10(size["n_samples"]),
        math.log10(len(size["samples_per_class"])),
        math.log10(size["imbalance"]),
        math.log10(width * height) / 2.0,
        float(size["grey_share"]),
    ]


def _of_domain(similarity: Mapping[str, Any]) -> list[float | None]:
    """Similarities in [0, 1] at every stage; without BatchNorm the one that there is, or None."""
    stages = [
        None if distance is None or math.isnan(distance) else similarity_of(distance)
        for distance in similarity["per_stage"]
    ]
    return stages or [similarity["value"]]


def _of_features(transferability: Mapping[str, Any], n_classes: int) -> list[float | None]:
    """Accuracies as shares of what lies above chance."""
    chance = 1.0 / n_classes
    found = [transferability["scores"].get(name) for name in _ACCURACIES]
    return [None if score is None else (score - chance) / (1.0 - chance) for score in found]


def _square(first: Sequence[float | None], second: Sequence[float | None]) -> float | None:
    """The mean square of the differences that are known; None without any."""
    if len(first) != len(second):
        return None
    return _mean(
        None if a is None or b is None else (a - b) ** 2 for a, b in zip(first, second, strict=True)
    )


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
