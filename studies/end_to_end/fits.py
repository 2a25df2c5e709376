"""One real fit, and what came of it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import autotl
from autotl.fitting import read_test
from autotl.recommend.decision import decide
from autotl.search.evidence import REPEATS, worth_of
from autotl.search.records import TrialStore
from autotl.strategies import STRATEGIES
from autotl.strategies.base import SilentReporter, TrialRecord
from studies.end_to_end.rivals import RIVALS, fit_in_order
from studies.end_to_end.setting import as_measured, others_than
from studies.outcomes.tasks import TaskName, samples_of

OURS = "autotl"


@dataclass(frozen=True)
class Request:
    """A fit to be made.

    Attributes:
        part: ``duels`` or ``deadlines``.
        dataset: its name.
        n_train: development pictures.
        backbones: names, as of the outcome table.
        policy: :data:`OURS`, or one of the rivals.
        budget_s: seconds for everything.
        seed: of the fit.
    """

    part: str
    dataset: str
    n_train: int
    backbones: tuple[str, ...]
    policy: str
    budget_s: float
    seed: int

    @property
    def key(self) -> str:
        """Names it."""
        return f"{self.part}-{self.dataset}-{self.n_train}-{self.policy}-{self.seed}"


def one_thread() -> None:
    """Let this process compute on one thread, so that fits beside it don't disturb it."""
    torch.set_num_threads(1)


def run(request: Request) -> dict[str, Any]:
    """Make a fit, in a folder of its own that is empty.

    Returns:
        The request's fields; ``test`` (score on the test set), ``n_test``, ``seconds`` (by the
        caller's clock), ``choice`` and ``n_trials``. Of autotl's also what it said: ``expected``,
        ``low``, ``high``, ``verdict``, and ``others``: of each other strategy what was said of it
        (``noise``, ``is_clear``, ``difference``) and its ``test`` score, refitted alike; what the
        same trials score where accuracy is preferred (``accurate``, ``accurate_choice``); and the
        trials (``ran``: choice, state, seconds, validation score).
    """
    frame = samples_of(TaskName(request.dataset, request.n_train))
    n_test = int((frame["split"] == "test").sum())
    others = others_than(request.dataset)
    with (
        tempfile.TemporaryDirectory() as folder,
        as_measured(request.dataset, request.backbones) as prepared,
    ):
        started = time.perf_counter()
        if request.policy == OURS:
            found = autotl.fit(
                frame,
                image="file",
                label="class",
                group="group",
                time_budget_s=request.budget_s,
                backbones=list(request.backbones),
                output_dir=folder,
                warm_start=False,
                seed=request.seed,
            )
            seconds = time.perf_counter() - started
            told = _told(found, prepared[-1])
        else:
            order = RIVALS[request.policy]
            test, choice, n_runs = fit_in_order(
                frame, order, others, request.budget_s, Path(folder)
            )
            seconds = time.perf_counter() - started
            told = {"test": test, "choice": choice, "n_trials": n_runs}
    return {"key": request.key, **asdict(request), "n_test": n_test, "seconds": seconds, **told}


def _told(found: autotl.Recommendation, prepared: Any) -> dict[str, Any]:
    """What autotl said, and how its other strategies would have done."""
    decision, test = found.decision, found.test
    if decision is None or test is None:
        raise RuntimeError("the fit has no decision or no test")
    folder = Path(found.summary()["report"]).parent / "trials"
    records, repeats = TrialStore(folder).load(), TrialStore(folder / REPEATS).load()
    task = prepared.task
    by_number = {record.number: record for record in records}
    scores = {decision.winner.number: test.value}

    def score(number: int) -> float:
        if number not in scores:
            record = by_number[number]
            scores[number] = _test_score(record.strategy, dict(record.config), prepared)
        return scores[number]

    accurate = decide(
        *(records, task.labels, task.metric, prepared.profile, "accuracy", task.seed),
        repeats=repeats,
        worth=worth_of(records, task, prepared.profile, repeats),
    ).winner
    others = [
        {
            "strategy": summary.strategy,
            "difference": summary.difference,
            "standard_error": summary.standard_error,
            "noise": summary.noise,
            "is_clear": summary.is_clear,
            "test": score(summary.best),
        }
        for summary in decision.strategies
        if summary.best not in (None, decision.winner.number)
    ]
    return {
        "test": test.value,
        "choice": _choice(decision.winner),
        "accurate": score(accurate.number),
        "accurate_choice": _choice(accurate),
        "n_trials": len(records),
        "n_pruned": sum(summary.n_pruned for summary in decision.strategies),
        "n_repeats": len(repeats),
        "expected": decision.expected,
        "low": decision.interval[0],
        "high": decision.interval[1],
        "optimism": decision.optimism,
        "n_validated": decision.n_validated,
        "test_low": test.interval[0],
        "test_high": test.interval[1],
        "verdict": found.summary()["verdict"],
        "others": others,
        "ran": [
            [_choice(r), r.state, round(r.seconds, 2), r.result and round(r.result.score, 4)]
            for r in records
        ],
    }


def _choice(record: TrialRecord) -> str:
    return f"{record.strategy}/{record.recipe or 'drawn'} on {record.config['backbone']}"


def _test_score(strategy_name: str, settings: dict[str, Any], prepared: Any) -> float:
    strategy = STRATEGIES[strategy_name]
    task = prepared.task
    config = strategy.Config.model_validate(settings)
    model = strategy.fit(config, task, task.all_samples, None, SilentReporter())
    test = read_test(model, prepared)
    if test is None:
        raise RuntimeError("the fit has no test")
    return test.value
