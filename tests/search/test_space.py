from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from autotl.analysis.profile import DatasetProfile
from autotl.search.space import choices_of, nearest_in_space, params_within
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
@pytest.mark.parametrize("seed", range(8))
def test_every_suggested_config_is_found_again(
    strategy: Strategy, seed: int, profile: DatasetProfile
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    wanted = strategy.suggest(study.ask(), profile)
    params, config = nearest_in_space(strategy, wanted.model_dump(), profile)
    assert config == wanted
    assert strategy.suggest(FixedTrial(params), profile) == wanted  # type: ignore[arg-type]
    assert all(name.startswith(f"{strategy.name}.") for name in params)


def test_values_outside_a_range_are_clipped_and_unknown_choices_left_to_the_sampler(
    profile: DatasetProfile,
) -> None:
    finetune = STRATEGIES["finetune"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    wanted = finetune.suggest(study.ask(), profile).model_dump()
    wanted |= {"lr": 5.0, "epochs": 500, "backbone": "small", "augmentation": "unheard of"}
    params, config = nearest_in_space(finetune, wanted, profile)
    values = config.model_dump()
    assert (values["lr"], values["epochs"]) == (0.01, 30)
    assert params["finetune.lr"] == 0.01
    assert "finetune.augmentation" not in params


def test_parameters_are_fitted_to_the_ranges_of_now(make_profile: MakeProfile) -> None:
    given = {"scratch.epochs": 40, "scratch.lr": 1e-3, "scratch.backbone": "embedded"}
    found = params_within(STRATEGIES["scratch"], given, make_profile(max_epochs=8))
    assert found == {**given, "scratch.epochs": 8}
    assert isinstance(found["scratch.epochs"], int)


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
