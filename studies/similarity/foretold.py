"""Which figure foretells what: Kendall's tau over the tasks, with intervals over data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from studies.outcomes.tasks import BACKBONES
from studies.similarity import depths, figures, truth

FIGURES = (
    "n_samples",
    "samples_per_class",
    "distance",
    "frechet",
    "prototypes",
    "two_nn",
    "doubling_gain",
    "ridge_accuracy",
    *figures.SCORES,
)
CLEAR = 0.01
"""Backbones whose best scores differ by less are not told apart."""
RESAMPLES = 1000
_MIN_DATASETS = 5
"""Resampling fewer says nothing."""
_ORDERING = ("ridge_accuracy", "distance", *figures.SCORES)


def correlation(
    x: pd.Series, y: pd.Series, datasets: np.ndarray, *, resamples: int = RESAMPLES
) -> dict[str, float | None]:
    """Kendall's tau with a 95 % interval by resampling data sets, not tasks; None for too few."""
    keep = np.isfinite(x.to_numpy(dtype=float)) & np.isfinite(y.to_numpy(dtype=float))
    x, y, datasets = x[keep], y[keep], datasets[keep]
    names = np.unique(datasets)
    if len(names) < _MIN_DATASETS or x.nunique() < 3 or y.nunique() < 2:
        return {"tau": None, "low": None, "high": None, "n": len(x)}
    rng = np.random.default_rng(0)
    rows = {name: np.flatnonzero(datasets == name) for name in names}
    drawn = []
    for _ in range(resamples):
        chosen = np.concatenate([rows[name] for name in rng.choice(names, len(names))])
        drawn.append(kendalltau(x.to_numpy()[chosen], y.to_numpy()[chosen]).statistic)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {
        "tau": round(float(kendalltau(x, y).statistic), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
        "n": len(x),
    }


def targets(table: pd.DataFrame, found: pd.DataFrame, measured: pd.DataFrame) -> dict[str, Any]:
    """What is to be foretold, by backbone and name, a value for each task that has it.

    Args:
        table: all complete rows.
        found: the arms that all tasks have.
        measured: figures by task and backbone.
    """
    result: dict[str, Any] = {}
    for backbone in BACKBONES:
        own = _with_depths(table, measured, backbone)
        result[backbone] = {
            "benefit": truth.benefit(found, backbone),
            "freezing first": depths.freezing_first(own),
            "freezing all": depths.freezing_all(truth.common_arms(own)),
            "depth slope": depths.slopes(own)["slope"],
            "best depth": depths.best_depth(own),
        }
    return result


def _with_depths(table: pd.DataFrame, measured: pd.DataFrame, backbone: str) -> pd.DataFrame:
    per_stage = measured[measured["backbone"] == backbone]["distance_by_stage"]
    return depths.with_depths(truth.arms(table), backbone, len(per_stage.iloc[0]))


def of_target(target: pd.Series, own: pd.DataFrame, resamples: int) -> dict[str, Any]:
    """Kendall's tau of every figure of a backbone with a target; None with too few tasks."""
    own = own.set_index(truth.TASK)
    target = target[target.index.isin(own.index)]
    own = own.loc[target.index]
    datasets = target.index.get_level_values("dataset").to_numpy()
    return {
        name: correlation(own[name].astype(float), target, datasets, resamples=resamples)
        for name in FIGURES
    }


def depth_summary(
    table: pd.DataFrame, measured: pd.DataFrame, by_backbone: dict[str, Any]
) -> dict[str, Any]:
    """What the measures of the freeze depth look like themselves, and how sure they are."""
    summary: dict[str, Any] = {}
    for backbone, by_name in by_backbone.items():
        summary[backbone] = {
            name: {
                "n": len(values),
                "mean": round(float(values.mean()), 2),
                "least": round(float(values.min()), 2),
                "most": round(float(values.max()), 2),
            }
            for name, values in by_name.items()
            if name != "benefit" and len(values)
        }
        counts = by_name["best depth"].round(2).value_counts().sort_index()
        summary[backbone]["best depth counts"] = {str(k): int(v) for k, v in counts.items()}
        sure = depths.reliability(depths.slopes(_with_depths(table, measured, backbone)))
        summary[backbone]["reliability of slopes"] = None if sure is None else round(sure, 2)
    return summary


def differences(found: pd.DataFrame, measured: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """First backbone less second, by task: best transfer in points, and every figure."""
    first, second = (
        truth.best(found[(found["strategy"] != "scratch") & (found["backbone"] == backbone)])
        for backbone in BACKBONES
    )
    lead = 100.0 * (first["test"] - second["test"]).dropna()
    values = [
        measured[measured["backbone"] == backbone]
        .set_index(truth.TASK)[list(_ORDERING)]
        .astype(float)
        .reindex(lead.index)
        for backbone in BACKBONES
    ]
    return lead, values[0] - values[1]


def order_of_backbones(
    found: pd.DataFrame, measured: pd.DataFrame, resamples: int
) -> dict[str, Any]:
    """How well each figure tells the better backbone of a task.

    Returns:
        ``n_tasks`` on which they differ clearly; by figure ``right``, the share of those on which
        it names the better one, and ``lead``, Kendall's tau of its difference with the difference
        of the scores over all tasks. A smaller distance is taken for better.
    """
    lead, own = differences(found, measured)
    own["distance"] *= -1.0
    clear = lead[lead.abs() > 100.0 * CLEAR]
    datasets = lead.index.get_level_values("dataset").to_numpy()
    agree: dict[str, Any] = {"n_tasks": len(clear)}
    for name in _ORDERING:
        right = np.sign(own[name].loc[clear.index]) == np.sign(clear)
        agree[name] = {
            "right": round(float(right.mean()), 3) if len(clear) else None,
            "lead": correlation(own[name], lead, datasets, resamples=resamples),
        }
    return agree
