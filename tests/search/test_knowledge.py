from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from search_helpers import NAMES

from autotl.search.knowledge import (
    DRAWN,
    Arm,
    Deviations,
    Knowledge,
    LeftOut,
    from_logit,
    shipped,
    to_logit,
)
from autotl.search.recipes import RECIPES

MODEL = Knowledge(
    means={"bottleneck/a": 0.1, "finetune/a": 0.4, "finetune/b": 0.3}
    | {f"{name}/{DRAWN}": -0.2 for name in NAMES},
    slopes={"bottleneck": -0.5, "finetune": 0.5, "scratch": 1.0},
    deviations={
        "bottleneck": Deviations(0.8, 0.1, 0.2, 0.1, 0.1, 0.4),
        "finetune": Deviations(0.6, 0.1, 0.2, 0.1, 0.1, 0.4),
        "scratch": Deviations(0.0, 0.2, 0.3, 0.1, 0.1, 0.4),
    },
    noise=1.0,
)
ARMS = [
    Arm("bottleneck", "a", "one"),
    Arm("bottleneck", "a", "two"),
    Arm("finetune", "a", "one"),
    Arm("finetune", "a", "two"),
    Arm("scratch", DRAWN, "one"),
]


def test_a_backbone_s_cheap_model_tells_of_its_fine_tuning() -> None:
    """Two on one backbone: what the first reached beside the other's moves the second's mean."""
    logits = np.array([0.0, 2.0])
    before = MODEL.mean(ARMS, 300)
    after, _ = MODEL.posterior(ARMS, 300, [0, 1], logits, 300)
    assert before[2] == before[3]
    assert after[3] > after[2] + 0.5


def test_the_posterior_is_that_of_the_joint_gaussian() -> None:
    """Against scipy's density: the posterior's mean is where the joint density is greatest."""
    arms, seen, logits = ARMS[:3], [0, 1], np.array([0.5, -0.2])
    found, _ = MODEL.posterior(arms, 300, seen, logits, 200)
    covariance = MODEL.covariance(arms)
    covariance[np.ix_(seen, seen)] += np.diag(MODEL.variance(logits, 200))
    joint = multivariate_normal(MODEL.mean(arms, 300), covariance)
    grid = np.linspace(found[2] - 1.0, found[2] + 1.0, 2001)
    density = joint.logpdf(np.column_stack([np.tile(logits, (len(grid), 1)), grid]))
    assert grid[density.argmax()] == pytest.approx(found[2], abs=2e-3)


def test_more_validation_samples_move_an_arm_nearer_to_its_score() -> None:
    logits = np.array([0.0, 0.0, 2.0])
    leads = [
        float(np.diff(MODEL.posterior(ARMS[:3], 300, [0, 1, 2], logits, n)[0][[0, 2]])[0])
        for n in (20, 200, 20_000)
    ]
    assert all(a < b for a, b in pairwise(leads))
    assert leads[-1] == pytest.approx(2.0, abs=0.05)


def test_deviations_are_beside_the_best_arm_seen() -> None:
    _, deviations = MODEL.posterior(ARMS, 300, [0, 1], np.array([0.0, 2.0]), 300)
    assert deviations[1] == pytest.approx(0.0, abs=1e-6)
    assert (deviations[[0, 2, 3, 4]] > 0.05).all()
    assert deviations.max() < 2.0  # the data set's own level is not in it


def test_draws_of_the_same_settings_are_different_arms() -> None:
    drawn = Arm("finetune", DRAWN, "one")
    covariance = MODEL.covariance([drawn, drawn])
    assert covariance[0, 1] < covariance[0, 0] - 0.1


def test_slopes_are_for_ten_times_the_samples() -> None:
    few, many = MODEL.mean(ARMS, 100), MODEL.mean(ARMS, 1_000)
    assert np.allclose(many - few, [-0.5, -0.5, 0.5, 0.5, 1.0])


def test_training_on_all_lifts_what_grows_more_steeply() -> None:
    gained = MODEL.growth(ARMS, 200, 300)
    assert gained[2] - gained[0] == pytest.approx(math.log10(1.5))  # slopes of 0.5 and -0.5
    assert np.array_equal(MODEL.growth(ARMS, 300, 300), np.zeros(len(ARMS)))


BETTER_TWO = (LeftOut("one", 0.6, 400), LeftOut("two", 0.8, 400))


def test_what_is_told_of_samples_left_out_moves_a_backbone_beside_others() -> None:
    model = replace(MODEL, left_out_noise=1.0)
    before = model.posterior(ARMS, 300, [], np.array([]), 300)[0]
    after, deviations = model.posterior(ARMS, 300, [], np.array([]), 300, BETTER_TWO)
    assert before[2] == before[3]
    assert after[3] > after[2] + 0.2
    assert len(after) == len(deviations) == len(ARMS)
    assert np.isfinite(deviations).all()
    seen = model.posterior(ARMS, 300, [4], np.array([0.0]), 300, BETTER_TWO)[0]
    assert seen[3] > seen[2] + 0.2


