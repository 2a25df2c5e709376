from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from search_helpers import KNOWLEDGE

from autotl.analysis.examination import LINEAR, Transferability
from autotl.analysis.profile import DatasetProfile
from autotl.search.allocation import (
    OVERHEAD_S,
    Allocation,
    Option,
    Seen,
    allocation_for,
    best,
)
from autotl.search.knowledge import Arm, LeftOut
from autotl.strategies.base import Task

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


def test_the_analyzer_says_which_backbone_is_tried_first() -> None:
    knowledge = replace(KNOWLEDGE, left_out_noise=1.0)
    told = (LeftOut("one", 0.6, 400), LeftOut("two", 0.8, 400))
    options = [Option(Arm("finetune", "a", name), 1.0) for name in ("one", "two")]
    own = Allocation(knowledge, "accuracy", 300, 300, left_out=told)
    found = own.improvements([], options)
    assert found[1] > found[0] + 0.01
    assert np.ptp(Allocation(knowledge, "accuracy", 300, 300).improvements([], options)) == 0


def test_a_score_is_worth_more_where_training_on_all_brings_more() -> None:
    steep = replace(KNOWLEDGE, slopes={**KNOWLEDGE.slopes, "scratch": 1.0})
    seen = [Seen(A, 0.8), Seen(OTHER, 0.8)]
    even, halved = (
        Allocation(steep, "accuracy", 300, 300, n_final=n).worth(seen) for n in (None, 600)
    )
    assert even[0] == pytest.approx(even[1], abs=0.01)
    assert halved[1] > halved[0] + 0.02


def test_a_task_s_allocation_holds_what_its_profile_knows(
    task: Task, make_profile: Callable[..., DatasetProfile]
) -> None:
    name = next(iter(task.backbones))
    profile = make_profile(name)
    scores = Transferability({LINEAR: 0.7}, 40)
    known = replace(profile.backbones[name], transferability=scores)
    unknown = replace(profile.backbones[name], transferability=Transferability({}))
    profile = replace(profile, backbones={name: known, "other": unknown})
    found = allocation_for(task, profile)
    assert found.left_out == (LeftOut(name, 0.7, 40),)
    assert found.n_final == len(task.labels)
    assert found.n_samples == np.mean([len(fold.train) for fold in task.folds])
