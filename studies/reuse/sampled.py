"""The trials that both sides run: recipes, and what an untaught search draws."""

from __future__ import annotations

import dataclasses
from typing import Any

import optuna

from autotl.analysis.profile import DatasetProfile
from autotl.analysis.rules import RULES
from autotl.errors import InputError
from autotl.search.arms import params_of
from autotl.search.knowledge import Arm
from autotl.search.plan import STRATEGY
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig

_FREEZE_DEPTH = "finetune.freeze_depth"


def sampled_configs(
    profile: DatasetProfile, n: int, seed: int, *, max_epochs: int | None = None
) -> list[tuple[str, StrategyConfig]]:
    """The rules' recipes, then random draws of the search's space; every freeze depth occurs.

    The last draws are fine-tuning at the depths that chance has left out, their other parameters
    drawn like those of any trial.

    Args:
        profile: of the data set; gives the backbones and the range of epochs.
        n: number of trials; at least the recipes and one for every freeze depth.
        seed: of the draws.
        max_epochs: at most so many in a trial; None: as many as the profile allows.

    Returns:
        Pairs of a strategy's name and a config of it.

    Raises:
        InputError: if ``n`` is too small, or ``max_epochs`` is.
    """
    if max_epochs is not None:
        if max_epochs < 1:
            raise InputError(f"max_epochs must be at least 1, but got {max_epochs}")
        limited = {
            name: dataclasses.replace(found, max_epochs=min(found.max_epochs, max_epochs))
            for name, found in profile.backbones.items()
        }
        profile = dataclasses.replace(profile, backbones=limited)
    names = tuple(STRATEGIES)
    first = first_params(profile)
    deepest = max(candidate.num_stages for candidate in profile.backbones.values())
    depths = range(deepest + 1)
    if n < len(first) + len(depths):
        raise InputError(
            f"n must be at least {len(first) + len(depths)} ({len(first)} recipes and one "
            f"for each of {len(depths)} freeze depths), but got {n}"
        )

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    for params in first:
        study.enqueue_trial(params)
    drawn: list[tuple[str, StrategyConfig]] = []
    seen: set[int] = set()
    for number in range(n):
        missing = [depth for depth in depths if depth not in seen]
        if number >= len(first) and len(missing) >= n - number:
            study.enqueue_trial({STRATEGY: "finetune", _FREEZE_DEPTH: missing[0]})
        trial = study.ask()
        strategy = STRATEGIES[trial.suggest_categorical(STRATEGY, names)]
        drawn.append((strategy.name, strategy.suggest(trial, profile)))
        if _FREEZE_DEPTH in trial.params:
            seen.add(trial.params[_FREEZE_DEPTH])
    return drawn


def first_params(profile: DatasetProfile) -> list[dict[str, Any]]:
    """Parameters of the recipes that rules of thumb name, on the first backbone."""
    backbone = next(iter(profile.backbones))
    named = dict.fromkeys(rule.recipe for rule in RULES)
    arms = [Arm(strategy, name, backbone) for strategy, name in named]
    return [{STRATEGY: arm.strategy, **params_of(arm, profile)} for arm in arms]
