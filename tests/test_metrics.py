"""Scores agree with scikit-learn's, intervals with scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics as reference

from autotl.errors import InputError
from autotl.metrics import (
    METRICS,
    accuracy,
    all_metrics,
    auroc,
    balanced_accuracy,
    confidence_interval,
    log_loss,
    macro_f1,
    paired_difference,
    resolve_metric,
    wilson_interval,
)

Sample = tuple[NDArray[np.int64], NDArray[np.float32]]


def drawn(seed: int, n: int = 60, n_classes: int = 4, skill: float = 1.0) -> Sample:
    """Imbalanced labels, and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, n_classes + 1)
    labels = rng.choice(n_classes, n, p=weights / weights.sum())
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), labels] += skill
    odds = np.exp(logits)
    return labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_values_are_scikit_learns(seed: int) -> None:
    labels, probabilities = drawn(seed)
    predicted = probabilities.argmax(axis=1)
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "macro_f1": reference.f1_score(labels, predicted, average="macro"),
        "log_loss": -np.mean(np.log(probabilities[np.arange(len(labels)), labels])),
        "auroc": reference.roc_auc_score(
            labels, probabilities, multi_class="ovr", average="macro", labels=range(4)
        ),
    }
    assert all_metrics(labels, probabilities) == pytest.approx(expected, abs=1e-5)


def test_two_classes_have_the_binary_auroc() -> None:
    labels, probabilities = drawn(0, n_classes=2)
    expected = reference.roc_auc_score(labels, probabilities[:, 1])
    assert auroc(labels, probabilities) == pytest.approx(expected, abs=1e-6)


def test_classes_that_dont_occur_are_left_out() -> None:
    labels = np.array([0, 0, 2, 2])
    probabilities = np.array(
        [[0.9, 0, 0.1], [0.2, 0.1, 0.7], [0, 0.2, 0.8], [0.1, 0.5, 0.4]], dtype=np.float32
    )
    assert balanced_accuracy(labels, probabilities) == pytest.approx(0.5)
    assert macro_f1(labels, probabilities) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert auroc(labels, probabilities) == pytest.approx((4 / 4 + 3 / 4) / 2)


def test_auroc_of_a_single_class_is_nan() -> None:
    assert math.isnan(auroc(np.zeros(3, dtype=np.int64), np.full((3, 2), 0.5, dtype=np.float32)))


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    probabilities = np.array([[1.0, 0.0]], dtype=np.float32)
    assert log_loss(np.array([1]), probabilities) == pytest.approx(-math.log(1e-7))


@pytest.mark.parametrize("name", METRICS)
def test_greater_scores_are_better(name: str) -> None:
    labels, good = drawn(0, skill=4.0)
    _, bad = drawn(1, skill=0.0)
    assert METRICS[name].score(labels, good) > METRICS[name].score(labels, bad)


def test_auto_is_accuracy_until_the_classes_differ_threefold() -> None:
    assert resolve_metric("auto", np.repeat([0, 1], [10, 29])).name == "accuracy"
    assert resolve_metric("auto", np.repeat([0, 1], [10, 30])).name == "balanced_accuracy"
    assert resolve_metric("macro_f1", np.repeat([0, 1], [10, 30])).name == "macro_f1"


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown metric 'acc'.*auto"):
        resolve_metric("acc", np.array([0, 1]))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 20), (7, 20), (20, 20), (512, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_is_scipys(k: int, n: int, confidence: float) -> None:
    expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
    found = wilson_interval(k / n, n, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_interval_of_accuracy_is_wilsons() -> None:
    labels, probabilities = drawn(0)
    share = accuracy(labels, probabilities)
    found = confidence_interval(METRICS["accuracy"], labels, probabilities)
    assert found == wilson_interval(share, len(labels))


@pytest.mark.parametrize("name", ["balanced_accuracy", "log_loss"])
def test_bootstrap_interval_covers_as_often_as_it_says(name: str) -> None:
    metric = METRICS[name]
    truth = metric.value(*drawn(999, n=50_000))
    held = 0
    for seed in range(100):
        low, high = confidence_interval(
            metric, *drawn(seed, n=200), confidence=0.8, n_resamples=100
        )
        held += low <= truth <= high
    assert 68 <= held <= 92


def test_bootstrap_is_seeded_and_narrows_with_the_samples() -> None:
    metric = METRICS["log_loss"]
    labels, probabilities = drawn(0, n=400)
    first = confidence_interval(metric, labels, probabilities)
    assert first == confidence_interval(metric, labels, probabilities)
    few = confidence_interval(metric, labels[:50], probabilities[:50])
    assert first[1] - first[0] < few[1] - few[0]


def test_no_samples_have_no_interval() -> None:
    empty = np.empty((0, 2), dtype=np.float32)
    low, high = confidence_interval(METRICS["accuracy"], np.empty(0, dtype=np.int64), empty)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("name", METRICS)
def test_a_prediction_doesnt_differ_from_itself(name: str) -> None:
    labels, probabilities = drawn(0)
    found = paired_difference(METRICS[name], labels, probabilities, probabilities, n_resamples=20)
    assert found == (0.0, 0.0)


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "balanced_accuracy"])
def test_paired_difference_has_the_sign_of_the_better_and_its_noise(name: str) -> None:
    labels, good = drawn(0, n=300, skill=3.0)
    _, bad = drawn(1, n=300, skill=0.0)
    metric = METRICS[name]
    difference, error = paired_difference(metric, labels, good, bad)
    assert difference == pytest.approx(metric.score(labels, good) - metric.score(labels, bad))
    assert difference > 3 * error > 0
    assert paired_difference(metric, labels, bad, good)[0] == -difference


def test_pairing_makes_the_error_smaller_than_independent_samples() -> None:
    labels, first = drawn(0, n=400)
    second = first.copy()
    second[:8] = second[:8, ::-1]  # the two agree on nearly all samples
    share = accuracy(labels, first)
    unpaired = math.sqrt(2 * share * (1 - share) / len(labels))
    assert paired_difference(METRICS["accuracy"], labels, first, second)[1] < unpaired / 3
