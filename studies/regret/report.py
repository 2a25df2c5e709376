"""What came of the replays: means over tasks with intervals, kept by policy in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.regret.experiment import BUDGETS, GRID, Played, seeds_of
from studies.regret.problems import Problem
from studies.regret.registry import POLICIES

FILE = Path(__file__).with_name("regret.json")
_RESAMPLES = 2000


def interval(
    values: NDArray[np.float64], datasets: Sequence[str], n_resamples: int = _RESAMPLES
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % interval of the mean over tasks, by resampling whole data sets.

    Args:
        values: ``(n_tasks, n) float64``.
        datasets: of each task.
        n_resamples: how often.

    Returns:
        Lower and upper ends, ``(n,) float64`` each; NaN where there is one data set only.
    """
    names, which = np.unique(np.asarray(datasets), return_inverse=True)
    if len(names) < 2:
        nothing = np.full(values.shape[1], np.nan)
        return nothing, nothing
    member = np.eye(len(names))[which].T
    weights = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=n_resamples
    )
    means = (weights @ (member @ values)) / (weights @ member.sum(axis=1))[:, None]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def header(problems: Sequence[Problem], *, resample: bool, only_common: bool) -> dict[str, Any]:
    """What the replays were made on; results of different ones are not to be mixed."""
    tasks = {
        problem.name: {
            "dataset": problem.view.dataset,
            "n_development": problem.view.n_development,
            "candidates": len(problem.view.candidates),
            "unit_s": round(problem.unit_s, 2),
            "oracle": round(problem.oracle, 4),
            "chance": round(problem.view.chance, 4),
        }
        for problem in problems
    }
    digest = hashlib.sha256()
    for problem in problems:
        for arm, outcome in sorted(problem.outcomes.items()):
            digest.update(f"{problem.name} {arm}".encode())
            found = [outcome.validation, outcome.test, outcome.seconds]
            digest.update(np.array(found, dtype=np.float32).tobytes())
    return {
        "table_hash": digest.hexdigest()[:16],
        "resample": resample,
        "only_common": only_common,
        "n_tasks": len(tasks),
        "n_datasets": len({task["dataset"] for task in tasks.values()}),
        "budgets": list(BUDGETS),
        "grid": [round(float(t), 4) for t in GRID],
        "tasks": tasks,
    }


def summary(
    name: str, played: Mapping[str, Played], made_on: Mapping[str, Any], n_seeds: int
) -> dict[str, Any]:
    """A policy's results.

    Args:
        name: of the policy.
        played: by task, at least one.
        made_on: see :func:`header`.
        n_seeds: asked for.
    """
    regret = np.stack([p.regret for p in played.values()])
    curve = np.stack([p.curve for p in played.values()])
    low, high = interval(regret, [made_on["tasks"][task]["dataset"] for task in played])
    near = np.concatenate([p.near_from for p in played.values()])
    median = float(np.quantile(near, 0.5, method="higher"))
    return {
        "label": POLICIES[name].label,
        "seeds": seeds_of(POLICIES[name], n_seeds, resample=made_on["resample"]),
        "n_tasks": len(played),
        "mean": _by_budget(regret.mean(axis=0)),
        "low": _by_budget(low),
        "high": _by_budget(high),
        "worst": _by_budget(regret.max(axis=0)),
        "within_1_point": {
            "median_units": round(median, 3) if np.isfinite(median) else None,
            "share": round(float(np.isfinite(near).mean()), 3),
        },
        "curve_mean": [round(float(v), 3) for v in curve.mean(axis=0)],
        "curve_worst": [round(float(v), 3) for v in curve.max(axis=0)],
        "by_task": {
            task: {
                "regret": _by_budget(p.regret),
                "runs": round(p.n_runs, 1),
                "units": round(p.units, 2),
                "within_1_point_share": round(float(np.isfinite(p.near_from).mean()), 3),
            }
            for task, p in played.items()
        },
    }


def _by_budget(values: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        budget: round(float(v), 3) if np.isfinite(v) else None
        for budget, v in zip(BUDGETS, values, strict=True)
    }


def merge(
    made_on: Mapping[str, Any], fresh: Mapping[str, Any], file: Path
) -> tuple[dict[str, Any], list[str]]:
    """Put fresh results among those that the file has of the same table.

    Returns:
        What is to be written; names of policies whose old results are of another table or other
        settings and were left out.
    """
    old = json.loads(file.read_text()) if file.is_file() else {}
    kept = old.get("policies", {})
    is_same = {k: v for k, v in old.items() if k != "policies"} == made_on
    dropped = [] if is_same else [name for name in kept if name not in fresh]
    both = {**kept, **fresh} if is_same else dict(fresh)
    return {**made_on, "policies": {n: both[n] for n in POLICIES if n in both}}, dropped


def differences(results: Mapping[str, Any], reference: str) -> dict[str, dict[str, list[float]]]:
    """Mean regret less that of a reference, on the tasks that both have.

    Returns:
        By policy and budget: mean, lower and upper end of its 95 % interval; less than 0 is better
        than the reference.
    """
    policies, tasks = results["policies"], results["tasks"]
    base = policies[reference]["by_task"]
    found = {}
    for name, own in policies.items():
        common = [task for task in own["by_task"] if task in base]
        if name == reference or not common:
            continue
        apart = np.array(
            [
                [own["by_task"][t]["regret"][b] - base[t]["regret"][b] for b in results["budgets"]]
                for t in common
            ]
        )
        low, high = interval(apart, [tasks[t]["dataset"] for t in common])
        ends = zip(results["budgets"], apart.mean(axis=0), low, high, strict=True)
        found[name] = {b: [round(float(v), 2) for v in three] for b, *three in ends}
    return found


def lines(results: Mapping[str, Any]) -> list[str]:
    """A table for reading, the least regret of the last budgets first."""
    budgets = results["budgets"]
    policies = results["policies"]
    made = [
        f"{'mean (worst) regret, points':<42}" + "".join(f"{b:>14}" for b in budgets) + "  near"
    ]
    for own in sorted(policies.values(), key=lambda p: p["mean"]["4"]):
        cells = "".join(f"{own['mean'][b]:>7.2f} ({own['worst'][b]:>4.1f})" for b in budgets)
        near = own["within_1_point"]
        when = "-" if near["median_units"] is None else f"{near['median_units']:.2f}"
        fewer = "" if own["n_tasks"] == results["n_tasks"] else f"  {own['n_tasks']} tasks only"
        made.append(f"{own['label']:<42}{cells}  {when} ({100 * near['share']:.0f} %){fewer}")
    return made
