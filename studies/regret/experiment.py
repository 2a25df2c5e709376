"""Policies played on all tasks over many seeds, on several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.regret.problems import Problem
from studies.regret.registry import POLICIES
from studies.regret.replay import Policy, replay

BUDGETS: dict[str, float] = {
    **{f"{b:g}": b for b in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)},
    "all": float("inf"),
}
"""In units of one full fine-tuning of the embedded backbone on the task."""
GRID: NDArray[np.float64] = 2.0 ** np.arange(-6, 7.01, 0.25)
"""Points of time of the curves, in these units."""
NEAR = 0.01
"""Within a point of the best."""


@dataclass(frozen=True)
class Played:
    """A policy on a task.

    Attributes:
        regret: ``(n_budgets,) float64``, mean over seeds, points.
        curve: ``(n_grid,) float64``, the same on :data:`GRID`; of a policy that plans for its
            budget, at budgets twice as large each time.
        near_from: ``(n_seeds,) float64``, when the pick has come within a point of the best to
            stay, in units; infinite where it never does. Of a policy that plans: without a limit.
        n_runs: mean over seeds.
        units: mean over seeds of the time that the policy takes to its end, in units.
    """

    regret: NDArray[np.float64]
    curve: NDArray[np.float64]
    near_from: NDArray[np.float64]
    n_runs: float
    units: float


def seeds_of(policy: Policy, n_seeds: int, *, resample: bool) -> int:
    """How many replays tell something: one, if nothing is random in them."""
    return n_seeds if policy.is_random or resample else 1


def play(
    problem: Problem, policy: Policy, n_seeds: int, *, resample: bool = False
) -> Played | None:
    """Replay a policy on a task; None if it has nothing to run there."""
    n_seeds = seeds_of(policy, n_seeds, resample=resample)
    points = np.concatenate([list(BUDGETS.values()), GRID]) * problem.unit_s
    regrets, near, runs, units = [], [], [], []
    for seed in range(n_seeds):
        trace = replay(problem, policy, seed, resample=resample)
        if trace is None:
            return None
        scores = trace.score_at(points, problem.view.chance)
        if policy.plans:
            scores = _planned(problem, policy, seed, points, scores, resample=resample)
        regrets.append(100.0 * (problem.oracle - scores))
        near.append(trace.stays_from(problem.oracle - NEAR - 1e-9) / problem.unit_s)
        runs.append(len(trace.arms))
        units.append(trace.seconds[-1] / problem.unit_s)
    mean = np.mean(regrets, axis=0)
    n = len(BUDGETS)
    return Played(mean[:n], mean[n:], np.array(near), float(np.mean(runs)), float(np.mean(units)))


def _planned(
    problem: Problem,
    policy: Policy,
    seed: int,
    points: NDArray[np.float64],
    unlimited: NDArray[np.float64],
    *,
    resample: bool,
) -> NDArray[np.float64]:
    """Scores at points of time of searches that knew that they had no more.

    One search for each doubling of the time; between them, that of the last one.
    """
    doublings = GRID[:: round(1 / np.log2(GRID[1] / GRID[0]))] * problem.unit_s
    found = []
    for budget_s in doublings:
        trace = replay(problem, policy, seed, resample=resample, budget_s=float(budget_s))
        at = np.array([budget_s])
        chance = problem.view.chance
        found.append(chance if trace is None else float(trace.score_at(at, chance)[0]))
    last = np.searchsorted(doublings, points * (1 + 1e-9), side="right") - 1
    return np.where(np.isfinite(points), np.array(found)[np.maximum(last, 0)], unlimited)


_problems: list[Problem] = []


def _start(problems: list[Problem]) -> None:
    _problems[:] = problems


def _play(index: int, name: str, n_seeds: int, resample: bool) -> Played | None:
    return play(_problems[index], POLICIES[name], n_seeds, resample=resample)


def play_all(
    problems: list[Problem],
    names: Sequence[str],
    n_seeds: int,
    *,
    resample: bool = False,
    n_jobs: int = 1,
) -> Iterator[tuple[str, dict[str, Played]]]:
    """Every policy in turn, with what came of it by task, where it had something to run."""
    if n_jobs == 1:
        for name in names:
            found = [play(p, POLICIES[name], n_seeds, resample=resample) for p in problems]
            yield name, _by_task(problems, found)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, context, _start, (problems,)) as pool:
        futures = {
            name: [pool.submit(_play, k, name, n_seeds, resample) for k in range(len(problems))]
            for name in names
        }
        for name, own in futures.items():
            yield name, _by_task(problems, [future.result() for future in own])


def _by_task(problems: list[Problem], found: Sequence[Played | None]) -> dict[str, Played]:
    pairs = zip(problems, found, strict=True)
    return {problem.name: played for problem, played in pairs if played is not None}
