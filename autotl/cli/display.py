"""What a long fit shows while it runs: one live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner

from autotl.cli.board import PHASES, Board, duration, row
from autotl.cli.terminal import visible
from autotl.progress import Progress

_FRAMES_PER_SECOND = 8


@contextmanager
def watching(quiet: bool = False, smaller_is_better: bool = False) -> Iterator[Progress]:
    """The progress to hand to a fit, on standard error.

    Args:
        quiet: whether to write plain lines even in a terminal.
        smaller_is_better: whether the metric is a loss.
    """
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield PlainProgress(console, smaller_is_better)
    else:
        with LiveProgress(console, smaller_is_better) as progress:
            yield progress


class LiveProgress(Progress):
    """A display that is redrawn in place, and gone in the end. A context manager.

    Args:
        console: a terminal.
        smaller_is_better: whether the metric is a loss.
    """

    def __init__(self, console: Console, smaller_is_better: bool = False) -> None:
        self.board = Board(smaller_is_better)
        self._lock = threading.Lock()  # the display is drawn by a thread of its own
        self._spinner = Spinner("dots", style="green")
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def phase(self, name: str, time_left_s: float | None = None) -> None:
        with self._lock:
            self.board.phase(name, time_left_s)

    def step(self, done: int, total: int) -> None:
        with self._lock:
            self.board.step(done, total)

    def trial_started(self, number: int, strategy: str) -> None:
        with self._lock:
            self.board.trial_started(number, strategy)

    def epoch(self, number: int, progress: float, score: float) -> None:
        with self._lock:
            self.board.epoch(number, progress, score)

    def trial_ended(
        self, number: int, strategy: str, state: str, value: float | None, seconds: float
    ) -> None:
        with self._lock:
            self.board.trial_ended(number, strategy, state, value, seconds)

    def note(self, message: str) -> None:
        self._live.console.print(visible(f"note: {message}", "yellow"))

    def _render(self) -> RenderableType:
        with self._lock:
            return row(self._spinner, self.board.render())


class PlainProgress(Progress):
    """A line for every phase, ended trial and note.

    Args:
        console: where to write.
        smaller_is_better: whether the metric is a loss.
    """

    def __init__(self, console: Console, smaller_is_better: bool = False) -> None:
        self.board = Board(smaller_is_better)
        self._console = console

    def phase(self, name: str, time_left_s: float | None = None) -> None:
        self.board.phase(name, time_left_s)
        deadline = self.board.deadline
        left = "" if deadline is None else f" ({duration(deadline - self.board.clock())} left)"
        self._line(f"{PHASES.get(name, name)}{left}")

    def trial_started(self, number: int, strategy: str) -> None:
        self.board.trial_started(number, strategy)

    def trial_ended(
        self, number: int, strategy: str, state: str, value: float | None, seconds: float
    ) -> None:
        leader = self.board.best_strategy
        best = None if leader is None else self.board.tallies[leader].best
        new_best = value is not None and self.board.is_better(value, best)
        self.board.trial_ended(number, strategy, state, value, seconds)
        outcome = state if value is None else f"{value:.3f}"
        self._line(
            f"trial {number} {strategy}: {outcome} after {seconds:.1f} s"
            + (", best so far" if new_best else "")
        )

    def note(self, message: str) -> None:
        self._line(f"note: {message}")

    def _line(self, text: str) -> None:
        elapsed = self.board.clock() - self.board.started
        self._console.print(visible(f"[{duration(elapsed):>7}] {text}"), soft_wrap=True)
