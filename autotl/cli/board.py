"""The state of a fit, as told by it, and how that looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autotl.progress import Progress

PHASES = {
    "start": "starting",
    "read": "reading the data set",
    "decode": "decoding the pictures",
    "profile": "measuring the data set",
    "search": "trying strategies",
    "finalists": "running the best again with other seeds",
    "decide": "deciding",
    "refit": "training the recommended model on all development samples",
    "test": "scoring it on the locked test set",
    "report": "writing the report",
}
_BAR_WIDTH = 24


@dataclass
class StrategyTally:
    """What a strategy has shown so far.

    Attributes:
        n_ended: its trials that have ended, in any way.
        n_pruned: those of them that were pruned.
        best: its best value of the metric, None before a complete trial.
        seconds: spent on it.
    """

    n_ended: int = 0
    n_pruned: int = 0
    best: float | None = None
    seconds: float = 0.0


@dataclass
class RunningTrial:
    """A trial under way.

    Attributes:
        strategy: its name.
        started: by the clock.
        progress: share that is done, in [0, 1].
        value: the metric's value so far, None before the first epoch.
    """

    strategy: str
    started: float
    progress: float = 0.0
    value: float | None = None


@dataclass
class Board(Progress):
    """The state of a fit, as told by it.

    Attributes:
        smaller_is_better: whether the metric is a loss.
        clock: seconds from any start.
        phase_name: of the phase under way.
        deadline: when the budget ends, by the clock; None without one.
        steps: done and total of the phase, None if it doesn't count any.
        tallies: by strategy, in the order of their first trials.
        running: trials under way, by number.
    """

    smaller_is_better: bool = False
    clock: Callable[[], float] = time.monotonic
    phase_name: str = "start"
    deadline: float | None = None
    steps: tuple[int, int] | None = None
    tallies: dict[str, StrategyTally] = field(default_factory=dict)
    running: dict[int, RunningTrial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def phase(self, name: str, time_left_s: float | None = None) -> None:
        self.phase_name = name
        self.steps = None
        if name != "search":
            self.running.clear()
        if time_left_s is not None and time_left_s != float("inf"):
            self.deadline = self.clock() + time_left_s

    def step(self, done: int, total: int) -> None:
        self.steps = (done, total)

    def trial_started(self, number: int, strategy: str) -> None:
        self.tallies.setdefault(strategy, StrategyTally())
        self.running[number] = RunningTrial(strategy, self.clock())

    def epoch(self, number: int, progress: float, score: float) -> None:
        trial = self.running.get(number)
        if trial is not None:
            trial.progress = progress
            trial.value = -score if self.smaller_is_better else score

    def trial_ended(
        self, number: int, strategy: str, state: str, value: float | None, seconds: float
    ) -> None:
        self.running.pop(number, None)
        tally = self.tallies.setdefault(strategy, StrategyTally())
        tally.n_ended += 1
        tally.n_pruned += state == "pruned"
        tally.seconds += seconds
        if value is not None and self.is_better(value, tally.best):
            tally.best = value

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether a value of the metric beats another; any beats none."""
        if than is None:
            return True
        return value < than if self.smaller_is_better else value > than

    @property
    def best_strategy(self) -> str | None:
        """The strategy with the best value so far, None before a complete trial."""
        leader: str | None = None
        value: float | None = None
        for name, tally in self.tallies.items():
            if tally.best is not None and self.is_better(tally.best, value):
                leader, value = name, tally.best
        return leader

    @property
    def n_ended(self) -> int:
        """Trials that have ended."""
        return sum(tally.n_ended for tally in self.tallies.values())

    def render(self) -> RenderableType:
        """The display of this moment."""
        parts: list[RenderableType] = [self._headline()]
        if self.steps is not None:
            done, total = self.steps
            parts.append(row(_bar(done, total), Text(f"{done:,} of {total:,}")))
        if self.tallies:
            parts.append(self._table())
        for number, trial in sorted(self.running.items()):
            parts.append(self._trial(number, trial))
        return Group(*parts)

    def _headline(self) -> RenderableType:
        now = self.clock()
        facts = []
        if self.tallies:
            n_pruned = sum(tally.n_pruned for tally in self.tallies.values())
            pruned = f" ({n_pruned} pruned)" if n_pruned else ""
            facts.append(f"{_count(self.n_ended, 'trial')}{pruned}")
        facts.append(f"{duration(now - self.started)} gone")
        if self.deadline is not None:
            facts.append(f"{duration(self.deadline - now)} left")
        return row(
            Text(PHASES.get(self.phase_name, self.phase_name), style="bold"),
            Text(" · ".join(facts), style="dim"),
        )

    def _table(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("  strategy")
        for name in ("trials", "best so far", "time"):
            table.add_column(name, justify="right")
        leader = self.best_strategy
        for name, tally in self.tallies.items():
            table.add_row(
                ("▸ " if name == leader else "  ") + name,
                str(tally.n_ended),
                "-" if tally.best is None else f"{tally.best:.3f}",
                duration(tally.seconds),
                style="green" if name == leader else "",
            )
        return table

    def _trial(self, number: int, trial: RunningTrial) -> RenderableType:
        value = "" if trial.value is None else f" · {trial.value:.3f} so far"
        elapsed = duration(self.clock() - trial.started)
        return row(
            Text(f"  trial {number} {trial.strategy}"),
            _bar(trial.progress, 1.0),
            Text(f"{100 * trial.progress:.0f} % · {elapsed}{value}", style="dim"),
        )


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours from the first one on: ``0:07``, ``1:00:00``."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=max(total, 1e-9), completed=min(done, total), width=_BAR_WIDTH)


def row(*parts: RenderableType) -> RenderableType:
    """Parts side by side."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(*parts)
    return grid
