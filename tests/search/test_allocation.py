from __future__ import annotations

import math

import numpy as np
import pytest
from search_helpers import KNOWLEDGE

from autotl.search.allocation import OVERHEAD_S, Allocation, Option, Seen, best
from autotl.search.knowledge import Arm

A, B, C = (Arm("finetune", name, "one") for name in "abc")
OTHER = Arm("scratch", "a", "one")
ALLOCATION = Allocation(KNOWLEDGE, "accuracy", 300, 300)


def test_the_improvement_is_the_mean_of_what_is_better() -> None:
    """Against draws from the posterior, what a noisy score would tell of the arm included."""
    seen, options = [Seen(A, 0.8), Seen(B, 0.82)], [Option(OTHER, 1.0)]
    found = float(ALLOCATION.improvements(seen, options)[0])
    arms = [A, B, OTHER]
    logits = np.log(np.array([0.8, 0.82]) / (1 - np.array([0.8, 0.82])))
    prior, covariance = KNOWLEDGE.mean(arms, 300), KNOWLEDGE.covariance(arms)
    noise = KNOWLEDGE.variance(logits, 300)
    gain = np.linalg.solve(covariance[:2, :2] + np.diag(noise), covariance[:2]).T
    mean = prior + gain @ (logits - prior[:2])
    left = covariance - gain @ covariance[:2]
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(mean, left, 400_000)
    top = int(mean[:2].argmax())
    ahead = draws[:, 2] - draws[:, top]
    variance = float(np.var(ahead))
    spread = variance / math.sqrt(variance + float(KNOWLEDGE.variance(mean[[2]], 300)[0]))
    shrunk = (ahead - ahead.mean()) / ahead.std() * spread + ahead.mean()
    p = 1 / (1 + math.exp(-mean[top]))
    assert found == pytest.approx(np.maximum(shrunk, 0).mean() * p * (1 - p), rel=0.03)


def chosen(seen: list[Seen], options: list[Option]) -> int:
    return best(ALLOCATION.improvements(seen, options), options)


def test_a_second_counts() -> None:
    seen = [Seen(A, 0.8)]
    assert chosen(seen, [Option(B, 10.0), Option(C, 1.0)]) == 1
    assert chosen(seen, [Option(B, 10.0), Option(C, 10.0)]) == 0
    assert chosen(seen, [Option(OTHER, 1e-3), Option(C, 0.0)]) == 0  # records take time
    assert OVERHEAD_S > 0


def test_what_was_bad_makes_its_like_improbable() -> None:
    bad = [Seen(A, 0.5), Seen(B, 0.5), Seen(OTHER, 0.9)]
    good = [Seen(A, 0.9), Seen(B, 0.9), Seen(OTHER, 0.5)]
    like = [Option(C, 1.0)]
    assert ALLOCATION.improvements(bad, like)[0] < ALLOCATION.improvements(good, like)[0] / 10


def test_few_validation_samples_promise_less_improvement() -> None:
    seen, options = [Seen(A, 0.8), Seen(B, 0.8)], [Option(C, 1.0)]
    few = Allocation(KNOWLEDGE, "accuracy", 300, 30).improvements(seen, options)
    assert few[0] < ALLOCATION.improvements(seen, options)[0]


def test_without_anything_seen_it_is_the_score_that_is_expected() -> None:
    found = ALLOCATION.improvements([], [Option(A, 1.0), Option(OTHER, 1.0)])
    assert np.allclose(found, 0.5)
    assert chosen([], [Option(A, 9.0), Option(OTHER, 1.0)]) == 1


def test_perfect_scores_and_log_losses_are_finite() -> None:
    for metric, score in (("accuracy", 1.0), ("log_loss", -0.01), ("log_loss", -9.0)):
        own = Allocation(KNOWLEDGE, metric, 300, 300)
        assert np.isfinite(own.improvements([Seen(A, score)], [Option(B, 1.0)])).all()


def test_the_noise_is_that_of_the_best_and_never_none() -> None:
    assert ALLOCATION.noise([]) == 0.0
    assert ALLOCATION.noise([Seen(A, 0.5), Seen(B, 0.8)]) == pytest.approx(0.0231, abs=2e-4)
    assert 0.003 < ALLOCATION.noise([Seen(A, 1.0)]) < 0.01
