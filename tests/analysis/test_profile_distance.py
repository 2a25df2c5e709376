from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from autotl.analysis.examination import Transferability
from autotl.analysis.profile import DatasetProfile
from autotl.analysis.profile_distance import profile_distance
from autotl.analysis.similarity import CHANNELS

MakeProfile = Callable[..., DatasetProfile]


def values(profile: DatasetProfile, fingerprint: str = "", **accuracies: float) -> dict[str, Any]:
    """A profile as it is read from its file, with accuracies of every backbone's features."""
    backbones = {
        name: dataclasses.replace(backbone, transferability=Transferability(accuracies))
        for name, backbone in profile.backbones.items()
    }
    made = dataclasses.replace(profile, backbones=backbones, fingerprint=fingerprint or str(id({})))
    return dict(json.loads(json.dumps(made.as_json())))


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    found = profile_distance({**one, "fingerprint": "a"}, {**other, "fingerprint": "b"})
    assert found is not None
    assert profile_distance({**other, "fingerprint": "b"}, {**one, "fingerprint": "a"}) == found
    return found


def test_the_same_data_set_is_at_distance_0(make_profile: MakeProfile) -> None:
    one, other = values(make_profile(), "x"), values(make_profile("other", n_samples=9), "x")
    assert profile_distance(one, other) == 0.0


def test_equal_profiles_of_different_data_are_at_distance_0(make_profile: MakeProfile) -> None:
    assert distance(values(make_profile()), values(make_profile())) == 0.0


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"n_samples": 900}, 1.0),
        ({"n_samples": 9}, 1.0),
        ({"imbalance": 10.0}, 1.0),
        ({"grey_share": 0.5}, 0.5),
        ({"median_size": (400, 300)}, 1.0),
        ({"median_size": (30, 40)}, 0.0),
        ({"samples_per_class": (3,) * 30, "imbalance": 1.0}, 1.0),
    ],
)
def test_a_coordinate_is_a_seventh_and_a_factor_of_ten_or_all_that_is_possible_is_1(
    change: dict[str, Any], difference: float, make_profile: MakeProfile
) -> None:
    changed = values(make_profile(**change), k_nn_accuracy=1.0)
    assert distance(values(make_profile(), k_nn_accuracy=1.0), changed) == pytest.approx(
        difference / math.sqrt(7)
    )


def test_the_domain_counts_at_every_stage(make_profile: MakeProfile) -> None:
    one, other = (values(make_profile(), k_nn_accuracy=0.5) for _ in range(2))
    one["backbones"]["embedded"]["similarity"]["per_stage"] = [0.0] * 5
    other["backbones"]["embedded"]["similarity"]["per_stage"] = [CHANNELS.half, 0.0, 0.0, 0.0, 0.0]
    assert distance(one, other) == pytest.approx(math.sqrt(0.5**2 / 5 / 7))
    other["backbones"]["embedded"]["similarity"]["per_stage"][1:] = [None, 0.0, 0.0, 0.0]
    assert distance(one, other) == pytest.approx(math.sqrt(0.5**2 / 4 / 7))


def test_accuracies_are_measured_from_chance(make_profile: MakeProfile) -> None:
    """At chance level two and ten classes' features are equally bad."""
    two = make_profile(samples_per_class=(45, 45))
    ten = make_profile(samples_per_class=(9,) * 10)
    same_classes = math.log10(5) ** 2 / 7
    found = distance(values(two, k_nn_accuracy=0.5), values(ten, k_nn_accuracy=0.1))
    assert found == pytest.approx(math.sqrt(same_classes))
    found = distance(values(two, k_nn_accuracy=1.0), values(ten, k_nn_accuracy=0.1))
    assert found == pytest.approx(math.sqrt(same_classes + 1 / 7))


def test_what_one_side_does_not_know_is_left_out(make_profile: MakeProfile) -> None:
    known = values(make_profile(), k_nn_accuracy=0.9)
    unknown = values(make_profile(similarity=None, n_samples=900))
    assert distance(known, unknown) == pytest.approx(1.0 / math.sqrt(5))


def test_several_backbones_count_as_one(make_profile: MakeProfile) -> None:
    one, other = (values(make_profile("a", "b"), k_nn_accuracy=0.5) for _ in range(2))
    other["backbones"]["a"]["transferability"]["scores"]["k_nn_accuracy"] = 1.0
    other["backbones"]["b"]["transferability"]["scores"]["k_nn_accuracy"] = 1.0
    only = {**other, "backbones": {"a": other["backbones"]["a"]}}
    assert distance(one, other) == pytest.approx(distance(one, only))
    assert distance(one, other) == pytest.approx(0.75 / math.sqrt(7))


def test_without_a_backbone_in_both_there_is_no_distance(make_profile: MakeProfile) -> None:
    one = values(make_profile("a"), "x")
    assert profile_distance(one, values(make_profile("b"), "y")) is None
    assert profile_distance(one, values(make_profile("a", n_parameters=9), "y")) is None


@pytest.mark.parametrize("damage", ["size", "backbones", "fingerprint"])
def test_a_profile_without_its_parts_is_no_profile(damage: str, make_profile: MakeProfile) -> None:
    broken = values(make_profile())
    del broken[damage]
    with pytest.raises(KeyError):
        profile_distance(values(make_profile(), "x"), broken)
