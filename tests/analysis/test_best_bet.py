"""The bet goes by what tells the classes apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from autotl.analysis.best_bet import best_bet
from autotl.analysis.examination import Transferability
from autotl.analysis.profile import DatasetProfile

MakeProfile = Callable[..., DatasetProfile]


def with_accuracies(profile: DatasetProfile, **accuracies: float) -> DatasetProfile:
    backbones = {
        name: dataclasses.replace(
            backbone,
            transferability=Transferability({"linear_accuracy": accuracies[name]}, 100, 0.03),
        )
        if name in accuracies
        else backbone
        for name, backbone in profile.backbones.items()
    }
    return dataclasses.replace(profile, backbones=backbones)


@pytest.mark.parametrize(("one", "two", "expected"), [(0.5, 0.7, "two"), (0.7, 0.5, "one")])
def test_the_backbone_with_the_better_features(
    make_profile: MakeProfile, one: float, two: float, expected: str
) -> None:
    bet = best_bet(with_accuracies(make_profile("one", "two"), one=one, two=two))
    assert (bet.strategy, bet.backbone) == ("finetune", expected)
    assert "0.70, others' 0.50" in bet.reason


def test_a_backbone_of_which_nothing_is_known_is_passed_over(make_profile: MakeProfile) -> None:
    profile = with_accuracies(make_profile("one", "two"), one=float("nan"), two=0.2)
    assert best_bet(profile).backbone == "two"


def test_nothing_known_is_told(make_profile: MakeProfile) -> None:
    bet = best_bet(make_profile("one", "two"))
    assert bet.backbone == "one"
    assert "nothing is known" in bet.reason
