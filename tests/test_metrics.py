"""Scores agree with scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from autotl.errors import InputError
from autotl.metrics import (
    METRICS,
    all_metrics,
    auroc,
    balanced_accuracy,
    log_loss,
    macro_f1,
    resolve_metric,
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


@pytest.mark.parametrize("name", ["auroc", "log_loss"])
def test_scores_that_are_not_numbers_have_no_value(name: str) -> None:
    labels, probabilities = drawn(0)
    probabilities[3] = np.nan
    assert math.isnan(METRICS[name].value(labels, probabilities))


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
