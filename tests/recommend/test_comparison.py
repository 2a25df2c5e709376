"""The standard error of a difference: samples, training samples and seeds; several at once."""

import dataclasses
import math

import numpy as np
import pytest

from autotl.metrics import METRICS
from autotl.recommend.comparison import Comparison, holm, noise

ACCURACY = METRICS["accuracy"]


@pytest.fixture
def pair(labels, make_record):
    return make_record(0, "finetune", labels, 40), make_record(1, "scratch", labels, 60)


def of_samples(first, second, labels):
    """Variance of the mean of the paired differences, and one discordant sample."""
    a = (first.result.probabilities.argmax(axis=1) == labels).astype(float)
    b = second.result.probabilities.argmax(axis=1) == labels
    return np.var(a - b, ddof=1) / len(labels) + 1 / len(labels) ** 2


def again(record, other, k):
    return dataclasses.replace(record, repeat=k, result=other.result)


def test_folds_share_training_samples(pair, labels):
    """Nadeau and Bengio's ratio: 1/4 for a fifth held out, 5/4 in all for five folds."""
    plain = of_samples(*pair, labels)
    _, error = Comparison(pair, labels, ACCURACY, n_folds=5)(*pair)
    assert error == pytest.approx(math.sqrt((1 + 5 * (1 / 4)) * plain))
    more = np.concatenate([labels, np.zeros(1600, dtype=np.int64)])
    _, error = Comparison(pair, more, ACCURACY)(*pair)
    assert error == pytest.approx(math.sqrt((1 + 1 / 4) * plain))


def test_models_learn_from_what_they_are_not_validated_on(pair, labels):
    more = np.concatenate([labels, np.zeros(600, dtype=np.int64)])
    assert Comparison(pair, more, ACCURACY).n_trained(pair[0]) == 600
    assert Comparison(pair, labels, ACCURACY).n_trained(pair[0]) == 0
    assert Comparison(pair, labels, ACCURACY, n_folds=5).n_trained(pair[0]) == 320


def test_the_deviation_between_seeds_enters_by_the_number_of_seeds(pair, labels, make_record):
    first, second = pair
    repeats = [
        again(first, make_record(2, "finetune", labels, 50), 1),
        again(second, make_record(3, "scratch", labels, 60), 1),
    ]
    comparison = Comparison(pair, labels, ACCURACY, repeats=repeats)
    difference, error = comparison(first, second)
    assert difference == pytest.approx((60 - 45) / 400)
    pooled = (10 / 400) ** 2 / 2 / 2  # of two runs, and two trials
    assert comparison.seed_deviation == pytest.approx(math.sqrt(pooled))
    shares = [
        np.mean(
            [run.probabilities.argmax(axis=1) == labels for run in comparison.runs(record)],
            axis=0,
        )
        for record in pair
    ]
    samples = np.var(shares[0] - shares[1], ddof=1) / 400 + 1 / 400**2
    assert error == pytest.approx(math.sqrt(samples + pooled / 2 + pooled / 2))


def test_what_is_solved_has_no_deviation_between_seeds(pair, labels, make_record):
    finetune = pair[0]
    solved = make_record(5, "bottleneck", labels, 60)
    repeats = [again(finetune, make_record(2, "finetune", labels, 50), 1)]
    comparison = Comparison([finetune, solved], labels, ACCURACY, repeats=repeats)
    with_seeds = comparison(finetune, solved)[1] ** 2
    scratch = dataclasses.replace(solved, strategy="scratch")
    comparison = Comparison([finetune, scratch], labels, ACCURACY, repeats=repeats)
    more = comparison(finetune, scratch)[1] ** 2
    assert more - with_seeds == pytest.approx(comparison.seed_deviation**2)


def test_a_trial_equals_itself_without_error(pair, labels):
    assert Comparison(pair, labels, ACCURACY)(pair[0], pair[0]) == (0.0, 0.0)


def test_predictions_that_agree_everywhere_are_not_equal_for_certain(labels, make_record):
    first = make_record(0, "finetune", labels, 40)
    same = dataclasses.replace(first, number=1)
    assert Comparison([first, same], labels, ACCURACY)(first, same) == pytest.approx((0, 1 / 400))


def test_the_noise_is_what_the_difference_does_not_exceed():
    assert noise(-0.02, 0.01) == pytest.approx(0.02 + 0.01645)
    assert noise(0.5, 0.6, most=1.0) == 1.0
    assert math.isnan(noise(math.nan, 0.1, most=1.0))


@pytest.mark.parametrize(
    ("ratios", "clear"),
    [
        ([2.0], [True]),
        ([1.9], [False]),
        ([2.0, 2.0], [False, False]),  # 0.0455 is more than 0.05 / 2
        ([2.0, 2.3], [True, True]),  # the larger passes 0.05 / 2, the other then 0.05
        ([2.3, 2.2, 2.1], [False, False, False]),
        ([-5.0, 1.0], [True, False]),
        ([math.nan, 5.0], [False, True]),
        ([], []),
    ],
)
def test_several_comparisons_are_held_to_a_stricter_bound(ratios, clear):
    assert holm(ratios, [1.0] * len(ratios)) == clear


def test_without_an_error_any_difference_is_clear_and_none_is_not():
    assert holm([0.1, 0.0], [0.0, 0.0]) == [True, False]
