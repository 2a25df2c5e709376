"""Parameters that the strategies train, beside those of the networks that they build."""

from __future__ import annotations

import pytest

from autotl.analysis.capacity import measure_capacity, short_ratio
from autotl.backbones.zoo import Backbone


def test_bottleneck_trains_a_linear_classifier(backbone: Backbone) -> None:
    last, everything = measure_capacity(backbone, 3).bottleneck
    assert last == 3 * (32 + 1)
    assert everything > last


def test_finetune_trains_what_is_not_frozen(backbone: Backbone) -> None:
    found = measure_capacity(backbone, 3).finetune
    assert len(found) == backbone.num_stages + 1
    for depth, count in enumerate(found):
        network = backbone.create(3, pretrained=True).freeze(depth)
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        assert count == trained, depth


def test_scratch_trains_all_that_is_left(backbone: Backbone) -> None:
    from autotl.strategies.fitted import FeatureClassifier

    found = measure_capacity(backbone, 3).scratch
    for n_removed, count in enumerate(found):
        network = backbone.create(3, pretrained=False)
        depth = backbone.num_stages - n_removed
        built = network
        if n_removed:
            channels = network.num_channels(depth, backbone.image_size)
            built = FeatureClassifier(network, (depth,), channels, 3, 0)  # type: ignore[assignment]
        assert count == sum(p.numel() for p in built.parameters() if p.requires_grad)


def test_ratios(backbone: Backbone) -> None:
    capacity = measure_capacity(backbone, 3)
    ratios = capacity.samples_per_parameter(99)
    assert ratios["bottleneck"][0] == pytest.approx(99 / (3 * 33))
    assert len(ratios["finetune"]) == backbone.num_stages + 1
    assert len(ratios["scratch"]) == 3


@pytest.mark.parametrize(
    ("value", "told"), [(4.92, "4.9"), (2.0, "2"), (0.000065, "0.000065"), (12345.0, "12000")]
)
def test_ratios_are_told_without_exponents(value: float, told: str) -> None:
    assert short_ratio(value) == told
