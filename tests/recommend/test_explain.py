"""The explanation, the leaderboard, and how a config is put into words."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from autotl.metrics import METRICS
from autotl.recommend.decision import TestScore as Score
from autotl.recommend.decision import decide
from autotl.recommend.explain import describe_config, explain, leaderboard
from autotl.recommend.words import (
    format_difference,
    format_interval,
    format_seconds,
    format_value,
    one_line,
    sentence,
)

ACCURACY = METRICS["accuracy"]


@pytest.fixture
def records(labels, make_record):
    return [
        make_record(0, "bottleneck", labels, 80, seconds=2.0),
        make_record(1, "finetune", labels, 40, seconds=61.0),
        make_record(2, "finetune", labels, None, state="pruned", seconds=20.0),
        make_record(3, "scratch", labels, None, state="failed", seconds=1.0, error="x"),
    ]


@pytest.fixture
def profile(labels, make_profile):
    return make_profile(labels)


@pytest.fixture
def decision(records, labels, profile):
    return decide(records, labels, ACCURACY, profile, "balanced")


def score(value, interval, metric="accuracy", n=200):
    probabilities = np.full((n, 4), 0.25, dtype=np.float32)
    return Score(metric, value, interval, np.zeros(n, dtype=np.int64), probabilities, {})


def test_it_says_what_to_use_how_good_it_is_and_what_else_was_tried(decision, profile):
    words = explain(decision, profile, None, seconds=312.0)
    flat = " ".join(words.split())
    assert (
        "Fine-tune `embedded`: freeze the first 2 of 5 stages, train the rest at 0.1 x the "
        "head's rate 0.002, light augmentation, 20 epochs." in flat
    )
    assert "Expect accuracy of 90.0 %" in flat
    assert "from 400 images held out for validation" in flat
    assert "4 trials and everything else took 5 min 12 s" in flat
    assert "* finetune 90.0 % " in flat
    assert "best trial 1 min 1 s, 2 trials 1 min 21 s" in flat
    assert "scratch none finished" in flat
    assert "Overturned by the trials: few samples: linear SVM (80.0 % against 90.0 %)." in flat
    assert "No finished trial of: scratch." in flat
    assert max(map(len, words.splitlines())) <= 100
    assert len(words.splitlines()) <= 24


def test_figures_stay_with_their_units_where_lines_are_wrapped(decision, profile):
    for seconds in range(100, 1000, 37):
        for line in explain(decision, profile, None, seconds=seconds).splitlines():
            assert not line.lstrip(" -").startswith("%")


def test_without_a_test_set_it_warns_of_the_best_of_many(decision, profile):
    assert "no test set to confirm it" in explain(decision, profile, None, seconds=1.0)


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (0.90, (0.85, 0.94), "inside the expected interval"),
        (0.85, (0.80, 0.89), "below the expected interval; the two intervals overlap"),
        (0.50, (0.43, 0.57), "below the expected interval; more than chance explains"),
        (1.00, (0.98, 1.00), "the test images may be easier"),
        (float("nan"), (float("nan"), float("nan")), "reached –"),  # noqa: RUF001
    ],
)
def test_the_test_score_is_set_against_what_was_expected(value, interval, said, decision, profile):
    words = explain(decision, profile, score(value, interval), seconds=1.0)
    assert said in " ".join(words.split())


def test_a_loss_is_told_in_nats_and_more_of_it_is_worse(labels, make_record, profile):
    records = [make_record(0, "bottleneck", labels, 40, metric="log_loss")]
    decision = decide(records, labels, METRICS["log_loss"], profile, "balanced")
    worse = decision.interval[1] + 1.0
    test = score(worse, (worse - 0.1, worse + 0.1), "log_loss")
    words = " ".join(explain(decision, profile, test, seconds=1.0).split())
    assert "Expect log loss of" in words
    assert "nats" in words
    assert "above the expected interval; more than chance explains: the test images may differ" in (
        words
    )
    assert "%" not in words.replace("95 %", "")


def test_cross_validation_is_named(labels, make_profile, decision):
    words = explain(decision, make_profile(labels, n_folds=5), None, seconds=1.0)
    assert "5-fold cross-validation on 400 images" in " ".join(words.split())


def test_the_leaderboard_has_every_trial_the_best_first(records, decision):
    frame = leaderboard(records, decision)
    assert list(frame.columns[:10]) == [
        "rank",
        "trial",
        "strategy",
        "backbone",
        "state",
        "value",
        "accuracy",
        "balanced_accuracy",
        "seconds",
        "n_trainable",
    ]
    assert frame["trial"].tolist() == [1, 0, 2, 3]
    assert frame["rank"].tolist()[:2] == [1, 2]
    assert frame["rank"].isna().tolist() == [False, False, True, True]
    assert frame["value"].tolist()[:2] == pytest.approx([0.9, 0.8])
    assert frame.attrs["metric"] == "accuracy"
    assert frame.loc[0, "config.epochs"] == 20
    assert frame["config.epochs"].dtype == "Int64"
    assert frame["config.C"].dtype == "float64"
    assert "config.backbone" not in frame


def test_the_leaderboard_of_a_loss_has_the_smallest_first(labels, make_record, profile):
    records = [
        make_record(0, "bottleneck", labels, 100, metric="log_loss"),
        make_record(1, "bottleneck", labels, 10, metric="log_loss"),
    ]
    decision = decide(records, labels, METRICS["log_loss"], profile, "accuracy")
    frame = leaderboard(records, decision)
    assert frame["trial"].tolist() == [1, 0]
    assert 0 < frame.loc[0, "value"] < frame.loc[1, "value"]


def test_the_leaderboard_of_nothing_is_empty(decision):
    for frame in (leaderboard([], decision), leaderboard([], None)):
        assert isinstance(frame, pd.DataFrame)
        assert len(frame) == 0
        assert "value" in frame


def test_a_leaderboard_before_any_decision_has_no_values(records):
    frame = leaderboard(records, None)
    assert len(frame) == 4
    assert frame["value"].isna().all()


def test_a_score_that_is_not_a_number_comes_after_those_that_are(records, decision):
    result = dataclasses.replace(records[1].result, score=float("nan"))
    records[1] = dataclasses.replace(records[1], result=result)
    assert leaderboard(records, decision)["trial"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("strategy", "changes", "words"),
    [
        ("finetune", {"freeze_depth": 0, "lr_ratio": 1.0}, "train every stage at the head's rate"),
        ("finetune", {"freeze_depth": 1}, "freeze the first 1 of 5 stages, train the rest"),
        ("finetune", {"freeze_depth": 5}, "freeze all 5 stages, train the new head only"),
        ("finetune", {"head": "probe"}, "start the head from a solved softmax probe"),
        ("finetune", {"augmentation": "none", "mirror": True}, "no augmentation, 20 epochs"),
        ("finetune", {"balanced": True}, "classes weighed equally"),
        ("scratch", {}, "`embedded` without its last stage (of 5) from random weights"),
        ("scratch", {"n_removed": 0}, "the whole architecture of `embedded`"),
        ("scratch", {"n_removed": 9}, "without its last 4 stages (of 5)"),
        ("scratch", {"epochs": 1}, "medium augmentation with mirroring, 1 epoch"),
        ("bottleneck", {}, "linear SVM on frozen features of `embedded`: the last 4 stages"),
        ("bottleneck", {"head": "logistic"}, "softmax probe on frozen features"),
        ("bottleneck", {"layers": "second_last"}, "the second-last stage, C = 0.003"),
        ("bottleneck", {"C": "auto"}, "joined, C chosen on held-out training samples"),
        ("bottleneck", {"layers": "all"}, "all 5 stages joined"),
        ("bottleneck", {"max_width": 512}, "joined, averaged over cells of the picture"),
        ("bottleneck", {"kept": 0.3}, "joined, the 30 % of them that weigh most"),
        ("new_strategy", {"depth": 3}, "new_strategy: backbone = embedded, depth = 3"),
    ],
)
def test_configs_in_words(strategy, changes, words, labels, make_record):
    config = make_record(0, strategy, labels, None, **changes).config
    assert words in describe_config(strategy, config, num_stages=5)


def test_configs_in_words_without_knowing_the_stages_or_the_settings():
    assert describe_config("finetune", {"backbone": "b", "freeze_depth": 1}) == (
        "fine-tune `b`: freeze the first stage, train the rest"
    )
    assert describe_config("scratch", {"backbone": "b"}) == (
        "train the whole architecture of `b` from random weights"
    )
    assert describe_config("bottleneck", {}) == "bottleneck"


def test_figures_in_words():
    assert format_value("accuracy", 0.8344) == "83.4 %"
    assert format_value("log_loss", 0.4123) == "0.412 nats"
    assert format_interval("macro_f1", (0.8, 0.9)) == "80.0 % to 90.0 %"
    assert format_difference("accuracy", 0.032, 0.011) == "3.2 ± 1.1 points"
    assert format_difference("log_loss", -0.032) == "-0.032 nats"
    assert [format_seconds(s) for s in (0.04, 9.96, 59.6, 60, 303, 3600, 7500)] == [
        "0.0 s",
        "10 s",
        "1 min",
        "1 min",
        "5 min 3 s",
        "1 h 00 min",
        "2 h 05 min",
    ]
    assert one_line("a\nb\x00c") == "a b c"
    assert sentence("no trial") == "No trial."
    assert sentence("") == ""


def test_seeds_are_told_and_the_mean_is_the_leaderboards_value(labels, make_record, profile):
    records = [
        make_record(0, "finetune", labels, 40, seconds=60.0),
        make_record(1, "bottleneck", labels, 60, seconds=2.0),
    ]
    again = make_record(2, "finetune", labels, 60)
    repeats = [dataclasses.replace(again, number=0, repeat=1)]
    decision = decide(records, labels, ACCURACY, profile, "accuracy", repeats=repeats)
    words = " ".join(explain(decision, profile, None, seconds=1.0).split())
    assert "The best trained trial ran with 2 seeds, the mean of which counts" in words
    assert "differ by 3.5 points" in words
    assert "best trial 1 min x 2 seeds" in words
    frame = leaderboard(records, decision)
    assert frame.set_index("trial")["value"][0] == pytest.approx(1 - 50 / 400)
    assert frame.set_index("trial")["n_seeds"].to_dict() == {0: 2, 1: 1}
    assert "seeds" not in explain(
        decide(records, labels, ACCURACY, profile, "accuracy"), profile, None, seconds=1.0
    )


def test_the_leaderboard_ranks_by_the_mean_over_seeds(labels, make_record, profile):
    records = [make_record(0, "finetune", labels, 40), make_record(1, "scratch", labels, 44)]
    again = dataclasses.replace(make_record(2, "finetune", labels, 80), number=0, repeat=1)
    decision = decide(records, labels, ACCURACY, profile, "accuracy", repeats=[again])
    assert leaderboard(records, decision)["trial"].tolist() == [1, 0]
