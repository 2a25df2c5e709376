"""The verdict in a sentence, for every way that trials can turn out."""

import dataclasses

import numpy as np
import pytest

from autotl.analysis.learning_curve import LearningCurve
from autotl.analysis.sufficiency import Sufficiency
from autotl.metrics import METRICS
from autotl.recommend.decision import decide
from autotl.recommend.explain import explain
from autotl.recommend.verdict import verdict

ACCURACY = METRICS["accuracy"]


@pytest.fixture
def judge(labels, make_record, make_profile):
    """The verdict when strategies miss so many of 400 images at so many seconds a trial."""

    def judge(prefer="balanced", gain=None, low=0.01, worth=None, **missed):
        records = [
            make_record(i, name, labels, n_wrong, seconds=seconds, first_wrong=10 * i)
            for i, (name, (n_wrong, seconds)) in enumerate(missed.items())
        ]
        profile = make_profile(labels)
        if gain is not None:
            curve = LearningCurve((50, 100), (0.7, 0.8), 300, gain, (low, gain + 0.02))
            sufficiency = Sufficiency("embedded", 8, None, None, curve, {})
            profile = dataclasses.replace(profile, sufficiency=sufficiency)
        decision = decide(records, labels, ACCURACY, profile, prefer, worth=worth)
        return verdict(decision, profile)

    return judge


def test_a_clear_winner(judge):
    found = judge(finetune=(20, 60), bottleneck=(100, 2), scratch=(200, 60))
    assert found.kind == "clear"
    assert found.headline.startswith(
        "within this budget, fine-tuning is better than the bottleneck by 20.0 ± "
    )
    assert "and training from scratch by 45.0 ± " in found.headline


def test_all_three_are_equal_and_the_cheapest_is_taken(judge):
    found = judge(finetune=(40, 60), bottleneck=(42, 2), scratch=(43, 60))
    assert found.kind == "all_equal"
    assert found.headline.startswith(
        "all three, the bottleneck, fine-tuning and training from scratch, are equal within the "
        "noise (at most "
    )
    assert found.headline.endswith("points apart); the bottleneck is the cheapest of them")


def test_what_is_taken_for_what_is_known_of_such_settings_is_not_called_cheaper(judge):
    found = judge("accuracy", worth={0: 0.95, 1: 0.85}, finetune=(42, 60), bottleneck=(40, 2))
    assert found.headline.endswith(
        "fine-tuning is taken, as such settings were better on other data"
    )


def test_what_validated_clearly_better_is_never_called_worse(judge):
    found = judge(worth={0: 0.98, 1: 0.9}, finetune=(60, 60), bottleneck=(10, 2), scratch=(300, 60))
    assert found.kind == "overruled"
    assert found.headline.startswith(
        "fine-tuning is taken although the bottleneck validated 12.5 ± "
    )
    assert "points better (see the notes); training from scratch is 60.0 ± " in found.headline
    assert "-" not in found.headline.replace("fine-tuning", "")


def test_training_from_scratch_that_validated_worse_is_no_negative_transfer(judge):
    found = judge(worth={0: 0.98, 1: 0.9}, scratch=(60, 60), bottleneck=(10, 2))
    assert found.kind == "overruled"


def test_all_are_equal_and_the_best_is_taken_if_accuracy_is_preferred(judge):
    found = judge("accuracy", finetune=(40, 60), bottleneck=(42, 2))
    assert found.kind == "all_equal"
    assert "fine-tuning and the bottleneck are equal" in found.headline
    assert found.headline.endswith("fine-tuning scored better")


def test_few_images_do_not_make_equals(make_record, make_profile):
    labels = np.arange(20) % 4
    records = [
        make_record(0, "finetune", labels, 2, seconds=60.0),
        make_record(1, "bottleneck", labels, 5, seconds=2.0, first_wrong=10),
    ]
    profile = make_profile(labels)
    found = verdict(decide(records, labels, ACCURACY, profile, "accuracy"), profile)
    assert found.kind == "all_equal"
    assert "can't be told apart by 20 validation images (they may be " in found.headline


def test_two_are_equal_and_one_is_worse(judge):
    found = judge(finetune=(40, 60), bottleneck=(42, 2), scratch=(200, 60))
    assert found.kind == "some_equal"
    assert "the bottleneck and fine-tuning are equal" in found.headline
    assert "; training from scratch is 39.5 ± " in found.headline
    assert found.headline.endswith("points behind; the bottleneck is the cheaper")


def test_negative_transfer(judge):
    found = judge(scratch=(20, 60), finetune=(90, 60), bottleneck=(100, 2))
    assert found.kind == "negative_transfer"
    assert found.headline.startswith(
        "negative transfer: within this budget training from scratch is 17.5 ± "
    )
    assert found.headline.endswith("the best use of pretrained weights, fine-tuning")
    assert judge(scratch=(20, 60), finetune=(22, 60)).kind == "all_equal"
    assert judge(scratch=(20, 60), finetune=(22, 60), bottleneck=(90, 2)).kind == "some_equal"


def test_one_strategy_alone(judge):
    found = judge(bottleneck=(20, 2))
    assert found.kind == "only_one"
    assert "only the bottleneck was tried" in found.headline


def test_one_that_finished(labels, make_record, make_profile):
    records = [
        make_record(0, "bottleneck", labels, 40),
        make_record(1, "finetune", labels, None, state="deadline"),
    ]
    profile = make_profile(labels)
    decision = decide(records, labels, ACCURACY, profile, "balanced")
    assert "only the bottleneck finished a trial" in verdict(decision, profile).headline


def test_more_labels_help_more_than_the_best_strategy_leads(judge):
    found = judge(finetune=(40, 60), bottleneck=(44, 2), gain=0.04)
    assert "about 4.0 points of accuracy (1.0 to 6.0" in found.more_data
    assert "lead (1.0)" in found.more_data


@pytest.mark.parametrize(
    "changes",
    [
        {"gain": None},
        {"gain": 0.005},  # less than the lead
        {"gain": 0.04, "low": -0.01},  # may be nothing
        {"gain": 0.2},  # more than what is wrong now
    ],
)
def test_more_labels_are_not_advised_where_they_may_not_help(judge, changes):
    assert judge(finetune=(40, 60), bottleneck=(44, 2), **changes).more_data == ""


def test_more_labels_are_not_set_against_a_single_strategy(judge):
    assert judge(bottleneck=(44, 2), gain=0.04).more_data == ""


def test_the_verdict_is_the_first_thing_said(labels, make_record, make_profile):
    records = [
        make_record(0, "bottleneck", labels, 100, seconds=2.0),
        make_record(1, "finetune", labels, 20, seconds=60.0),
    ]
    profile = make_profile(labels)
    decision = decide(records, labels, ACCURACY, profile, "balanced")
    words = explain(decision, profile, None, seconds=1.0)
    assert words.startswith("Within this budget, fine-tuning is better than the bottleneck")
