"""Recommendations made without any training, and what each costs against the best arm of a task.

An arm is a config with its backbone. The regret of a recommendation is the best arm's test score
less its own, in points. Whatever is learned is learned on the other data sets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autotl.backbones.zoo import EMBEDDED
from studies.outcomes.tasks import BACKBONES, IMAGENET
from studies.similarity.truth import ARM, TASK

Arm = tuple[str, str, str]
Policy = Callable[[pd.DataFrame, pd.DataFrame, str, int], Arm]
"""From the arms of the other data sets, all figures, a data set and a size: the arm to take."""

_SVM = "last_4-svm"
_FULL = "full-1e-3"


def svm(backbone: str) -> Policy:
    """Always the linear SVM on frozen features."""
    return lambda *_: (backbone, "bottleneck", _SVM)


def full(backbone: str) -> Policy:
    """Always everything fine-tuned at one rate."""
    return lambda *_: (backbone, "finetune", _FULL)


def size_rule(backbone: str) -> Policy:
    """Under 1,000 samples the SVM, else fine-tuning."""

    def rule(_: pd.DataFrame, figures: pd.DataFrame, dataset: str, n_train: int) -> Arm:
        few = _figure(figures, dataset, n_train, backbone, "n_samples") < 1000
        return svm(backbone)() if few else full(backbone)()  # type: ignore[call-arg]

    return rule


def best_elsewhere(others: pd.DataFrame, *_: object) -> Arm:
    """The arm with the best mean test score on the other data sets, whatever the data."""
    mean = others.groupby(ARM)["test"].mean()
    best = mean.idxmax()
    return (str(best[0]), str(best[1]), str(best[2]))


def by_evidence(score: str) -> Policy:
    """The backbone that a figure prefers, with the config of it that is best on the other sets."""

    def policy(others: pd.DataFrame, figures: pd.DataFrame, dataset: str, n_train: int) -> Arm:
        values = {b: _figure(figures, dataset, n_train, b, score) for b in BACKBONES}
        backbone = max(values, key=values.__getitem__)
        return best_elsewhere(others[others["backbone"] == backbone])

    return policy


FEATURES = {
    "size": ("log_n",),
    "similarity": ("log_n", "distance"),
    "evidence": ("log_n", "distance", "ridge_logit"),
}
"""What the learned recommendations know of a task, for each backbone."""


def learned(names: tuple[str, ...], penalty: float = 1.0) -> Policy:
    """Ridge regression of each arm's lead over scratch training on figures of its own backbone.

    Scores are taken as logits. The arms share the slopes as far as the penalty asks: an arm's own
    slopes are departures from those of all arms.
    """

    def policy(others: pd.DataFrame, figures: pd.DataFrame, dataset: str, n_train: int) -> Arm:
        known = _inputs(figures, names)
        arms = [(str(b), str(s), str(n)) for b, s, n in others[ARM].drop_duplicates().to_numpy()]
        index = {arm: k for k, arm in enumerate(arms)}
        inputs = np.stack(
            [
                known[(d, n, EMBEDDED if s == "scratch" else b)]
                for d, n, b, s in others[[*TASK, "backbone", "strategy"]].itertuples(index=False)
            ]
        )
        mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        which = np.array([index[(b, s, n)] for b, s, n in others[ARM].itertuples(index=False)])
        # a task's own difficulty is what scratch training reaches there: no choice depends on it
        target = _logit(others["test"].to_numpy())
        design = _design((inputs - mean) / scale, which, len(arms))
        own_scratch = pd.Series(np.where(others["strategy"] == "scratch", target, np.nan))
        tasks = others[TASK].apply(tuple, axis=1).to_numpy()
        target = target - own_scratch.groupby(tasks).transform("mean").to_numpy()
        weights = _ridge(design, target, penalty)
        own = np.stack(
            [known[(dataset, n_train, EMBEDDED if arm[1] == "scratch" else arm[0])] for arm in arms]
        )
        predicted = _design((own - mean) / scale, np.arange(len(arms)), len(arms)) @ weights
        return arms[int(predicted.argmax())]

    return policy


def _inputs(
    figures: pd.DataFrame, names: tuple[str, ...]
) -> dict[tuple[str, int, str], NDArray[np.float64]]:
    values = figures.assign(
        log_n=np.log(figures["n_samples"]), ridge_logit=_logit(figures["ridge_accuracy"].to_numpy())
    )
    rows = values[[*TASK, "backbone", *names]].itertuples(index=False)
    return {(row[0], row[1], row[2]): np.array(row[3:], dtype=np.float64) for row in rows}


def _design(
    inputs: NDArray[np.float64], which: NDArray[np.int64], n_arms: int
) -> NDArray[np.float64]:
    """Shared slopes, then for each arm its level and its departures from the slopes."""
    n, d = inputs.shape
    design = np.zeros((n, d + n_arms * (1 + d)))
    design[:, :d] = inputs
    for row, arm in enumerate(which):
        start = d + arm * (1 + d)
        design[row, start] = 1.0
        design[row, start + 1 : start + 1 + d] = inputs[row]
    return design


def _ridge(
    design: NDArray[np.float64], target: NDArray[np.float64], penalty: float
) -> NDArray[np.float64]:
    gram = design.T @ design + penalty * np.eye(design.shape[1])
    solved: NDArray[np.float64] = np.linalg.solve(gram, design.T @ target)
    return solved


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.clip(np.asarray(p, dtype=np.float64), 0.005, 0.995)
    found: NDArray[np.float64] = np.log(p / (1 - p))
    return found


def _figure(figures: pd.DataFrame, dataset: str, n_train: int, backbone: str, name: str) -> float:
    own = figures[
        (figures["dataset"] == dataset)
        & (figures["n_train"] == n_train)
        & (figures["backbone"] == backbone)
    ]
    return float(own[name].iloc[0])


POLICIES: dict[str, Policy] = {
    "always SVM (ImageNet)": svm(IMAGENET),
    "always SVM (embedded)": svm(EMBEDDED),
    "size rule (ImageNet)": size_rule(IMAGENET),
    "size rule (embedded)": size_rule(EMBEDDED),
    "always fine-tune all (ImageNet)": full(IMAGENET),
    "always fine-tune all (embedded)": full(EMBEDDED),
    "best elsewhere": best_elsewhere,
    "backbone by cross-validated fit, its best elsewhere": by_evidence("ridge_accuracy"),
    "backbone by linear accuracy, its best elsewhere": by_evidence("linear_accuracy"),
    "backbone by k-NN accuracy, its best elsewhere": by_evidence("k_nn_accuracy"),
    "backbone by LogME, its best elsewhere": by_evidence("log_me"),
    "analyzer: size": learned(FEATURES["size"]),
    "analyzer: size, similarity": learned(FEATURES["similarity"]),
    "analyzer: size, similarity, linear fit": learned(FEATURES["evidence"]),
}


def regrets(found: pd.DataFrame, figures: pd.DataFrame) -> pd.DataFrame:
    """Points of regret, a row for each task, a column for each policy.

    Args:
        found: the same arms for every task, see :func:`studies.similarity.truth.common_arms`.
        figures: of these tasks.
    """
    rows = []
    for (dataset, n_train), own in found.groupby(TASK):
        others = found[found["dataset"] != dataset]
        scores = own.set_index(ARM)["test"]
        row = {"dataset": dataset, "n_train": n_train}
        for name, policy in POLICIES.items():
            arm = policy(others, figures, str(dataset), int(n_train))
            row[name] = 100.0 * float(scores.max() - scores.loc[arm])
        rows.append(row)
    return pd.DataFrame(rows).set_index(TASK)
