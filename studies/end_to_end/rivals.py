"""Other policies, run for real: prepare as a fit does, run recipes in an order, refit the best."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from autotl import preparation
from autotl.analysis.examination import LINEAR
from autotl.analysis.profile import DatasetProfile
from autotl.backbones.zoo import EMBEDDED
from autotl.config import FitConfig, make_config
from autotl.fitting import read_test
from autotl.progress import Progress
from autotl.runtime import NEVER, Deadline
from autotl.search.arms import arms_of, config_of
from autotl.search.budget import SearchBudget
from autotl.search.knowledge import DRAWN, Arm
from autotl.strategies import STRATEGIES
from autotl.strategies.base import DivergedError, SilentReporter, Task, TrialStopped
from studies.knowledge.estimate import arm_of
from studies.regret.policies import leads

Order = Callable[[DatasetProfile, pd.DataFrame], list[Arm]]


def full(profile: DatasetProfile, others: pd.DataFrame) -> list[Arm]:
    """Everything of the embedded backbone fine-tuned, at four rates."""
    return [Arm("finetune", f"full-{rate}", EMBEDDED) for rate in ("1e-3", "2e-3", "5e-4", "5e-3")]


def elsewhere(profile: DatasetProfile, others: pd.DataFrame) -> list[Arm]:
    """All recipes as they did on other data sets, the best first."""
    known = {arm_of(s, n, b): lead for (b, s, n), lead in leads(others).items()}
    own = [arm for arm in arms_of(tuple(STRATEGIES), profile) if arm.recipe != DRAWN]
    return sorted((arm for arm in own if arm in known), key=lambda arm: -known[arm])


def untrained(profile: DatasetProfile, others: pd.DataFrame) -> list[Arm]:
    """One run: the backbone by its features' linear accuracy, its recipe that is best elsewhere."""
    accuracy = {name: own.transferability.scores[LINEAR] for name, own in profile.backbones.items()}
    backbone = max(accuracy, key=lambda name: accuracy[name])
    return [arm for arm in elsewhere(profile, others) if arm.backbone == backbone][:1]


RIVALS: dict[str, Order] = {
    "full-embedded": full,
    "elsewhere": elsewhere,
    "untrained": untrained,
}


def fit_in_order(
    frame: pd.DataFrame, order: Order, others: pd.DataFrame, budget_s: float, folder: Path
) -> tuple[float, str, int]:
    """Run recipes until the time is up, and refit what has the best validation score.

    Args:
        frame: of the task, as :func:`autotl.fit` takes it.
        order: what to run.
        others: the outcome table's rows of other data sets.
        budget_s: seconds for all.
        folder: for the decoded pictures.

    Returns:
        The test score, ``strategy/recipe on backbone``, and how many runs there were.
    """
    deadline = Deadline.after(budget_s)
    config: FitConfig = make_config(
        {"image": "file", "label": "class", "group": "group", "time_budget_s": budget_s}
    )
    prepared = preparation.prepare(frame, None, None, config, folder, deadline, Progress())
    arm, n_runs = _search(prepared.task, prepared.profile, order, others, deadline)
    settings = config_of(arm, prepared.profile)
    task = prepared.task
    model = STRATEGIES[arm.strategy].fit(settings, task, task.all_samples, None, SilentReporter())
    test = read_test(model, prepared)
    if test is None:
        raise RuntimeError("the task has no test set")
    return test.value, f"{arm.strategy}/{arm.recipe} on {arm.backbone}", n_runs


def _search(
    task: Task, profile: DatasetProfile, order: Order, others: pd.DataFrame, deadline: Deadline
) -> tuple[Arm, int]:
    budget = SearchBudget(deadline, sum(len(fold.train) for fold in task.folds), len(task.labels))
    best: tuple[float, float, Arm] | None = None
    n_runs = 0
    for arm in order(profile, others):
        strategy, settings = STRATEGIES[arm.strategy], config_of(arm, profile)
        predicted_s = strategy.cost(settings, task)
        best_s = None if best is None else best[1]
        if best is not None and not budget.fits(predicted_s, best_s):
            continue
        ends = NEVER if best is None else budget.deadline_for(predicted_s, best_s)
        try:
            result = strategy.run(settings, task, SilentReporter(ends))
        except (TrialStopped, DivergedError):
            continue
        n_runs += 1
        if best is None or result.score > best[0]:
            best = (result.score, result.seconds, arm)
    if best is None:
        raise RuntimeError("nothing finished")
    return best[2], n_runs
