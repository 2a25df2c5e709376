"""A model that ends at an earlier stage predicts sooner; cost weighs training and predicting."""

import dataclasses
import math

import pytest

from autotl.recommend.cost import Cost, measured_cost, prediction_seconds

FORWARD_TO = (0.0, 1e-3, 2e-3, 3e-3, 5e-3, 9e-3)


@pytest.fixture
def profile(labels, make_profile):
    profile = make_profile(labels)
    backbone = profile.backbones["embedded"]
    backbone = dataclasses.replace(
        backbone, speed=dataclasses.replace(backbone.speed, forward_to=FORWARD_TO)
    )
    return dataclasses.replace(profile, backbones={"embedded": backbone})


@pytest.mark.parametrize(
    ("strategy", "changes", "seconds"),
    [
        ("finetune", {}, 9e-3),
        ("bottleneck", {"layers": "last_4"}, 9e-3),
        ("bottleneck", {"layers": "second_last"}, 5e-3),
        ("bottleneck", {"layers": "third_last"}, 3e-3),
        ("scratch", {"n_removed": 0}, 9e-3),
        ("scratch", {"n_removed": 2}, 3e-3),
        ("scratch", {"n_removed": 9}, 1e-3),
        ("new_strategy", {}, 9e-3),
    ],
)
def test_a_prediction_ends_where_the_model_does(
    strategy, changes, seconds, labels, make_record, profile
):
    record = make_record(0, strategy, labels, 10, **changes)
    assert prediction_seconds(record, profile) == pytest.approx(seconds)


def test_cost_is_the_geometric_mean_of_both_ratios(labels, make_record, profile):
    slow = measured_cost(make_record(0, "finetune", labels, 10, seconds=40.0), profile)
    layers = {"layers": "third_last"}
    quick = measured_cost(make_record(1, "bottleneck", labels, 10, seconds=10.0, **layers), profile)
    assert quick.by(slow) == pytest.approx(math.sqrt(0.25 / 3))
    assert slow.by(quick) == pytest.approx(math.sqrt(12))


def test_what_is_not_known_does_not_count(labels, make_record, profile):
    known = measured_cost(make_record(0, "finetune", labels, 10, seconds=40.0), profile)
    elsewhere = make_record(1, "finetune", labels, 10, seconds=10.0, backbone="gone")
    assert math.isnan(prediction_seconds(elsewhere, profile))
    assert measured_cost(elsewhere, profile).by(known) == pytest.approx(0.5)
    assert Cost(0.0, math.nan).by(Cost(1.0, 1.0)) == 1.0
