"""What the fits show: regret beside other policies, late ends, and whether what was said is so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from autotl.uncertainty import wilson_interval

LATE_SHARE, LATE_S = 0.05, 3.0
"""A fit is late if it ends later than both of these beyond its budget."""
_N_RESAMPLED = 10_000


def preferring_accuracy(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Autotl's fits as they would have ended with ``prefer="accuracy"``.

    That takes the best strategy, where the default takes a cheaper one within a standard error of
    it. Its model was refitted and tested after the fit, as all others were.

    Args:
        rows: of autotl's fits.
        name: of the policy in what is returned.
    """
    return rows.assign(policy=name, test=rows["accurate"], choice=rows["accurate_choice"])


def duels(rows: pd.DataFrame, ours: str) -> dict[str, Any]:
    """Policies on the same tasks: regret against the best of them, in points.

    Args:
        rows: of the part ``duels``.
        ours: the policy that others are compared with.

    Returns:
        By policy: ``mean`` and ``worst`` regret, ``seconds`` and, but for ours, ``lead``: by how
        much ours is better on average, with a 95 % interval over data sets. And by task: scores.
    """
    tests = rows.pivot_table(
        index=["dataset", "n_train"], columns="policy", values="test", aggfunc="mean"
    ).dropna()
    regret = 100.0 * (tests.max(axis=1).to_numpy()[:, None] - tests)
    seconds = rows.groupby("policy")["seconds"].mean()
    found: dict[str, Any] = {}
    for policy in tests.columns:
        found[policy] = {
            "mean": _rounded(regret[policy].mean()),
            "worst": _rounded(regret[policy].max()),
            "seconds": _rounded(seconds[policy]),
        }
        if policy != ours:
            lead = 100.0 * (tests[ours] - tests[policy])
            low, high = _interval_of_mean(lead.groupby("dataset").mean().to_numpy())
            found[policy]["lead"] = [_rounded(lead.mean()), _rounded(low), _rounded(high)]
    by_task = {
        f"{dataset}-{n_train}": {policy: round(float(v), 4) for policy, v in row.items()}
        for (dataset, n_train), row in tests.iterrows()
    }
    return {"tasks": len(tests), "policies": found, "by_task": by_task}


def deadlines(rows: pd.DataFrame) -> dict[str, Any]:
    """How late fits ended.

    Args:
        rows: of autotl's fits.
    """
    over = rows["seconds"] - rows["budget_s"]
    late = over > np.maximum(LATE_S, LATE_SHARE * rows["budget_s"])
    worst = over.idxmax()
    return {
        "fits": len(rows),
        "late": int(late.sum()),
        "worst_overrun_s": _rounded(over[worst]),
        "its_budget_s": _rounded(rows["budget_s"][worst]),
        "unused_share": _rounded(float((-over / rows["budget_s"]).median())),
    }


def honesty(rows: pd.DataFrame) -> dict[str, Any]:
    """Whether the expected score and what was said of the other strategies held on the test sets.

    Args:
        rows: of autotl's fits.

    Returns:
        ``covered``: share of fits whose 95 % interval has the test score (with Wilson's
        interval); ``covered_allowing``: the same with the test set's own standard error added to
        the interval, as the test score has its noise, too; ``bias``: mean of expected less test
        score, in points, with its interval over fits; ``optimism``: what had been taken off, in
        points; ``equal``: claims that two strategies are equal within a stated noise, and how
        many held; ``clear``: claims that one is better, and how many had the right sign.
    """
    inside = (rows["low"] <= rows["test"]) & (rows["test"] <= rows["high"])
    half = (rows["high"] - rows["low"]) / 2.0
    error = (rows["test_high"] - rows["test_low"]) / 2.0
    middle = (rows["high"] + rows["low"]) / 2.0
    allowing = (rows["test"] - middle).abs() <= np.hypot(half, error)
    bias = 100.0 * (rows["expected"] - rows["test"]).to_numpy()
    claims = [
        {**claim, "gap": float(row["test"]) - float(claim["test"])}
        for _, row in rows.iterrows()
        for claim in row["others"]
        if claim["noise"] is not None and np.isfinite(claim["noise"])
    ]
    equal = [claim for claim in claims if not claim["is_clear"]]
    clear = [claim for claim in claims if claim["is_clear"]]
    held = sum(abs(claim["gap"]) <= claim["noise"] for claim in equal)
    right = sum(claim["gap"] > 0.0 for claim in clear)
    return {
        "fits": len(rows),
        "covered": _share(int(inside.sum()), len(rows)),
        "covered_allowing": _share(int(allowing.sum()), len(rows)),
        "bias": [_rounded(bias.mean()), *map(_rounded, _interval_of_mean(bias))],
        "optimism": _rounded(100.0 * rows["optimism"].mean()),
        "half_width": _rounded(100.0 * half.median()),
        "equal": _share(held, len(equal)),
        "equal_noise": _rounded(100.0 * float(np.median([c["noise"] for c in equal])))
        if equal
        else None,
        "clear": _share(right, len(clear)),
    }


def _share(n: int, of: int) -> dict[str, Any]:
    if not of:
        return {"n": 0, "of": 0}
    low, high = wilson_interval(n / of, of)
    return {
        "n": n,
        "of": of,
        "share": _rounded(n / of),
        "interval": [_rounded(low), _rounded(high)],
    }


def _interval_of_mean(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap."""
    own = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    means = own[rng.integers(len(own), size=(_N_RESAMPLED, len(own)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _rounded(value: float) -> float:
    return round(float(value), 3)
