"""autotl's own search, and what is left of it when parts are taken away."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotl.search.allocation import Allocation, Seen
from autotl.search.budget import SPARE
from autotl.search.knowledge import DRAWN, Arm, Deviations, Knowledge
from autotl.search.plan import ARM, COST, SECONDS, STATE, STRATEGY, Choice, Plan
from autotl.search.pruner import PROGRESS_STEPS, StrategyPruner
from studies.knowledge.estimate import (
    HELD_OUT,
    STRATEGIES,
    arm_of,
    estimate,
    left_out_of,
    n_trained,
)
from studies.outcomes.tasks import BACKBONES, N_FOLDS
from studies.regret.problems import Candidate, View
from studies.regret.replay import History, Policy, Run, Search

NOTHING = Knowledge(
    means={f"{strategy}/{DRAWN}": 0.0 for strategy in STRATEGIES},
    slopes=dict.fromkeys(STRATEGIES, 0.0),
    deviations=dict.fromkeys(STRATEGIES, Deviations(0.3, 0.3, 0.3, 0.3, 0.3, 0.3)),
    noise=1.0,
)
"""Who knows nothing beforehand: every arm is worth the same, and like arms alike."""


_T = TypeVar("_T")

_estimates: dict[tuple[str, int], Knowledge] = {}
_answers: dict[Hashable, tuple[object, dict[Hashable, Any]]] = {}
"""What was answered after which runs, of the task that is replayed: other seeds and budgets come by
the same runs. Beside it what its key names by identity, which lives as long."""


def learned(view: View) -> Knowledge:
    """The knowledge of all data sets but the task's, estimated once for each; of none: nothing."""
    if view.others.empty:
        return NOTHING
    key = (view.dataset, len(view.others))
    if key not in _estimates:
        _estimates[key] = estimate(view.others, view.figures)
    return _estimates[key]


