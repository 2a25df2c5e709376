"""Estimates the model of :mod:`autotl.search.knowledge` from rows of the outcome table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from autotl.search.knowledge import DRAWN, MIDDLE, Arm, Deviations, Knowledge, to_logit

STRATEGIES = ("bottleneck", "finetune", "scratch")
_FIELDS = ("features", "backbone", "strategy", "recipe", "arm", "drawn")
_PAIRED = 0.5
"""Of the binomial variance of two configs' scores on the same samples, what isn't common."""
_PRIOR_DEVIATION = 1.5
"""Of the recipes' means and the slopes: a weak ridge."""
_SMALLEST, _LARGEST = 0.01, 3.0

Vector = NDArray[np.float64]


def arm_of(strategy: str, name: str, backbone: str) -> Arm:
    """The arm that a row measured; a Sobol point counts as drawn."""
    return Arm(strategy, DRAWN if name.startswith("sobol") else name, backbone)


def _arms(rows: pd.DataFrame) -> list[Arm]:
    named = rows[["strategy", "name", "backbone"]].itertuples(index=False)
    return [arm_of(str(s), str(n), str(b)) for s, n, b in named]


class _Problem:
    """One data set at one size: its arms and their test scores' logits."""

    def __init__(self, rows: pd.DataFrame, names: list[str]) -> None:
        self.arms = _arms(rows)
        n_test = float(rows["n_test"].iloc[0])
        self.logits = np.array([to_logit("accuracy", float(v), n_test) for v in rows["test"]])
        p = expit(self.logits)
        self.noise = _PAIRED / (n_test * p * (1.0 - p))
        decades = float(np.log10(rows["n_development"].iloc[0])) - MIDDLE
        self.design = np.zeros((len(self.arms), len(names) + len(STRATEGIES)))
        for i, arm in enumerate(self.arms):
            self.design[i, names.index(f"{arm.strategy}/{arm.recipe}")] = 1.0
            self.design[i, len(names) + STRATEGIES.index(arm.strategy)] = decades


def estimate(frame: pd.DataFrame) -> Knowledge:
    """Maximum likelihood of the variances, with the means that go with them.

    Args:
        frame: complete rows of the table with their test scores, first seed only.
    """
    frame = frame[frame["seed"] == 0]
    made = _arms(frame)
    names = sorted(
        {f"{a.strategy}/{a.recipe}" for a in made} | {f"{s}/{DRAWN}" for s in STRATEGIES}
    )
    problems = [_Problem(rows, names) for _, rows in frame.groupby(["dataset", "n_train"])]
    start = np.log(np.full(len(_FIELDS) * len(STRATEGIES), 0.3))

    def loss(parameters: Vector) -> float:
        return _fit_means(_deviations(parameters), problems)[1]

    bounds = [(np.log(_SMALLEST), np.log(_LARGEST))] * len(start)
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    deviations = _deviations(found.x)
    beta, _ = _fit_means(deviations, problems)
    means = dict(zip(names, (float(v) for v in beta[: len(names)]), strict=True))
    for strategy in STRATEGIES:
        if not any(a.strategy == strategy and a.recipe == DRAWN for a in made):
            own = [means[n] for n in names if n.startswith(strategy) and not n.endswith(DRAWN)]
            means[f"{strategy}/{DRAWN}"] = float(np.mean(own)) if own else 0.0
    slopes = dict(zip(STRATEGIES, (float(v) for v in beta[len(names) :]), strict=True))
    return Knowledge(means, slopes, deviations, _noise(frame))


def _deviations(parameters: Vector) -> dict[str, Deviations]:
    values = np.exp(parameters).reshape(len(STRATEGIES), len(_FIELDS))
    made = {}
    for strategy, own in zip(STRATEGIES, values, strict=True):
        given = dict(zip(_FIELDS, (float(v) for v in own), strict=True))
        if strategy == "scratch":
            given["features"] = 0.0
        made[strategy] = Deviations(**given)
    return made


def _fit_means(deviations: dict[str, Deviations], problems: list[_Problem]) -> tuple[Vector, float]:
    """Generalised least squares with a weak ridge; twice the negative log likelihood."""
    prior = Knowledge({}, {}, deviations, 1.0)
    width = problems[0].design.shape[1]
    gram, right = np.eye(width) / _PRIOR_DEVIATION**2, np.zeros(width)
    constant = 0.0
    for problem in problems:
        covariance = prior.covariance(problem.arms) + np.diag(problem.noise)
        factor = np.linalg.cholesky(covariance)
        design = np.linalg.solve(factor, problem.design)
        target = np.linalg.solve(factor, problem.logits)
        gram += design.T @ design
        right += design.T @ target
        constant += float(target @ target) + 2.0 * float(np.log(np.diag(factor)).sum())
    beta: Vector = np.linalg.solve(gram, right)
    # the means integrated out, so that few data sets don't pass for certainty
    marginal = constant - float(right @ beta) + float(np.linalg.slogdet(gram)[1])
    return beta, marginal


def _noise(frame: pd.DataFrame) -> float:
    """Mean square of what validation scores say too much or too little beside each other."""
    ratios = []
    for _, rows in frame.groupby(["dataset", "n_train"]):
        n, n_test = float(rows["n_development"].iloc[0]), float(rows["n_test"].iloc[0])
        if float(rows["n_folds"].iloc[0]) == 1:
            n /= 5.0
        validation = np.array([to_logit("accuracy", float(v), n) for v in rows["validation"]])
        test = np.array([to_logit("accuracy", float(v), n_test) for v in rows["test"]])
        p = np.clip(rows["test"].to_numpy(dtype=np.float64), 0.02, 0.98)
        usual = 1.0 / (n * p * (1.0 - p))
        off = validation - test
        ratios.append(float(np.mean((off - off.mean()) ** 2 / usual)))
    return float(np.median(ratios))