def test_of_one_backbone_alone_or_unmeasured_it_tells_nothing() -> None:
    model = replace(MODEL, left_out_noise=1.0)
    for own, told in ((model, BETTER_TWO[:1]), (MODEL, BETTER_TWO)):
        found = own.posterior(ARMS, 300, [0], np.array([1.0]), 300, told)
        plain = own.posterior(ARMS, 300, [0], np.array([1.0]), 300)
        assert np.array_equal(found[0], plain[0])


def test_how_good_all_backbones_are_said_to_be_hardly_counts() -> None:
    """Left-out answers flatter or belittle a data set as a whole: only their order is believed."""
    model = replace(MODEL, left_out_noise=1.0)
    low = (LeftOut("one", 0.5, 400), LeftOut("two", 0.5, 400))
    high = (LeftOut("one", 0.8, 400), LeftOut("two", 0.8, 400))
    shifts = [
        model.posterior(ARMS, 300, [0, 1], np.array([0.0, 0.0]), 300, told)[0][3]
        for told in (low, high)
    ]
    assert shifts[1] - shifts[0] < 0.15  # of the 1.4 logits between them


def test_a_recipe_that_is_not_known_counts_as_drawn() -> None:
    unknown, drawn = Arm("finetune", "new", "one"), Arm("finetune", DRAWN, "one")
    assert MODEL.mean([unknown], 300) == MODEL.mean([drawn], 300)


def test_a_measured_backbone_s_recipes_have_means_of_their_own_at_any_size() -> None:
    beyond = {"finetune/a/one": 0.3, "finetune/one": 0.1, "finetune/a/two@w": 0.2}
    model = replace(MODEL, beyond=beyond)

    def added(recipe: str, backbone: str, strategy: str = "finetune") -> float:
        arm = Arm(strategy, recipe, backbone)
        return float((model.mean([arm], 300) - MODEL.mean([arm], 300))[0])

    assert added("a", "one") == added("a", "one@96px") == pytest.approx(0.3)
    assert added("b", "one") == pytest.approx(0.1)
    assert added("a", "one@w") == added("a", "other") == added("a", "one", "bottleneck") == 0.0
    assert added("a", "two@w@96px") == pytest.approx(0.2)


def test_how_far_behind_an_arm_is_makes_no_difference_beyond_a_bound() -> None:
    found = [
        MODEL.posterior(ARMS, 300, [0, 4], np.array([1.0, 1.0 - behind]), 300)[0]
        for behind in (1.0, 2.5, 6.0)
    ]
    assert np.array_equal(found[1], found[2])
    assert found[0][4] > found[1][4]


def test_scores_as_logits_and_back() -> None:
    for metric, score in (("accuracy", 0.8), ("log_loss", -0.7), ("auroc", 0.6)):
        assert from_logit(metric, to_logit(metric, score, 1e6)) == pytest.approx(score)
    assert math.isfinite(to_logit("accuracy", 1.0, 100))
    assert to_logit("accuracy", 1.0, 100) == pytest.approx(math.log(199))
    assert to_logit("accuracy", 0.0, 100) == pytest.approx(-math.log(199))
    assert math.isfinite(to_logit("log_loss", -50.0, 100))


def test_json_there_and_back() -> None:
    model = replace(MODEL, beyond={"finetune/one": 0.1})
    assert Knowledge.from_json(model.as_json()) == model


def test_many_arms_that_err_together_tell_little_more_than_one() -> None:
    """Four of one strategy and backbone score high: with noise of their own that is believed."""
    arms = [Arm("bottleneck", f"r{k}", "one") for k in range(4)] + [Arm("finetune", "a", "two")]
    logits = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    leads = []
    for own, shared in ((2.0, 0.0), (1.0, 1.0), (0.0, 2.0)):
        model = replace(MODEL, noise=own, shared_noise=shared)
        means, _ = model.posterior(arms, 300, range(5), logits, 50)
        leads.append(means[0] - means[4])
        assert model.variance(logits, 50) == pytest.approx(MODEL.variance(logits, 50) * 2.0)
    assert leads[0] > leads[1] + 0.05 > leads[2] + 0.05


def test_what_is_shipped_knows_every_recipe_or_its_strategy_s_draws() -> None:
    found = shipped()
    assert {f"{name}/{DRAWN}" for name in NAMES} <= found.means.keys()
    known = [own for own in RECIPES if f"{own.strategy}/{own.name}" in found.means]
    assert len(known) > len(RECIPES) / 2
    assert found.noise > 0
    arms = [Arm(own.strategy, own.name, b) for own in RECIPES for b in ("one", "two")]
    assert np.linalg.eigvalsh(found.covariance(arms)).min() > 0
