"""A warm start: what did best in earlier fits on similar data sets is tried early in this one.

Earlier fits are read from their folders: the profile and the ended trials, no model. Which ones
are similar says :func:`autotl.analysis.profile_distance.profile_distance`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from pydantic import ValidationError

from autotl.analysis.profile import DatasetProfile
from autotl.analysis.profile_distance import profile_distance
from autotl.search.plan import STRATEGY
from autotl.search.space import within
from autotl.strategies import STRATEGIES
from autotl.strategies.base import StrategyConfig

WARM_START = "warm_start"
"""The attribute and tag of a trial that names the earlier fit that it comes from."""
ORIGIN = (WARM_START, "warm_start_distance")
"""All attributes of such a trial."""
HELD = "autotl.warm"
"""The study's attribute with what waits for its first result."""
MAX_DISTANCE = 0.4
"""Of an earlier fit's data set, the most that lets its trials in. Halves of one data set are 0.04
apart, a data set and a tenth of it up to 0.4, sets of photographs 0.14 to 0.36; photographs and
spectrograms, X-rays or characters 0.4 to 0.8. Set by these, not fitted to what it brings."""
MAX_FITS = 3
MAX_TRIALS = 3
"""All together, so that a short search isn't spent on what did well elsewhere."""

_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What reading a file of another make may raise."""
_N_NAMED = 3


@dataclass(frozen=True)
class WarmTrial:
    """A config that did well before, adapted to this data set's search space.

    Attributes:
        strategy: its name.
        config: of the strategy; a backbone of now, with epochs that a trial can afford now.
        source_study: the earlier fit.
        distance: of that fit's data set.
    """

    strategy: str
    config: StrategyConfig
    source_study: str
    distance: float


@dataclass(frozen=True)
class _EarlierFit:
    folder: Path
    profile: Mapping[str, Any]
    distance: float
    written_s: float


def warm_trials(
    output_dir: Path,
    profile: DatasetProfile,
    strategies: Sequence[str],
    *,
    exclude: str = "",
    note: Callable[[str], None] = lambda message: None,
) -> list[WarmTrial]:
    """What did best in the most similar earlier fits.

    First the best trial of each of the nearest fits, then each one's best of the next strategy, up
    to :data:`MAX_TRIALS`. A fit on the same data is nearest of all; of equally near ones the newest
    comes first. Any finished trial counts, also one of a fit that was interrupted.

    Args:
        output_dir: the folder with a folder for each fit.
        profile: of the data set now.
        strategies: those allowed.
        exclude: a fit that doesn't count: this one.
        note: told, in one line, of folders that can't be read.
    """
    known = profile.as_json()
    fits, damaged = [], []
    for file in sorted(output_dir.glob("*/profile.json")):
        if file.parent.name == exclude:
            continue
        try:
            earlier = json.loads(file.read_text(encoding="utf-8"))
            distance = profile_distance(known, earlier)
            if distance is not None and distance <= MAX_DISTANCE:
                fits.append(_EarlierFit(file.parent, earlier, distance, file.stat().st_mtime))
        except _DAMAGE:
            damaged.append(file.parent.name)
    fits.sort(key=lambda fit: (fit.distance, -fit.written_s))
    found: list[list[WarmTrial]] = []
    for fit in fits:
        if len(found) == MAX_FITS:
            break
        try:
            best = _best_of(fit, profile, strategies)
        except _DAMAGE:
            damaged.append(fit.folder.name)
            continue
        if best:
            found.append(best)
    if damaged:
        named = ", ".join(damaged[:_N_NAMED])
        more = f" and {len(damaged) - _N_NAMED} more" if len(damaged) > _N_NAMED else ""
        note(f"no warm start from earlier fits that can't be read: {named}{more}")
    chosen: list[WarmTrial] = []
    for rank in zip_longest(*found):
        for trial in rank:
            if trial is not None and all(trial.config != other.config for other in chosen):
                chosen.append(trial)
    return chosen[:MAX_TRIALS]


def told(trials: Sequence[WarmTrial]) -> str:
    """Which earlier fits the trials come from, in a sentence."""
    distances = {trial.source_study: trial.distance for trial in trials}
    sources = [f"{name} (distance {distance:.1f})" for name, distance in distances.items()]
    return "starting from what did best on " + ", ".join(sources)


def _best_of(
    fit: _EarlierFit, profile: DatasetProfile, strategies: Sequence[str]
) -> list[WarmTrial]:
    """The best trial of each strategy that can be tried now, best first."""
    best: dict[str, tuple[float, StrategyConfig]] = {}
    for file in sorted((fit.folder / "trials").glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        strategy = record["strategy"]
        if record["state"] != "complete" or strategy not in strategies:
            continue
        score = float(record["result"]["score"])
        if not math.isfinite(score) or score <= best.get(strategy, (-math.inf,))[0]:
            continue
        config = _adapted(strategy, record["config"], fit.profile, profile)
        if config is not None:
            best[strategy] = (score, config)
    ranked = sorted(best.items(), key=lambda entry: -entry[1][0])
    return [
        WarmTrial(strategy, config, fit.folder.name, fit.distance)
        for strategy, (_, config) in ranked
    ]


def _adapted(
    strategy: str,
    values: Mapping[str, Any],
    earlier: Mapping[str, Any],
    profile: DatasetProfile,
) -> StrategyConfig | None:
    """The config within today's search space; None if it is of a backbone or a kind unknown now.

    Epochs grow with what a trial can afford, so that one that had all it could have gets that
    again; they shrink only as far as they must.
    """
    backbone = values["backbone"]
    if backbone not in profile.backbones:
        return None
    try:
        config = STRATEGIES[strategy].Config.model_validate(dict(values))
    except ValidationError:
        return None
    epochs = getattr(config, "epochs", None)
    if epochs is not None:
        before = earlier["backbones"][backbone]["max_epochs"]
        now = profile.backbones[backbone].max_epochs
        epochs = min(now, round(epochs * max(1.0, now / before)))
        config = config.model_copy(update={"epochs": max(1, epochs)})
    params = STRATEGIES[strategy].params(config, profile)
    return within(STRATEGIES[strategy], params, profile)[1]


def hold(study: optuna.Study, trials: Sequence[WarmTrial], profile: DatasetProfile) -> None:
    """Keep warm trials with a study until it has a first result: see :func:`release`."""
    held = []
    for trial in trials:
        strategy = STRATEGIES[trial.strategy]
        params = within(strategy, strategy.params(trial.config, profile), profile)[0]
        origin = dict(zip(ORIGIN, (trial.source_study, trial.distance), strict=True))
        held.append([{STRATEGY: trial.strategy, **params}, origin])
    study.set_user_attr(HELD, held)


def release(study: optuna.Study) -> None:
    """Enqueue what is held, once a trial has finished.

    Before that the plan chooses, so that the quickest model is there first whatever did best
    elsewhere.
    """
    held = study.user_attrs.get(HELD)
    if held and study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        study.set_user_attr(HELD, [])
        for params, origin in held:
            study.enqueue_trial(params, user_attrs=origin)
