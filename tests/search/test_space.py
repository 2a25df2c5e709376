from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest

from autotl.analysis.profile import DatasetProfile
from autotl.search.space import choices_of, within
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
