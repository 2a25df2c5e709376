"""The trials that both sides run: those that a search would draw, before it has learnt anything."""

from __future__ import annotations

import dataclasses

import optuna

from autotl.analysis.profile import DatasetProfile
from autotl.errors import InputError
from autotl.search.sampler import STRATEGY
from autotl.search.study import first_trials
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig

_FREEZE_DEPTH = "finetune.freeze_depth"


def sampled_configs(
    profile: DatasetProfile, n: int, seed: int, *, max_epochs: int | None = None
) -> list[tuple[str, StrategyConfig]]:
    """The search's first trials, then random draws from its space; every freeze depth occurs.

    The last draws are fine-tuning at the depths that chance has left out, their other parameters
    drawn like those of any trial.

    Args:
        profile: of the data set; gives the backbones and the range of epochs.
        n: number of trials; at least the first trials and one for every freeze depth.
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
    first = first_trials(names, profile)
    deepest = max(candidate.num_stages for candidate in profile.backbones.values())
    depths = range(deepest + 1)
    if n < len(first) + len(depths):
        raise InputError(
            f"n must be at least {len(first) + len(depths)} ({len(first)} first trials and one "
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
