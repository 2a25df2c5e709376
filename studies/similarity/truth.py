"""What really happened, by task: from the outcome table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.outcomes.table import correct_of

TASK = ["dataset", "n_train"]
ARM = ["backbone", "strategy", "name"]


def arms(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of every config of every task.

    Args:
        table: as :func:`studies.outcomes.table.read` gives it.

    Returns:
        Columns of :data:`TASK` and :data:`ARM`, ``validation``, ``test``, ``seconds``, ``config``.
    """
    grouped = table.groupby([*TASK, *ARM], as_index=False)
    return grouped.agg(
        validation=("validation", "mean"),
        test=("test", "mean"),
        seconds=("seconds", "mean"),
        config=("config", "first"),
    )


def right_by_arm(table: pd.DataFrame) -> Mapping[tuple[Any, ...], NDArray[np.float64]]:
    """How often each test sample was answered rightly, mean over folds and seeds.

    Returns:
        By :data:`TASK` and :data:`ARM`, ``(n_test,)`` in [0, 1].
    """
    drawn: dict[tuple[Any, ...], list[NDArray[np.float64]]] = {}
    columns = [*TASK, *ARM, "test_correct", "n_folds"]
    for *key, correct, n_folds in table[columns].itertuples(index=False):
        drawn.setdefault(tuple(key), []).append(correct_of(correct) / n_folds)
    return {key: np.mean(values, axis=0) for key, values in drawn.items()}


def common_arms(found: pd.DataFrame) -> pd.DataFrame:
    """The arms that at least half of the tasks have, of the tasks that have all of them.

    So that a table in the making can be judged by the tasks that are done.
    """
    per_arm = found.groupby(ARM).size()
    most = per_arm[per_arm >= 0.5 * per_arm.max()].index
    kept = found.set_index(ARM).loc[most].reset_index()
    complete = kept.groupby(TASK).size()
    complete = complete[complete == len(most)].index
    return kept.set_index(TASK).loc[complete].reset_index()


def best(found: pd.DataFrame, by: str = "validation") -> pd.DataFrame:
    """The row that is best by a column, for each task."""
    return found.loc[found.groupby(TASK)[by].idxmax()].set_index(TASK)


def sides_of_benefit(found: pd.DataFrame, backbone: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By task the best transfer from a backbone and the best scratch training, of any backbone.

    Each is what its validation score chose.
    """
    own = found[(found["strategy"] != "scratch") & (found["backbone"] == backbone)]
    return best(own), best(found[found["strategy"] == "scratch"])


def benefit(found: pd.DataFrame, backbone: str) -> pd.Series:
    """Points of the best transfer from a backbone over the best scratch training, by task."""
    transfer, scratch = sides_of_benefit(found, backbone)
    return 100.0 * (transfer["test"] - scratch["test"]).dropna()
