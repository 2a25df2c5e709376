from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest

from autotl.analysis.rules import RULES
from autotl.config import Range
from autotl.search.arms import arms_of, config_of, params_of
from autotl.search.knowledge import DRAWN, Arm, shipped
from autotl.search.recipes import RECIPES, Recipe, recipe
from autotl.search.space import Space, is_inside, narrow
from autotl.strategies import STRATEGIES

MakeProfile = Callable[..., Any]
NAMES = tuple(STRATEGIES)


def test_every_recipe_on_every_backbone_and_draws_where_there_is_a_space(
    make_profile: MakeProfile,
) -> None:
    arms = arms_of(NAMES, make_profile("one", "two"))
    recipes = [arm for arm in arms if arm.recipe != DRAWN]
    assert len(set(arms)) == len(arms)
    assert len(recipes) == 2 * len(RECIPES)
    assert {(a.strategy, a.backbone) for a in arms if a.recipe == DRAWN} == {
        (name, backbone) for name in ("finetune", "scratch") for backbone in ("one", "two")
    }
    assert {arm.strategy for arm in arms_of(("scratch",), make_profile())} == {"scratch"}


def test_names_are_unique_within_a_strategy() -> None:
    assert len({(own.strategy, own.name) for own in RECIPES}) == len(RECIPES)
    with pytest.raises(KeyError, match="finetune/nonsense"):
        recipe("finetune", "nonsense")


@pytest.mark.parametrize("own", RECIPES, ids=lambda own: f"{own.strategy}/{own.name}")
@pytest.mark.parametrize("num_stages", [1, 2, 5, 13])
def test_the_search_makes_a_recipe_s_config(
    own: Recipe, num_stages: int, make_profile: MakeProfile
) -> None:
    profile = make_profile("one", "two", num_stages=num_stages, max_epochs=12)
    deeper = replace(profile.backbones["two"], num_stages=13, max_epochs=30)
    profile = replace(profile, backbones=dict(profile.backbones) | {"two": deeper})
    arm = Arm(own.strategy, own.name, "one")
    wanted: Any = config_of(arm, profile)
    trial = optuna.trial.FixedTrial(params_of(arm, profile))
    made: Any = STRATEGIES[arm.strategy].suggest(trial, profile)  # type: ignore[arg-type]
    moved = {"weight_decay", "layer_decay"}  # to the ends of their ranges
    if num_stages > 1:  # of a single stage nothing is left between what is frozen
        assert made.model_dump(exclude=moved) == wanted.model_dump(exclude=moved)


def test_epochs_are_shares_of_what_a_trial_can_afford(make_profile: MakeProfile) -> None:
    profile = make_profile(max_epochs=30)
    epochs = {
        name: config_of(Arm("finetune", name, "embedded"), profile).epochs  # type: ignore[attr-defined]
        for name in ("full-2e-3", "full-2e-3-short")
    }
    assert epochs == {"full-2e-3": 30, "full-2e-3-short": 10}


def test_drawn_settings_answer_the_backbone_alone(make_profile: MakeProfile) -> None:
    arm = Arm("scratch", DRAWN, "embedded")
    assert params_of(arm, make_profile()) == {"scratch.backbone": "embedded"}
    assert config_of(arm, make_profile()).backbone == "embedded"


def test_every_rule_s_recipe_exists() -> None:
    for rule in RULES:
        assert recipe(*rule.recipe).source


def test_a_strategy_of_one_s_own_is_drawn_and_priced(
    make_profile: MakeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no recipes, and the knowledge that is shipped doesn't know it."""

    class Own(type(STRATEGIES["scratch"])):  # type: ignore[misc]
        name = "own"

        def suggest(self, trial: Any, profile: Any) -> Any:
            backbone = trial.suggest_categorical("own.backbone", tuple(profile.backbones))
            return SimpleNamespace(backbone=backbone, x=trial.suggest_float("own.x", 0.25, 1))

    monkeypatch.setitem(STRATEGIES, "own", Own())
    profile = make_profile("one", "two")
    arms = arms_of(("own", "bottleneck"), profile)
    drawn = [arm for arm in arms if arm.strategy == "own"]
    assert [arm.recipe for arm in drawn] == [DRAWN, DRAWN]
    config: Any = config_of(drawn[1], profile)
    assert (config.backbone, config.x) == ("two", 0.25)
    means, deviations = shipped().posterior(arms, 300, [0], np.array([1.0]), 300)
    assert np.isfinite(means).all()
    assert deviations[-1] > 0.3


def test_recipes_outside_of_a_space_are_left_out(make_profile: MakeProfile) -> None:
    space: Space = {
        "finetune.freeze_depth": (1, 2, 3),
        "finetune.backbone": ("two",),
        "scratch.lr": Range(low=1e-3, high=2e-3),  # the recipes' is 3e-3
        "bottleneck.layers": ("last",),
    }
    profile = make_profile("one", "two", max_epochs=12)
    arms = arms_of(NAMES, profile, space)
    assert {(arm.strategy, arm.recipe) for arm in arms} == {
        ("finetune", "freeze-first"),
        ("finetune", DRAWN),
        ("scratch", DRAWN),
        ("bottleneck", "last-svm"),
        ("bottleneck", "last-logistic"),
    }
    assert {arm.backbone for arm in arms if arm.strategy == "finetune"} == {"two"}
    assert {arm.backbone for arm in arms if arm.strategy == "scratch"} == {"one", "two"}
    for arm in arms:
        config: Any = config_of(arm, profile, space)
        assert config.backbone == arm.backbone
        trial = optuna.create_study().ask()
        made: Any = narrow(STRATEGIES[arm.strategy], space).suggest(trial, profile)
        assert is_inside(trial.params, space)
        if arm.strategy == "scratch":
            assert config.lr == 2e-3  # of drawn settings the nearest to a typical one
        if arm.strategy == "finetune":
            assert made.freeze_depth in (1, 2, 3)


def test_epochs_and_class_weights_are_the_space_s_not_the_recipe_s(
    make_profile: MakeProfile,
) -> None:
    profile = make_profile(max_epochs=24)
    space: Space = {"finetune.epochs": (6, 10), "bottleneck.balanced": (True,)}
    arms = arms_of(NAMES, profile, space)
    assert len([arm for arm in arms if arm.recipe != DRAWN]) == len(RECIPES)
    epochs = {
        name: params_of(Arm("finetune", name, "embedded"), profile, space)["finetune.epochs"]
        for name in ("full-2e-3", "full-2e-3-short")
    }
    assert epochs == {"full-2e-3": 10, "full-2e-3-short": 6}
    config: Any = config_of(Arm("bottleneck", "last-svm", "embedded"), profile, space)
    assert config.balanced


def test_a_space_of_few_settings_is_tried_through(make_profile: MakeProfile) -> None:
    space: Space = {"bottleneck.max_width": (512,), "bottleneck.kept": (1.0,)}  # no recipe
    profile = make_profile("one", "two")
    arms = arms_of(("bottleneck",), profile, space)
    assert len(set(arms)) == len(arms) == 2 * 6 * 2 * 2
    assert arms[0].recipe == "layers=last, head=svm, balanced=False"
    configs = [config_of(arm, profile, space).model_dump_json() for arm in arms]
    assert len(set(configs)) == len(arms)
    for arm, config in zip(arms, configs, strict=True):
        trial = optuna.trial.FixedTrial(params_of(arm, profile, space))
        made = narrow(STRATEGIES["bottleneck"], space).suggest(trial, profile)  # type: ignore[arg-type]
        assert made.model_dump_json() == config
