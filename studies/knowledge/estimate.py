"""Estimates the model of :mod:`autotl.search.knowledge` from rows of the outcome table."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from autotl.analysis.examination import MAX_SCORED
from autotl.search.knowledge import (
    DRAWN,
    LEFT_OUT,
    MIDDLE,
    Arm,
    Deviations,
    Knowledge,
    LeftOut,
    bounded,
    to_logit,
)

HELD_OUT = 0.2
"""Of the development samples, what one fold validates on."""
STRATEGIES = ("bottleneck", "finetune", "scratch")
_FIELDS = ("features", "backbone", "strategy", "recipe", "arm", "drawn")
_PAIRED = 0.5
"""Of the binomial variance of two configs' scores on the same samples, what isn't common."""
_PRIOR_DEVIATION = 1.5
"""Of the recipes' means and the slopes: a weak ridge."""
_BEYOND_DEVIATION = 0.3
"""Of what a backbone's arms reach beyond that."""
_BEST = 0.95
"""Quantile of a task's logits that counts as its best: the very best may be luck."""
_SMALLEST, _LARGEST = 0.01, 3.0

Vector = NDArray[np.float64]


def arm_of(strategy: str, name: str, backbone: str) -> Arm:
    """The arm that a row measured; a Sobol point counts as drawn."""
    return Arm(strategy, DRAWN if name.startswith("sobol") else name, backbone)


def n_trained(n_development: float, n_folds: float) -> float:
    """Samples that a trial of a task trains on."""
    return n_development * (1.0 - (1.0 / n_folds if n_folds > 1 else HELD_OUT))


def _n_trained(rows: pd.DataFrame) -> float:
    return n_trained(float(rows["n_development"].iloc[0]), float(rows["n_folds"].iloc[0]))


def _arms(rows: pd.DataFrame) -> list[Arm]:
    named = rows[["strategy", "name", "backbone"]].itertuples(index=False)
    return [arm_of(str(s), str(n), str(b)) for s, n, b in named]


class _Columns:
    """What the means are made of: recipes, slopes, and what backbones add to them."""

    def __init__(self, arms: list[Arm]) -> None:
        self.recipes = sorted(
            {f"{a.strategy}/{a.recipe}" for a in arms} | {f"{s}/{DRAWN}" for s in STRATEGIES}
        )
        self.beyond = sorted({name for arm in arms for name in _beyond(arm)})
        plain = len(self.recipes) + len(STRATEGIES)
        self._at = {name: k for k, name in enumerate(self.recipes)}
        self._at |= {name: plain + k for k, name in enumerate(self.beyond)}
        self.ridge = np.concatenate(
            [
                np.full(plain, _PRIOR_DEVIATION**-2),
                np.full(len(self.beyond), _BEYOND_DEVIATION**-2),
            ]
        )

    def design(self, arms: list[Arm], decades: float) -> Vector:
        """``(n_arms, n_columns)``."""
        made = np.zeros((len(arms), len(self.ridge)))
        for i, arm in enumerate(arms):
            for name in (f"{arm.strategy}/{arm.recipe}", *_beyond(arm)):
                made[i, self._at[name]] = 1.0
            made[i, len(self.recipes) + STRATEGIES.index(arm.strategy)] = decades
        return made

    def read(self, beta: Vector) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Means, slopes, and what is beyond the means."""
        values = [float(v) for v in beta]
        n, plain = len(self.recipes), len(self.recipes) + len(STRATEGIES)
        added = dict(zip(self.beyond, values[plain:], strict=True))
        beyond = {}
        for name, value in added.items():
            strategy, *_, backbone = name.split("/")
            is_recipe = name.count("/") == 2
            beyond[name] = value + (added[f"{strategy}/{backbone}"] if is_recipe else 0.0)
        return (
            dict(zip(self.recipes, values[:n], strict=True)),
            dict(zip(STRATEGIES, values[n:plain], strict=True)),
            beyond,
        )


def _beyond(arm: Arm) -> tuple[str, str]:
    """What of a backbone may be added to a recipe's mean: with any recipe, and with this one."""
    return f"{arm.strategy}/{arm.backbone}", f"{arm.strategy}/{arm.recipe}/{arm.backbone}"


class _Problem:
    """One data set at one size: its arms and their test scores' logits."""

    def __init__(self, rows: pd.DataFrame, columns: _Columns) -> None:
        self.arms = _arms(rows)
        n_test = float(rows["n_test"].iloc[0])
        logits = np.array([to_logit("accuracy", float(v), n_test) for v in rows["test"]])
        self.logits = bounded(logits, float(np.quantile(logits, _BEST)))
        p = expit(self.logits)
        self.noise = _PAIRED / (n_test * p * (1.0 - p))
        decades = float(np.log10(_n_trained(rows))) - MIDDLE
        self.design = columns.design(self.arms, decades)


