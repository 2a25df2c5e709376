"""What samples contribute adds up to the score, and its scatter is that of a bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from autotl.metrics import METRICS, Metric, accuracy
from autotl.uncertainty import (
    USUAL_CORRELATION,
    confidence_interval,
    contributions,
    design_effect,
    difference_variance,
    effective_samples,
    sample_weights,
    wilson_interval,
)

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]


def drawn(seed: int, n: int = 60, n_classes: int = 4) -> Labels:
    """Imbalanced labels."""
    weights = np.arange(1, n_classes + 1)
    return np.random.default_rng(seed).choice(n_classes, n, p=weights / weights.sum())


def predicted(labels: Labels, seed: int, skill: float = 1.0, n_classes: int = 4) -> Probabilities:
    """Probabilities that know something of the labels."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), n_classes))
    logits[np.arange(len(labels)), labels] += skill
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def bootstrap(metric: Metric, labels: Labels, first: Probabilities, second: Probabilities) -> float:
    """The paired bootstrap's standard error, within the classes (Efron and Tibshirani 1993)."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    found = []
    for _ in range(300):
        rows = np.concatenate([rng.choice(own, len(own)) for own in members])
        better, worse = (
            metric.score(labels[rows], first[rows]),
            metric.score(labels[rows], second[rows]),
        )
        found.append(better - worse)
    return float(np.std(found))


def difference(
    metric: Metric, labels: Labels, first: Probabilities, second: Probabilities
) -> tuple[float, float]:
    found, variance = difference_variance(
        metric, labels, *(contributions(metric, labels, p) for p in (first, second))
    )
    return found, math.sqrt(variance)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("n_classes", [2, 7])
def test_contributions_add_up_to_the_score(metric: Metric, n_classes: int) -> None:
    labels = drawn(0, 200, n_classes)
    probabilities = predicted(labels, 1, n_classes=n_classes)
    shares = contributions(metric, labels, probabilities)
    assert shares.shape == labels.shape
    assert shares.sum() == pytest.approx(metric.score(labels, probabilities), abs=1e-6)
    assert sample_weights(metric, labels).sum() == pytest.approx(1.0)


def test_ties_count_half_for_auroc() -> None:
    labels = drawn(0, 200)
    coarse = np.round(predicted(labels, 1) * 4).astype(np.float32) / 4
    pairs = []
    for label in range(4):
        inside, outside = coarse[labels == label, label], coarse[labels != label, label]
        above = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
        pairs.append(above)
    metric = METRICS["auroc"]
    assert metric.value(labels, coarse) == pytest.approx(np.mean(pairs))
    assert contributions(metric, labels, coarse).sum() == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_error_of_a_difference_is_the_bootstraps(metric: Metric) -> None:
    labels = drawn(0, 400)
    good, bad = predicted(labels, 1, 2.0), predicted(labels, 2, 1.5)
    found, error = difference(metric, labels, good, bad)
    expected = metric.score(labels, good) - metric.score(labels, bad)
    assert found == pytest.approx(expected, abs=1e-6)
    assert error == pytest.approx(bootstrap(metric, labels, good, bad), rel=0.12)
    assert difference(metric, labels, bad, good) == pytest.approx((-found, error))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_one_sample_a_class_is_not_certain(metric: Metric) -> None:
    """Within each class there is nothing to resample; a difference scatters all the same."""
    labels = np.arange(50, dtype=np.int64)
    good = predicted(labels, 1, 4.0, n_classes=50)
    bad = predicted(labels, 2, 3.0, n_classes=50)
    found, error = difference(metric, labels, good, bad)
    assert 0 < error < 10 * abs(found)
    low, high = confidence_interval(metric, labels, good)
    assert low < metric.value(labels, good) < high


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_agreement_on_every_sample_is_not_certainty(name: str) -> None:
    metric = METRICS[name]
    balanced = np.arange(100) % 4
    rare = np.repeat([0, 1], [98, 2])
    for labels, least in ((balanced, 1 / 100), (rare, 1 / 100 if name == "accuracy" else 0.1)):
        same = predicted(labels, 1)
        found, error = difference(metric, labels, same, same)
        assert found == 0.0
        assert error >= 0.99 * least


def test_a_perfect_auroc_is_not_certainty() -> None:
    labels = np.repeat([0, 1], [96, 4])
    perfect = np.eye(2, dtype=np.float32)[labels]
    metric = METRICS["auroc"]
    low, high = confidence_interval(metric, labels, perfect)
    assert 0.6 < low < 0.95
    assert high == 1.0
    assert 0.02 < difference(metric, labels, perfect, perfect)[1] < 0.2


def test_pairing_makes_the_error_smaller_than_independent_samples() -> None:
    labels = drawn(0, 400)
    first = predicted(labels, 1)
    second = first.copy()
    second[:8] = second[:8, ::-1]  # the two agree on nearly all samples
    share = accuracy(labels, first)
    unpaired = math.sqrt(2 * share * (1 - share) / len(labels))
    assert difference(METRICS["accuracy"], labels, first, second)[1] < unpaired / 3


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_predictions_that_are_not_numbers_have_no_difference(metric: Metric) -> None:
    labels = drawn(0)
    good = predicted(labels, 1)
    nothing = np.full_like(good, np.nan)
    assert np.isnan(difference(metric, labels, good, nothing)).all()


def test_auroc_of_a_single_class_is_nan() -> None:
    labels = np.zeros(30, dtype=np.int64)
    metric = METRICS["auroc"]
    assert np.isnan(contributions(metric, labels, predicted(labels, 0))).all()
    assert np.isnan(confidence_interval(metric, labels, predicted(labels, 0))).all()


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 20), (7, 20), (20, 20), (512, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_is_scipys(k: int, n: int, confidence: float) -> None:
    expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
    found = wilson_interval(k / n, n, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_interval_of_accuracy_is_wilsons() -> None:
    labels = drawn(0)
    probabilities = predicted(labels, 1)
    share = accuracy(labels, probabilities)
    found = confidence_interval(METRICS["accuracy"], labels, probabilities)
    assert found == pytest.approx(wilson_interval(share, len(labels)))


def test_rare_classes_make_samples_worth_less() -> None:
    equal = np.arange(100) % 4
    rare = np.repeat([0, 1], [98, 2])
    assert effective_samples(METRICS["balanced_accuracy"], equal) == pytest.approx(100)
    assert effective_samples(METRICS["balanced_accuracy"], rare) == pytest.approx(7.84)
    assert effective_samples(METRICS["accuracy"], rare) == pytest.approx(100)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_intervals_cover_as_often_as_they_say(metric: Metric) -> None:
    large = drawn(999, 50_000)
    truth = metric.value(large, predicted(large, 998))
    held = 0
    for seed in range(100):
        labels = drawn(seed, 200)
        probabilities = predicted(labels, 1000 + seed)
        low, high = confidence_interval(
            metric, labels, probabilities, confidence=0.8, n_resamples=100
        )
        held += low <= truth <= high
    assert 68 <= held <= 92


def test_the_bootstrap_is_seeded_and_narrows_with_the_samples() -> None:
    metric = METRICS["log_loss"]
    labels = drawn(0, 400)
    probabilities = predicted(labels, 1)
    first = confidence_interval(metric, labels, probabilities)
    assert first == confidence_interval(metric, labels, probabilities)
    few = confidence_interval(metric, labels[:50], probabilities[:50])
    assert first[1] - first[0] < few[1] - few[0]


def test_no_samples_have_no_interval() -> None:
    empty = np.empty((0, 2), dtype=np.float32)
    found = confidence_interval(METRICS["accuracy"], np.empty(0, dtype=np.int64), empty)
    assert np.isnan(found).all()


def test_single_samples_have_no_design_effect() -> None:
    assert design_effect(None) == 1.0
    assert design_effect(np.arange(50), np.ones(50)) == 1.0
    assert design_effect(np.array([], dtype=np.int64)) == 1.0


def test_the_design_effect_is_that_of_the_groups_means() -> None:
    """Against the variance of the mean over many draws of groups with a common part."""
    rng = np.random.default_rng(0)
    n_groups, size = 60, 20
    groups = np.repeat(np.arange(n_groups), size)

    def draw() -> np.ndarray:
        common = rng.normal(0.0, 0.5, n_groups)
        return np.asarray(common[groups] + rng.normal(0.0, 1.0, len(groups)))

    means = [draw().mean() for _ in range(2_000)]
    independent = (0.5**2 + 1.0) / len(groups)
    found = [
        design_effect(groups, values - values.mean()) for values in (draw() for _ in range(50))
    ]
    assert np.mean(found) == pytest.approx(np.var(means) / independent, rel=0.25)
    alone = [
        design_effect(groups, values - values.mean())
        for values in (rng.normal(size=len(groups)) for _ in range(50))
    ]
    assert np.mean(alone) < 1.6


def test_one_group_tells_nothing_of_others() -> None:
    one = np.zeros(200, dtype=np.int64)
    usual = 1 + 199 * USUAL_CORRELATION
    assert design_effect(one, np.random.default_rng(0).normal(size=200)) == pytest.approx(usual)
    assert design_effect(one) == pytest.approx(usual)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "auroc", "log_loss"])
def test_intervals_and_differences_are_wider_in_groups(name: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 100)
    groups = np.repeat(np.arange(10), 20)
    first, second = (
        softmax_of(labels, rng.normal(0.5, 1.0, 10)[groups] + rng.normal(0.0, 0.5, 200))
        for _ in range(2)
    )
    metric = METRICS[name]
    low, high = confidence_interval(metric, labels, first)
    wide_low, wide_high = confidence_interval(metric, labels, first, groups=groups)
    assert wide_low < low
    assert wide_high > high
    shares = [contributions(metric, labels, p) for p in (first, second)]
    difference, variance = difference_variance(metric, labels, *shares)
    same, wider = difference_variance(metric, labels, *shares, groups)
    assert same == difference
    assert wider > 1.5 * variance


def softmax_of(labels: np.ndarray, margins: np.ndarray) -> np.ndarray:
    right = 1 / (1 + np.exp(-margins))
    return np.where(labels[:, None] == np.arange(2), right[:, None], 1 - right[:, None])
