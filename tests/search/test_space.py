from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest

from autotl.analysis.profile import DatasetProfile
from autotl.config import Range
from autotl.errors import InputError
from autotl.search.space import (
    Parameter,
    Space,
    choices_of,
    declared,
    is_inside,
    narrow,
    parameters_of,
    refuse_outside,
    settings_of,
    within,
)
from autotl.strategies import STRATEGIES
from autotl.strategies.base import Strategy

MakeProfile = Callable[..., DatasetProfile]

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=list(STRATEGIES))


@pytest.fixture
def profile(make_profile: MakeProfile) -> DatasetProfile:
    """Two backbones, of 5 and of 12 stages, the second one three times dearer."""
    small, large = make_profile(max_epochs=30), make_profile(max_epochs=10, num_stages=12)
    backbones = {"small": small.backbones["embedded"], "large": large.backbones["embedded"]}
    return replace(small, backbones=backbones)


@every_strategy
@pytest.mark.parametrize("seed", range(4))
def test_what_lies_within_the_ranges_stays(
    strategy: Strategy, seed: int, profile: DatasetProfile
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    wanted = strategy.suggest(trial, profile)
    assert within(strategy, trial.params, profile) == (trial.params, wanted)


def test_values_outside_a_range_are_clipped_and_unknown_choices_left_to_the_sampler(
    make_profile: MakeProfile,
) -> None:
    given = {
        "scratch.backbone": "embedded",
        "scratch.epochs": 40,
        "scratch.lr": 1e-9,
        "scratch.augmentation": "unheard of",
    }
    params, config = within(STRATEGIES["scratch"], given, make_profile(max_epochs=8))
    lowest = config.model_dump()["lr"]
    assert lowest > 1e-9
    assert params == {"scratch.backbone": "embedded", "scratch.epochs": 8, "scratch.lr": lowest}
    assert isinstance(params["scratch.epochs"], int)
    assert config.model_dump()["epochs"] == 8


@every_strategy
def test_choices_are_what_optuna_is_asked(strategy: Strategy, profile: DatasetProfile) -> None:
    trial = optuna.create_study().ask()
    strategy.suggest(trial, profile)
    expected: dict[str, Any] = {
        name: list(distribution.choices)
        for name, distribution in trial.distributions.items()
        if isinstance(distribution, optuna.distributions.CategoricalDistribution)
    }
    assert choices_of(strategy, profile) == expected
    assert expected[f"{strategy.name}.backbone"] == ["small", "large"]


SPACE: Space = {
    "finetune.lr": Range(low=1e-3, high=2e-3),
    "finetune.layer_decay": (0.5, 0.2),
    "finetune.freeze_depth": (1, 2, 3),
    "finetune.freeze_above": (2, 4),
    "finetune.epochs": Range(low=8, high=9),
    "finetune.weight_decay": (0.02,),
    "finetune.augmentation": ("light", "none"),
    "finetune.frozen_epochs": (0,),
}


@pytest.mark.parametrize("seed", range(8))
def test_what_is_drawn_lies_within_the_space(seed: int, profile: DatasetProfile) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    strategy = narrow(STRATEGIES["finetune"], SPACE)
    config: Any = strategy.suggest(trial, profile)
    assert is_inside(trial.params, SPACE)
    assert 1e-3 <= config.lr <= 2e-3
    assert config.augmentation in ("light", "none")
    assert strategy.name == "finetune"
    # another strategy isn't touched
    assert narrow(STRATEGIES["scratch"], {}) is STRATEGIES["scratch"]


def test_numbers_in_a_row_are_a_range_and_others_a_choice(profile: DatasetProfile) -> None:
    asked = parameters_of(narrow(STRATEGIES["finetune"], SPACE), profile)
    assert asked["finetune.freeze_depth"] == Parameter("int", low=1, high=3)
    assert asked["finetune.freeze_above"] == Parameter("choice", (2, 4))
    assert asked["finetune.layer_decay"] == Parameter("choice", (0.2, 0.5))
    assert asked["finetune.weight_decay"] == Parameter("float", low=0.02, high=0.02)
    assert asked["finetune.augmentation"].choices == ("none", "light")  # in the strategy's order


def test_few_settings_are_all_listed(profile: DatasetProfile) -> None:
    space: Space = {"bottleneck.layers": ("last", "all"), "bottleneck.kept": (1.0,)}
    strategy = narrow(STRATEGIES["bottleneck"], space)
    found = settings_of(strategy, profile, "large")
    assert len(found) == 2 * 2 * 2 * 2  # layers, head, balanced, max_width
    assert len({str(own) for own in found}) == len(found)
    assert {own["bottleneck.backbone"] for own in found} == {"large"}
    assert settings_of(STRATEGIES["bottleneck"], profile, "large") == []  # 96
    assert settings_of(STRATEGIES["scratch"], profile, "large") == []  # endless


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"finetune.freeze_dept": (1,)}, "unknown parameter 'finetune.freeze_dept'; did you mean"),
        ({"finetun.lr": (1e-3,)}, "unknown parameter 'finetun.lr'; did you mean 'finetune.lr'"),
        ({"scratch.lr": (1e-3,)}, "scratch.lr: of that strategy nothing is tried, only of fin"),
        ({"finetune.head": ("prob",)}, "'prob'; did you mean 'probe'? (known: probe, random)"),
        ({"finetune.head": Range(low=0, high=1)}, "finetune.head: must be some of its values"),
        ({"finetune.mirror": (0,)}, "finetune.mirror: unknown value 0 (known: False, True)"),
        ({"finetune.lr": (0.5,)}, "0.5 is outside of the 0.0001 to 0.01; the nearest is 0.01"),
        ({"finetune.lr": Range(low=1e-6, high=1e-3)}, "the nearest is 0.0001"),
        ({"finetune.lr": ("fast",)}, "finetune.lr: must be a number, but got 'fast'"),
        ({"finetune.lr": (True,)}, "finetune.lr: must be a number, but got True"),
        ({"finetune.epochs": (2.5,)}, "must be a whole number, but got 2.5; the nearest is 2"),
    ],
)
def test_a_space_that_isn_t_one_is_refused_without_a_data_set(space: Space, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        refuse_outside(space, ("finetune",))


def test_what_follows_from_the_data_is_refused_as_soon_as_it_is_known(
    profile: DatasetProfile,
) -> None:
    space: Space = {
        "finetune.freeze_depth": (13,),
        "finetune.epochs": (1000, 9),
        "finetune.backbone": ("smal", "large"),
        "bottleneck.head": ("svm",),
    }
    refuse_outside(space, ("finetune", "bottleneck"))
    with pytest.raises(InputError) as refused:
        refuse_outside(space, ("finetune", "bottleneck"), profile)
    assert refused.value.problems == [
        "space: finetune.freeze_depth: 13 is outside of the 0 to 12; the nearest is 12",
        "space: finetune.epochs: 1000 is outside of the 7 to 30 that trials can afford in this "
        "time; the nearest is 30",
        "space: finetune.backbone: unknown value 'smal'; did you mean 'small'? (known: large, "
        "small)",
    ]
    refuse_outside(SPACE, ("finetune",), profile)


@every_strategy
def test_what_is_declared_holds_for_every_data_set(
    strategy: Strategy, profile: DatasetProfile
) -> None:
    asked = parameters_of(strategy, profile)
    for name, own in declared(strategy).items():
        assert own in (asked[name], asked[name].without_limits())
    assert declared(strategy).keys() == asked.keys()
    assert declared(strategy)[f"{strategy.name}.backbone"].choices is None
