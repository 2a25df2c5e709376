"""Distances of known data sets, beside which the distance of a new one can be read.

Measured in ``studies/analyzer`` as new data sets are
(:func:`autotl.analysis.similarity.channel_similarity`); here each goes by what its pictures show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotl.backbones.zoo import EMBEDDED
from autotl.naming import BackboneName


@dataclass(frozen=True)
class Landmarks:
    """Distances of known data sets from one network's source domain.

    Attributes:
        measured_with: the network, in words.
        distances: by what the pictures show, ascending.
        weights_hash: of the network, where they may change; empty otherwise.
    """

    measured_with: str
    distances: Mapping[str, float]
    weights_hash: str = ""


IMAGENET = Landmarks(
    "MobileNetV2 with torchvision's ImageNet weights at 112 px",
    {
        "clothing": 0.079,
        "weather": 0.115,
        "household waste": 0.137,
        "hand signs": 0.265,
        "blood cells": 0.377,
        "spectrograms": 0.409,
        "chest X-rays": 0.423,
        "handwritten letters": 0.553,
    },
)
"""1,000 pictures each of clothing10, weather4, trashnet6, sign_digits10, bccd_cells3,
fsdd_spectrograms10, pneumonia_xray2, omniglot136 (``--part domains``)."""

DRAWN = Landmarks(
    "the embedded backbone, whose source domain is drawn images",
    {
        "clothing": 0.064,
        "household waste": 0.084,
        "weather": 0.092,
        "hand signs": 0.170,
        "spectrograms": 0.303,
        "chest X-rays": 0.330,
        "blood cells": 0.378,
        "handwritten letters": 0.423,
    },
    weights_hash="7bddcdd193081d28",
)
"""The same pictures at 64 px, by the study's ``pictures_of`` and ``moments_of``. Other embedded
weights need other figures."""


def landmarks_for(backbone: str) -> Landmarks:
    """Those to read a backbone's distance by: its own if it is embedded, else ImageNet's.

    For other source domains than ImageNet (and other architectures, a little) they are only a
    rough guide; the three ImageNet networks of the study differ by up to a third.
    """
    return DRAWN if BackboneName.of(backbone).base == EMBEDDED else IMAGENET
