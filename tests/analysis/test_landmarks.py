"""Distances of known data sets."""

from __future__ import annotations

import pytest

from autotl.analysis.landmarks import DRAWN, IMAGENET, landmarks_for
from autotl.backbones.zoo import open_backbone


def test_a_backbone_is_read_by_its_own_landmarks() -> None:
    assert landmarks_for("embedded") is DRAWN
    assert landmarks_for("mobilenetv2_100@/w/file.safetensors") is IMAGENET


@pytest.mark.parametrize("landmarks", [DRAWN, IMAGENET])
def test_they_ascend_over_the_same_data_sets(landmarks) -> None:  # type: ignore[no-untyped-def]
    distances = list(landmarks.distances.values())
    assert distances == sorted(distances)
    assert landmarks.distances.keys() == IMAGENET.distances.keys()


def test_those_of_the_embedded_backbone_are_of_its_present_weights() -> None:
    assert open_backbone("embedded").weights_hash == DRAWN.weights_hash
