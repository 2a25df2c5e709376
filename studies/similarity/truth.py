"""What really happened, by task: from the outcome table."""

from __future__ import annotations

import pandas as pd

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


def benefit(found: pd.DataFrame, backbone: str) -> pd.Series:
    """Points by which the best transfer from a backbone beats the best scratch training, by task.

    Each side is what its validation score chose; scratch is that of any backbone.
    """
    scratch = best(found[found["strategy"] == "scratch"])["test"]
    own = found[(found["strategy"] != "scratch") & (found["backbone"] == backbone)]
    return 100.0 * (best(own)["test"] - scratch).dropna()
