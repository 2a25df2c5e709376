"""What a long fit tells whoever watches. The base class says nothing."""

from __future__ import annotations


class Progress:
    """Receives what happens during a fit. Override what you want to show; all methods are optional.

    Methods are called from the thread that runs the fit and should return at once.
    """

    def phase(self, name: str, time_left_s: float | None = None) -> None:
        """A phase begins.

        Args:
            name: ``read``, ``decode``, ``profile``, ``search``, ``finalists``, ``decide``,
                ``refit``, ``test`` or ``report``.
            time_left_s: seconds left of the budget, None without one.
        """

    def step(self, done: int, total: int) -> None:
        """Part of a phase is done, e.g. pictures decoded."""

    def trial_started(self, number: int, strategy: str) -> None:
        """A trial begins."""

    def epoch(self, number: int, progress: float, score: float) -> None:
        """A trial's epoch is over.

        Args:
            number: of the trial.
            progress: share of the trial that is done, in (0, 1].
            score: validation score so far, greater is better.
        """

    def trial_ended(
        self, number: int, strategy: str, state: str, value: float | None, seconds: float
    ) -> None:
        """A trial has ended.

        Args:
            number: of the trial.
            strategy: its strategy.
            state: ``complete``, ``pruned``, ``deadline``, ``failed`` or ``interrupted``.
            value: the metric's value on validation samples, None unless complete.
            seconds: it took.
        """

    def note(self, message: str) -> None:
        """Something the user should know, in one line."""
