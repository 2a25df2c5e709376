"""The sampled trials: the rules' recipes, then draws; every freeze depth; few epochs."""

from collections.abc import Callable

import pytest

from autotl.analysis.profile import DatasetProfile
from autotl.errors import InputError
from autotl.strategies import STRATEGIES
from autotl.strategies.finetune import FinetuneConfig
from studies.reuse.sampled import first_params, sampled_configs

MakeProfile = Callable[..., DatasetProfile]


@pytest.mark.parametrize("seed", range(5))
def test_every_strategy_and_freeze_depth_occurs(make_profile: MakeProfile, seed: int) -> None:
    drawn = sampled_configs(make_profile(), 24, seed)
    assert len(drawn) == 24
    assert {name for name, _ in drawn} == set(STRATEGIES)
    assert all(isinstance(config, STRATEGIES[name].Config) for name, config in drawn)
    depths = {c.freeze_depth for _, c in drawn if isinstance(c, FinetuneConfig)}
    assert depths == set(range(6))


def test_the_rules_recipes_come_first(make_profile: MakeProfile) -> None:
    profile = make_profile()
    first = first_params(profile)
    drawn = sampled_configs(profile, 24, 0)
    for params, (name, config) in zip(first, drawn, strict=False):
        assert params == {"strategy": name, **STRATEGIES[name].params(config, profile)}


def test_the_fewest_trials_are_the_first_ones_and_the_depths(make_profile: MakeProfile) -> None:
    profile = make_profile()
    fewest = len(first_params(profile)) + 6
    drawn = sampled_configs(profile, fewest, 0)
    assert {c.freeze_depth for _, c in drawn if isinstance(c, FinetuneConfig)} == set(range(6))
    with pytest.raises(InputError, match=f"at least {fewest}"):
        sampled_configs(profile, fewest - 1, 0)


def test_draws_depend_on_the_seed_alone(make_profile: MakeProfile) -> None:
    profile = make_profile()
    assert sampled_configs(profile, 24, 3) == sampled_configs(profile, 24, 3)
    assert sampled_configs(profile, 24, 3) != sampled_configs(profile, 24, 4)


def test_epochs_are_limited(make_profile: MakeProfile) -> None:
    profile = make_profile(max_epochs=40)

    def epochs(max_epochs: int | None) -> int:
        drawn = sampled_configs(profile, 24, 0, max_epochs=max_epochs)
        return max(getattr(config, "epochs", 0) for _, config in drawn)

    assert epochs(None) == 40
    assert epochs(3) == 3
    assert epochs(100) == 40
    with pytest.raises(InputError, match="max_epochs"):
        epochs(0)
