"""The corrected score of the best of many is what it scores on new samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from autotl.metrics import METRICS, Metric, accuracy
from autotl.recommend import selection
from autotl.recommend.selection import selected_score

N_CLASSES = 3


def problem(
    rng: np.random.Generator, n: int, n_configs: int, spread: float
) -> tuple[NDArray[np.int64], list[NDArray[np.float32]], NDArray[np.float64]]:
    """Labels, correlated predictions, and each config's true accuracy."""
    labels = rng.integers(0, N_CLASSES, n)
    truth = np.clip(0.8 + spread * rng.standard_normal(n_configs), 0.05, 0.99)
    difficulty = rng.standard_normal(n)
    predictions = []
    for share in truth:
        z = np.sqrt(0.7) * difficulty + np.sqrt(0.3) * rng.standard_normal(n)
        right = norm.cdf(z) < share
        shown = np.where(right, labels, (labels + 1) % N_CLASSES)
        predictions.append(np.eye(N_CLASSES, dtype=np.float32)[shown] * 0.8 + np.float32(0.2 / 3))
    return labels, predictions, truth


@pytest.mark.parametrize(
    ("n", "n_configs", "spread"), [(60, 10, 0.0), (60, 40, 0.03), (200, 40, 0.0), (200, 5, 0.05)]
)
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
def test_the_winners_curse_is_taken_off(
    n: int, n_configs: int, spread: float, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "N_RESAMPLES", 60)
    rng = np.random.default_rng(n + n_configs)
    metric = METRICS[name]
    naive, corrected = [], []
    for trial in range(150):
        labels, predictions, truth = problem(rng, n, n_configs, spread)
        scores = [metric.score(labels, p) for p in predictions]
        best = int(np.argmax(scores))
        naive.append(scores[best] - truth[best])
        corrected.append(selected_score(metric, labels, predictions, trial) - truth[best])
    standard_error = np.std(corrected) / np.sqrt(len(corrected))
    assert abs(np.mean(corrected)) < 0.007 + 2.5 * standard_error
    assert abs(np.mean(corrected)) < 0.6 * np.mean(naive)


def test_one_config_has_nothing_to_be_chosen_among() -> None:
    labels, predictions, _ = problem(np.random.default_rng(0), 50, 1, 0.0)
    assert selected_score(METRICS["accuracy"], labels, predictions) == accuracy(
        labels, predictions[0]
    )


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_is_corrected_downwards(name: str) -> None:
    metric = METRICS[name]
    labels, predictions, _ = problem(np.random.default_rng(3), 80, 12, 0.0)
    best = max(metric.score(labels, p) for p in predictions)
    found = selected_score(metric, labels, predictions)
    assert np.isfinite(found)
    assert best - 0.3 < found < best


def resampled(
    metric: Metric,
    labels: NDArray[np.int64],
    runs: Sequence[Sequence[NDArray[np.float32]]],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The metric on every resample itself, the mean over the runs."""
    drawn = [np.repeat(np.arange(len(labels)), row.astype(int)) for row in counts]
    return np.array(
        [
            [np.mean([metric.score(labels[i], p[i]) for p in config]) for config in runs]
            for i in drawn
        ]
    )


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "log_loss"])
def test_quick_ways_agree_with_the_metric(name: str) -> None:
    metric = METRICS[name]
    rng = np.random.default_rng(4)
    labels = rng.integers(0, N_CLASSES, 40)
    predictions = rng.dirichlet(np.ones(N_CLASSES), (5, 40)).astype(np.float32)
    weights = rng.multinomial(40, np.full(40, 1 / 40), 7).astype(float)
    runs = [predictions[:1], predictions[1:3], predictions[3:]]
    quick = selection._SCORERS[name](labels, runs)(weights)
    np.testing.assert_allclose(quick, resampled(metric, labels, runs, weights), rtol=1e-5)


@pytest.mark.parametrize("name", ["macro_f1", "auroc"])
def test_what_resampling_changes_is_right_in_the_first_order(name: str) -> None:
    metric = METRICS[name]
    labels, predictions, _ = problem(np.random.default_rng(4), 200, 3, 0.1)
    soft = [
        0.5 * p + 0.5 * p[np.random.default_rng(i).permutation(200)]
        for i, p in enumerate(predictions)
    ]
    weights = np.random.default_rng(5).multinomial(200, np.full(200, 1 / 200), 40).astype(float)
    runs = [[p] for p in soft]
    quick = selection._by_contributions(metric, labels, runs)(weights)
    slow = resampled(metric, labels, runs, weights)
    scatter = slow.std(axis=0).mean()
    assert np.abs(quick - slow).mean() < 0.35 * scatter
    assert np.corrcoef(quick.ravel(), slow.ravel())[0, 1] > 0.95


def test_of_several_runs_the_mean_is_chosen_by() -> None:
    """A config with one lucky run and one unlucky one isn't worth its lucky run."""
    labels = np.arange(300) % N_CLASSES
    right = np.eye(N_CLASSES, dtype=np.float32)[labels]
    wrong = np.roll(right, 1, axis=1)
    half = right.copy()
    half[:90] = wrong[:90]
    metric = METRICS["accuracy"]
    found = selected_score(metric, labels, [[right, wrong], [half, half]])
    assert found == pytest.approx(0.7, abs=0.02)


def test_a_clear_winner_keeps_its_score() -> None:
    labels = np.arange(300) % N_CLASSES
    right = np.eye(N_CLASSES, dtype=np.float32)[labels]
    wrong = np.roll(right, 1, axis=1)
    found = selected_score(METRICS["accuracy"], labels, [wrong, right, wrong])
    assert found == pytest.approx(1.0)


def test_scores_that_are_not_numbers_are_passed_over() -> None:
    labels, predictions, _ = problem(np.random.default_rng(0), 50, 3, 0.0)
    spoilt = [*predictions, np.full_like(predictions[0], np.nan)]
    log_loss = METRICS["log_loss"]
    assert selected_score(log_loss, labels, spoilt) == selected_score(log_loss, labels, predictions)
    assert np.isnan(selected_score(log_loss, labels, spoilt[3:]))


def test_the_same_seed_gives_the_same() -> None:
    labels, predictions, _ = problem(np.random.default_rng(0), 50, 8, 0.0)
    metric = METRICS["accuracy"]
    first, again, other = (selected_score(metric, labels, predictions, s) for s in (1, 1, 2))
    assert first == again != other
