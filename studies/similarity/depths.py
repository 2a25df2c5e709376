"""How deep to freeze, by task: from the outcome table.

Four measures, as none of them is good alone. Depths are shares of the backbone's stages: 0 is
everything trained, 1 is only a head. Configs that train the first stages and freeze the later ones
are left out.

- :func:`freezing_first`: the recipe that freezes the first stages less the one that differs from it
  in nothing else. Clean, but of two depths.
- :func:`freezing_all`: the best bottleneck less the best fine-tuning. The other end of the scale.
- :func:`slopes`: what a task gains by freezing from all its fine-tuning configs, less what the same
  configs gain on the other tasks. Settings beside the depth, which differ between the configs too,
  cancel as the same configs were run everywhere.
- :func:`best_depth`: that of the config that validation chose. What a search would find, but with
  several configs at each depth the best of many wins easily.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from studies.similarity import truth

_MIN_DEPTHS = 4
_MIN_TASKS = 4
_LEAST = 0.005
"""Scores nearer to 0 or 1 count as this, so that logits are finite."""


def with_depths(found: pd.DataFrame, backbone: str, num_stages: int) -> pd.DataFrame:
    """The arms of a backbone that freeze from the input on, with their ``depth`` in [0, 1].

    Args:
        found: arms, see :func:`studies.similarity.truth.arms`.
        backbone: its name.
        num_stages: of it.
    """
    own = found[(found["backbone"] == backbone) & (found["strategy"] != "scratch")]
    configs = own["config"].map(json.loads)
    frozen = configs.map(lambda config: config.get("freeze_depth", num_stages))
    own = own.assign(depth=frozen.astype(float) / num_stages)
    return own[configs.map(lambda config: config.get("freeze_above") is None).to_numpy(dtype=bool)]


def freezing_first(own: pd.DataFrame) -> pd.Series:
    """Points of ``freeze-first`` over ``tenth``, by task."""
    scores = own[own["strategy"] == "finetune"].set_index([*truth.TASK, "name"])["test"].unstack()
    if not {"freeze-first", "tenth"} <= set(scores.columns):
        return _nothing()
    return 100.0 * (scores["freeze-first"] - scores["tenth"]).dropna()


def freezing_all(own: pd.DataFrame) -> pd.Series:
    """Logits of the best bottleneck over the best fine-tuning, both chosen by validation.

    In points, tasks where everything is right nearly always would seem to bear freezing well.
    """
    best = [
        _logit(truth.best(own[own["strategy"] == strategy])["test"])
        for strategy in ("bottleneck", "finetune")
    ]
    return (best[0] - best[1]).dropna()


def slopes(own: pd.DataFrame) -> pd.DataFrame:
    """What freezing everything would bring a task beyond the mean task, in logits, with its noise.

    Least squares of ``logit(score) = task + config + slope of the task * depth``, weighed by what a
    test set says of a logit. The slopes are told less their mean, which the configs' own levels
    take up. So a slope says which tasks bear freezing better than others, not whether freezing is
    good.

    Returns:
        By task ``slope`` and its standard ``error``; without rows where fewer than four tasks have
        configs at four depths.
    """
    tuned = own[own["strategy"] == "finetune"]
    enough = tuned.groupby(truth.TASK)["depth"].nunique()
    enough = enough[enough >= _MIN_DEPTHS].index
    nothing = pd.DataFrame({"slope": _nothing(), "error": _nothing()})
    if len(enough) < _MIN_TASKS:
        return nothing
    tuned = tuned.set_index(truth.TASK).loc[enough].reset_index()
    tasks = pd.MultiIndex.from_frame(tuned[truth.TASK])
    which = enough.get_indexer(tasks)
    configs, names = pd.factorize(tuned["name"])
    n_tasks, n_configs = len(enough), len(names)
    depth = tuned["depth"].to_numpy() - tuned["depth"].mean()
    rows = np.arange(len(tuned))
    design = np.zeros((len(tuned), 2 * n_tasks + n_configs))
    design[rows, which] = 1.0
    design[rows, n_tasks + configs] = 1.0
    design[rows, n_tasks + n_configs + which] = depth
    share = tuned["test"].clip(_LEAST, 1.0 - _LEAST).to_numpy(dtype=float)
    weight = np.sqrt(share * (1.0 - share))
    score = weight * _logit(tuned["test"]).to_numpy()
    design *= weight[:, None]
    inverse = np.linalg.pinv(design)
    solved = inverse @ score
    # contrasts of the slopes with their mean: the part of them that the scores determine
    contrast = np.zeros((n_tasks, design.shape[1]))
    contrast[:, n_tasks + n_configs :] = np.eye(n_tasks) - 1.0 / n_tasks
    free = len(tuned) - np.linalg.matrix_rank(design)
    if free < 1:
        return nothing
    variance = np.square(score - design @ solved).sum() / free
    error = np.sqrt(variance * np.square(contrast @ inverse).sum(axis=1))
    return pd.DataFrame({"slope": contrast @ solved, "error": error}, index=enough)


def reliability(found: pd.DataFrame) -> float | None:
    """The share of the slopes' variance between tasks that is no noise; None without slopes."""
    if not len(found):
        return None
    spread = float(found["slope"].var())
    return max(0.0, 1.0 - float(np.square(found["error"]).mean()) / spread)


def best_depth(own: pd.DataFrame) -> pd.Series:
    """The depth of the arm that validation chose, of the arms that all tasks have."""
    return truth.best(truth.common_arms(own))["depth"]


def _logit(score: pd.Series) -> pd.Series:
    share = score.astype(float).clip(_LEAST, 1.0 - _LEAST)
    return np.log(share / (1.0 - share))


def _nothing() -> pd.Series:
    index = pd.MultiIndex.from_arrays([[], []], names=truth.TASK)
    return pd.Series([], index=index, dtype=float)