class Ours(Search):
    """The plan that :mod:`autotl.search` follows; of drawn settings it gets a Sobol point.

    Args:
        view: the task.
        rng: which Sobol point.
        knowledge: what is known beforehand.
        priced: whether seconds count in the choice.
        shrunk: whether the pick is the best by the model instead of by validation score.
        prunes: whether runs end early as :class:`~autotl.search.pruner.StrategyPruner` says.
        ends: whether the search ends when it isn't worth going on, as a fit's does.
        analysed: whether it is told what the analyzer knows of the backbones.
    """

    def __init__(
        self,
        view: View,
        rng: np.random.Generator,
        knowledge: Callable[[View], Knowledge] = learned,
        *,
        priced: bool = True,
        shrunk: bool = True,
        prunes: bool = True,
        ends: bool = False,
        analysed: bool = True,
    ) -> None:
        super().__init__(view, rng)
        self._shrunk = shrunk
        self._prunes = prunes
        self._ends = ends
        self._arms = {c.arm: arm_of(c.strategy, c.name, c.backbone) for c in view.candidates}
        prices: dict[Arm, list[float]] = {}
        for candidate in view.candidates:
            prices.setdefault(self._arms[candidate.arm], []).append(candidate.predicted_s)
        self._prices = {arm: float(np.median(own)) for arm, own in prices.items()}
        single = view.n_train >= 1000  # one fold
        n_validated = round(view.n_development * (HELD_OUT if single else 1))
        n_samples = n_trained(view.n_development, N_FOLDS[view.n_train])
        told = left_out_of(view.dataset, view.n_train, n_samples, view.figures)
        self._allocation = Allocation(
            knowledge(view),
            view.metric,
            n_samples,
            n_validated,
            left_out=told if analysed else (),
        )
        self._priced = priced
        self._pruner = StrategyPruner(view.metric, (n_validated,))
        self._trials: dict[Any, FrozenTrial] = {}
        task = (view.candidates, view.others, view.figures)
        key = (*map(id, task), knowledge, priced, analysed)
        if key not in _answers:
            _answers.clear()
        self._answers = _answers.setdefault(key, (task, {}))[1]

    def next(self, history: History) -> Candidate | None:
        """The plan's choice."""
        run = {entry.candidate.arm for entry in history}
        left = [c for c in self.view.candidates if c.arm not in run]
        spent_s = sum(entry.seconds for entry in history)

        def fits(seconds: float, best_s: float | None) -> bool:
            return spent_s + SPARE * seconds <= self.view.budget_s

        def choose(fits: Callable[[float, float | None], bool]) -> Choice | None:
            plan = Plan(
                arms=list(dict.fromkeys(self._arms[c.arm] for c in left)),
                price=(lambda arm: self._prices[arm]) if self._priced else (lambda arm: 1.0),
                allocation=self._allocation,
                params=lambda arm: {},
                fits=fits,
            )
            return plan.next([self._trial(entry) for entry in history])

        def asked_about() -> list[float]:
            asked: list[float] = []

            def note(seconds: float, best_s: float | None) -> bool:
                asked.append(seconds)
                return False

            choose(note)
            return asked

        asked = self._once("asked", history, asked_about)
        choice = self._once(
            ("next", *(fits(seconds, None) for seconds in asked)), history, lambda: choose(fits)
        )
        if choice is None or (self._ends and not choice.is_worth_it):
            return None
        own = [c for c in left if self._arms[c.arm] == choice.arm]
        return own[int(self.rng.integers(len(own)))]

    def stops(
        self,
        candidate: Candidate,
        curve_validation: NDArray[np.float64],
        curve_seconds: NDArray[np.float64],
        history: History,
    ) -> bool:
        """Whether the pruner ends the run; of the table's curves all folds go side by side."""
        if not self._prunes:
            return False

        def is_pruned() -> bool:
            study = _Trials([self._trial(run) for run in history])
            n_epochs = int(candidate.settings.get("epochs", 1))
            trial = create_trial(
                state=TrialState.RUNNING,
                **_parameters(candidate),
                intermediate_values=_steps(curve_validation, n_epochs),
            )
            return self._pruner.prune(study, trial)  # type: ignore[arg-type]

        so_far = (candidate.arm, len(curve_validation), float(curve_validation[-1]))
        return self._once(("stops", *so_far), history, is_pruned)

    def pick(self, history: History) -> Candidate | None:
        """The best by validation score, or by the model."""
        complete = [run for run in history if run.is_complete]
        if not complete or not self._shrunk:
            return super().pick(history)
        seen = [Seen(self._arms[run.candidate.arm], run.validation) for run in complete]
        worth = self._once("worth", complete, lambda: self._allocation.worth(seen))
        return complete[int(worth.argmax())].candidate

    def _once(self, what: Hashable, history: History, answer: Callable[[], _T]) -> _T:
        """An answer after these runs, worked out once for all seeds and budgets."""
        key = (what, *map(_key, history))
        if key not in self._answers:
            self._answers[key] = answer()
        found: _T = self._answers[key]
        return found

    def _trial(self, run: Run) -> FrozenTrial:
        """A run as Optuna's storage holds it; made once, as nothing is run twice."""
        if run.candidate.arm not in self._trials:
            self._trials[run.candidate.arm] = self._new_trial(run)
        return self._trials[run.candidate.arm]

    def _new_trial(self, run: Run) -> FrozenTrial:
        arm = self._arms[run.candidate.arm]
        return create_trial(
            state=TrialState.COMPLETE if run.is_complete else TrialState.PRUNED,
            value=run.validation,
            **_parameters(run.candidate),
            system_attrs={ARM: [arm.strategy, arm.recipe, arm.backbone]},
            intermediate_values=_steps(
                run.curve_validation, int(run.candidate.settings.get("epochs", 1))
            ),
            user_attrs={
                STATE: "complete" if run.is_complete else "pruned",
                SECONDS: run.seconds,
                COST: self._prices[arm] if self._priced else 0.0,
            },
        )


def _key(run: Run) -> Hashable:
    return run.candidate.arm, run.is_complete, len(run.curve_validation), run.validation


class _Trials:
    """As much of a study as the pruner asks for."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        self._trials = trials

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


def _parameters(candidate: Candidate) -> dict[str, Any]:
    """As much of a trial's parameters as the plan and the pruner ask for."""
    name = f"{candidate.strategy}.backbone"
    return {
        "params": {STRATEGY: candidate.strategy, name: candidate.backbone},
        "distributions": {
            STRATEGY: CategoricalDistribution(STRATEGIES),
            name: CategoricalDistribution(BACKBONES),
        },
    }


def _steps(curve: NDArray[np.float64], n_epochs: int) -> dict[int, float]:
    """Scores by Optuna's step."""
    return {
        round(PROGRESS_STEPS * (epoch + 1) / max(n_epochs, len(curve))): float(score)
        for epoch, score in enumerate(curve)
    }


def _policy(name: str, label: str, **options: Any) -> Policy:
    return Policy(name, label, partial(Ours, **options), is_random=True, plans=True)


OURS = (
    _policy("autotl", "autotl"),
    _policy("autotl-untaught", "autotl, knowing nothing beforehand", knowledge=lambda _: NOTHING),
    _policy("autotl-unanalysed", "autotl without the analyzer", analysed=False),
    _policy("autotl-unpriced", "autotl, whatever trials cost", priced=False),
    _policy("autotl-unpruned", "autotl without pruning", prunes=False),
    _policy("autotl-patient", "autotl, ending by itself", ends=True),
    _policy("autotl-by-validation", "autotl, picking by validation score", shrunk=False),
)
