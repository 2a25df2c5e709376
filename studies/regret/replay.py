"""A policy played on a task of the table: what it runs, what that costs, what it picks when."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autotl.errors import InputError
from studies.regret.problems import Arm, Candidate, Outcome, Problem, View


@dataclass(frozen=True)
class Run:
    """What a policy sees of a candidate that it ran.

    Attributes:
        candidate: which.
        is_complete: False if it was stopped: such a run leaves no model, so it can't be picked.
        seconds: paid for it.
        validation: score at its end, or where it was stopped.
        validation_correct: ``(n_development,) int8``: 1 right, 0 wrong, -1 not validated; None if
            it was stopped.
        curve_validation: ``(n_epochs,) float64`` until then.
        curve_seconds: ``(n_epochs,) float64`` until then.
    """

    candidate: Candidate
    is_complete: bool
    seconds: float
    validation: float
    validation_correct: NDArray[np.int8] | None
    curve_validation: NDArray[np.float64]
    curve_seconds: NDArray[np.float64]


History = Sequence[Run]
"""All runs so far, in their order."""


class Search:
    """A policy on one task.

    Args:
        view: the task, as far as it is known before anything is run.
        rng: of everything random in the policy.
    """

    def __init__(self, view: View, rng: np.random.Generator) -> None:
        self.view = view
        self.rng = rng

    def next(self, history: History) -> Candidate | None:
        """What to run next, nothing twice; None: the search is over."""
        raise NotImplementedError

    def stops(
        self,
        candidate: Candidate,
        curve_validation: NDArray[np.float64],
        curve_seconds: NDArray[np.float64],
        history: History,
    ) -> bool:
        """Whether to stop a run after an epoch that isn't its last; asked after each of them."""
        return False

    def pick(self, history: History) -> Candidate | None:
        """What it would hand over now, of the complete runs; None: nothing yet."""
        complete = [run for run in history if run.is_complete]
        if not complete:
            return None
        return max(complete, key=lambda run: run.validation).candidate


@dataclass(frozen=True)
class Policy:
    """A way to search, by name.

    Attributes:
        name: for the command line.
        label: for tables and plots.
        make: from a task's view and a random generator to a search.
        is_random: whether it uses the generator.
        plans: whether what it does hangs on the budget, so that each budget is another replay.
    """

    name: str
    label: str
    make: Callable[[View, np.random.Generator], Search]
    is_random: bool = False
    plans: bool = False


@dataclass(frozen=True)
class Trace:
    """What came of a replay.

    Attributes:
        seconds: ``(n_runs,) float64``, when each run ended.
        scores: ``(n_runs,) float64``, test score of the pick from then on.
        arms: what was run.
    """

    seconds: NDArray[np.float64]
    scores: NDArray[np.float64]
    arms: tuple[Arm, ...]

    def score_at(self, seconds: NDArray[np.float64], before: float) -> NDArray[np.float64]:
        """Test score of the pick at points of time.

        Args:
            seconds: ``(n,) float64``.
            before: score until the first pick.
        """
        scores = np.concatenate([[before], self.scores])
        found: NDArray[np.float64] = scores[np.searchsorted(self.seconds, seconds, side="right")]
        return found

    def stays_from(self, least: float) -> float:
        """Seconds from which on the pick never scores less; infinite if it does at the end."""
        below = np.flatnonzero(self.scores < least)
        start = int(below[-1]) + 1 if len(below) else 0
        return float(self.seconds[start]) if start < len(self.seconds) else float("inf")


def replay(
    problem: Problem,
    policy: Policy,
    seed: int = 0,
    *,
    resample: bool = False,
    budget_s: float = math.inf,
) -> Trace | None:
    """Play a policy on a task until it ends.

    Args:
        problem: the task.
        policy: which.
        seed: of its randomness, and of the resample.
        resample: from seed 1 on, the validation samples are drawn anew with replacement, the same
            ones for all candidates; what the policy sees is scored on these.
        budget_s: the time that the policy is told it has.

    Returns:
        The trace; None if the policy has nothing to run on this task.

    Raises:
        InputError: if the policy runs what isn't there or was run, or picks what isn't complete.
    """
    identity = zlib.crc32(problem.name.encode())
    view = replace(problem.view, budget_s=budget_s)
    search = policy.make(view, np.random.default_rng([seed, identity]))
    drawn = (
        _draw(problem, np.random.default_rng([seed, identity, 1])) if resample and seed else None
    )
    history: list[Run] = []
    seconds, scores = [], []
    ran: set[Arm] = set()
    spent_s = 0.0
    while (candidate := search.next(history)) is not None:
        if candidate.arm in ran or candidate.arm not in problem.outcomes:
            raise InputError(f"{policy.name}: {candidate.arm} was run before or isn't there")
        ran.add(candidate.arm)
        run = _run(search, candidate, problem.outcomes[candidate.arm], drawn, history)
        history.append(run)
        spent_s += run.seconds
        picked = search.pick(history)
        seconds.append(spent_s)
        if picked is None:
            scores.append(problem.view.chance)
            continue
        if not any(r.is_complete and r.candidate.arm == picked.arm for r in history):
            raise InputError(f"{policy.name}: picks {picked.arm}, which has no complete run")
        scores.append(problem.outcomes[picked.arm].test)
    if not history:
        return None
    return Trace(np.array(seconds), np.array(scores), tuple(run.candidate.arm for run in history))


def _draw(problem: Problem, rng: np.random.Generator) -> NDArray[np.int64]:
    """``(n_development,) int64``: for every sample, which one stands in its place."""
    correct = next(iter(problem.outcomes.values())).validation_correct
    validated = np.flatnonzero(correct >= 0)
    drawn = np.arange(len(correct))
    drawn[validated] = rng.choice(validated, len(validated))
    return drawn


def _run(
    search: Search,
    candidate: Candidate,
    outcome: Outcome,
    drawn: NDArray[np.int64] | None,
    history: History,
) -> Run:
    correct, shift = outcome.validation_correct, 0.0
    if drawn is not None:
        before = correct[correct >= 0].mean()
        correct = correct[drawn]
        shift = float(correct[correct >= 0].mean() - before)
    curve, seconds = outcome.curve_validation + shift, outcome.curve_seconds
    for n in range(1, len(curve)):
        if search.stops(candidate, curve[:n], seconds[:n], history):
            paid_s, score = float(seconds[n - 1]), float(curve[n - 1])
            return Run(candidate, False, paid_s, score, None, curve[:n], seconds[:n])
    score = outcome.validation + shift
    return Run(candidate, True, outcome.seconds, score, correct, curve, seconds)