def estimate(frame: pd.DataFrame, figures: pd.DataFrame | None = None) -> Knowledge:
    """Maximum likelihood of the variances, with the means that go with them.

    Args:
        frame: complete rows of the table with their test scores, first seed only.
        figures: the analyzer's, of any tasks; those of the frame's are taken. None: what these say
            of backbones isn't believed.
    """
    frame = frame[frame["seed"] == 0]
    made = _arms(frame)
    columns = _Columns(made)
    problems = [_Problem(rows, columns) for _, rows in frame.groupby(["dataset", "n_train"])]
    start = np.log(np.full(len(_FIELDS) * len(STRATEGIES), 0.3))

    def loss(parameters: Vector) -> float:
        return _fit_means(_deviations(parameters), problems, columns.ridge)[1]

    bounds = [(np.log(_SMALLEST), np.log(_LARGEST))] * len(start)
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    deviations = _deviations(found.x)
    beta, _ = _fit_means(deviations, problems, columns.ridge)
    means, slopes, beyond = columns.read(beta)
    for strategy in STRATEGIES:
        if not any(a.strategy == strategy and a.recipe == DRAWN for a in made):
            own = [
                mean
                for name, mean in means.items()
                if name.startswith(strategy) and not name.endswith(DRAWN)
            ]
            means[f"{strategy}/{DRAWN}"] = float(np.mean(own)) if own else 0.0
    noise, shared = _noise(frame)
    left_out = math.inf if figures is None else _left_out_noise(frame, figures)
    return Knowledge(means, slopes, deviations, noise, beyond, shared, left_out)


def _deviations(parameters: Vector) -> dict[str, Deviations]:
    values = np.exp(parameters).reshape(len(STRATEGIES), len(_FIELDS))
    made = {}
    for strategy, own in zip(STRATEGIES, values, strict=True):
        given = dict(zip(_FIELDS, (float(v) for v in own), strict=True))
        if strategy == "scratch":
            given["features"] = 0.0
        made[strategy] = Deviations(**given)
    return made


def _fit_means(
    deviations: dict[str, Deviations], problems: list[_Problem], ridge: Vector
) -> tuple[Vector, float]:
    """Generalised least squares with a weak ridge; twice the negative log likelihood."""
    prior = Knowledge({}, {}, deviations, 1.0)
    gram, right = np.diag(ridge), np.zeros(len(ridge))
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


def _noise(frame: pd.DataFrame) -> tuple[float, float]:
    """Mean squares of what validation scores say too much or too little beside each other.

    Within the arms of a strategy on a backbone, and between these; medians over tasks.
    """
    within, between = [], []
    for _, rows in frame.groupby(["dataset", "n_train"]):
        n, n_test = float(rows["n_development"].iloc[0]), float(rows["n_test"].iloc[0])
        if float(rows["n_folds"].iloc[0]) == 1:
            n *= HELD_OUT
        validation = np.array([to_logit("accuracy", float(v), n) for v in rows["validation"]])
        test = np.array([to_logit("accuracy", float(v), n_test) for v in rows["test"]])
        p = np.clip(rows["test"].to_numpy(dtype=np.float64), 0.02, 0.98)
        off = (validation - test) * np.sqrt(n * p * (1.0 - p))
        kinds = pd.Series(off).groupby((rows["strategy"] + "/" + rows["backbone"]).to_numpy())
        sizes = kinds.size()
        own = float(((off - kinds.transform("mean")) ** 2).sum() / (len(off) - len(sizes)))
        within.append(own)
        between.append(float(kinds.mean().var()) - own * float((1.0 / sizes).mean()))
    return float(np.median(within)), max(0.0, float(np.median(between)))


def left_out_of(
    dataset: str, n_train: int, n_samples: float, figures: pd.DataFrame
) -> tuple[LeftOut, ...]:
    """What the analyzer knows of the backbones of a task.

    Args:
        dataset: names the task.
        n_train: likewise.
        n_samples: that a trial trains on, which the analyzer looks at.
        figures: the analyzer's, of any tasks.
    """
    own = figures[
        (figures["dataset"] == dataset)
        & (figures["n_train"] == n_train)
        & figures["linear_accuracy"].notna()
    ]
    n = min(MAX_SCORED, round(n_samples))
    pairs = own[["backbone", "linear_accuracy"]].itertuples(index=False)
    return tuple(LeftOut(str(name), float(accuracy), n) for name, accuracy in pairs)


def _left_out_noise(frame: pd.DataFrame, figures: pd.DataFrame) -> float:
    """What answers about samples left out say too much or too little, beside other backbones'.

    In units of the binomial variance; the square of a robust deviation, as very few wrong answers
    make logits that are far off.
    """
    off = []
    for (dataset, n_train), rows in frame.groupby(["dataset", "n_train"]):
        own = rows[(rows["strategy"] == LEFT_OUT[0]) & (rows["name"] == LEFT_OUT[1])]
        tests = dict(zip(own["backbone"], own["test"], strict=True))
        every = left_out_of(str(dataset), int(n_train), _n_trained(rows), figures)
        told = [entry for entry in every if entry.backbone in tests]
        if len(told) < 2:
            continue
        n_test = float(rows["n_test"].iloc[0])
        true = np.array([to_logit("accuracy", float(tests[e.backbone]), n_test) for e in told])
        said = np.array([to_logit("accuracy", e.accuracy, e.n_samples) for e in told])
        p = float(expit(true.mean()))
        scale = np.sqrt(told[0].n_samples * p * (1.0 - p) / (1.0 - 1.0 / len(told)))
        off.extend((said - true - (said - true).mean()) * scale)
    return float(np.median(np.abs(off)) * 1.4826) ** 2 if off else math.inf
