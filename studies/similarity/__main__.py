"""What the analyzer's figures foretell.

    python -m studies.similarity [--quick] [--work FOLDER]

Reads the outcome table (``studies/outcomes/outcomes.parquet``) and the figures measured here
(``figures.json``; measured anew where they are missing, for which ``../shared`` is needed). The
last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from studies.outcomes import table
from studies.outcomes.__main__ import WORK
from studies.outcomes.tasks import BACKBONES, SHARED
from studies.similarity import figures, plots, truth
from studies.similarity.policies import regrets

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
_RESAMPLES = 1000


def correlation(
    x: pd.Series, y: pd.Series, datasets: np.ndarray, *, resamples: int = _RESAMPLES
) -> dict[str, float | None]:
    """Kendall's tau with a 95 % interval by resampling data sets, not tasks."""
    keep = np.isfinite(x.to_numpy(dtype=float)) & np.isfinite(y.to_numpy(dtype=float))
    x, y, datasets = x[keep], y[keep], datasets[keep]
    if len(x) < 4 or x.nunique() < 3:
        return {"tau": None, "low": None, "high": None, "n": len(x)}
    rng = np.random.default_rng(0)
    names = np.unique(datasets)
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


def foretold(found: pd.DataFrame, measured: pd.DataFrame, resamples: int) -> dict[str, Any]:
    """Kendall's tau of every figure with the benefit of transfer, by backbone."""
    result: dict[str, Any] = {}
    for backbone in BACKBONES:
        gain = truth.benefit(found, backbone)
        own = measured[measured["backbone"] == backbone].set_index(truth.TASK).loc[gain.index]
        datasets = gain.index.get_level_values("dataset").to_numpy()
        result[backbone] = {
            name: correlation(own[name].astype(float), gain, datasets, resamples=resamples)
            for name in FIGURES
        }
    return result


def order_of_backbones(found: pd.DataFrame, measured: pd.DataFrame) -> dict[str, Any]:
    """How often the backbone with the greater score is the one whose best transfer is better."""
    best = {
        backbone: truth.best(
            found[(found["strategy"] != "scratch") & (found["backbone"] == backbone)]
        )["test"]
        for backbone in BACKBONES
    }
    first, second = BACKBONES
    difference = (best[first] - best[second]).dropna()
    clear = difference[difference.abs() > 0.01]
    agree: dict[str, Any] = {"n_tasks": len(clear)}
    for name in ("ridge_accuracy", "distance", *figures.SCORES):
        values = {
            b: measured[measured["backbone"] == b].set_index(truth.TASK)[name].astype(float)
            for b in BACKBONES
        }
        own = (values[first] - values[second]).loc[clear.index]
        sign = -1.0 if name == "distance" else 1.0
        agree[name] = round(float((np.sign(sign * own) == np.sign(clear)).mean()), 3)
    return agree


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.similarity")
    parser.add_argument("--quick", action="store_true", help="fewer resamples, no new figures")
    parser.add_argument("--work", type=Path, default=WORK, help=f"default: {WORK}")
    args = parser.parse_args(argv)
    if not args.quick and (SHARED / "data").is_dir():
        measured = figures.measure_all(BACKBONES, args.work / "pixels", print)
    else:
        measured = figures.load()
    found = truth.common_arms(truth.arms(table.read()))
    resamples = 100 if args.quick else _RESAMPLES
    n_tasks = found.groupby(truth.TASK).ngroups
    print(f"{n_tasks} tasks of {found['dataset'].nunique()} data sets with the same arms")
    correlations = foretold(found, measured, resamples)
    for backbone, by_name in correlations.items():
        print(f"Kendall's tau with the benefit of transfer from {backbone}:")
        for name, value in by_name.items():
            print(f"  {name:<20}{value['tau']!s:>8}  [{value['low']}, {value['high']}]")
    order = order_of_backbones(found, measured)
    print(f"right order of the two backbones, of {order['n_tasks']} tasks that differ by a point:")
    for name, value in order.items():
        if name != "n_tasks":
            print(f"  {name:<20}{value:>8}")
    lost = regrets(found, measured)
    print("points of regret of a recommendation without training, mean and worst:")
    summary = {}
    for name in lost:
        summary[name] = {
            "mean": round(float(lost[name].mean()), 2),
            "worst": round(float(lost[name].max()), 2),
        }
        print(f"  {name:<42}{summary[name]['mean']:>8}{summary[name]['worst']:>8}")
    if not args.quick:
        plots.write(found, measured, lost, Path(__file__).parent)
    figures_by_name = {
        "n_tasks": n_tasks,
        "benefit": correlations,
        "order_of_backbones": order,
        "regret": summary,
    }
    print(json.dumps(figures_by_name))


if __name__ == "__main__":
    main()
