"""Where a fit and its trials are recorded, behind two small interfaces; and a record of nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Dataset:
    """A data set as it is recorded.

    Attributes:
        name: for people.
        digest: fingerprint of what it holds.
        source: absolute path of its folder or file; empty if it came from memory.
        class_names: of its labels, in order.
        counts: by part, e.g. ``n_samples`` and ``n_test``.
    """

    name: str
    digest: str
    source: str
    class_names: tuple[str, ...]
    counts: Mapping[str, int]


class TrialRun(Protocol):
    """The record of one trial."""

    @property
    def run_id(self) -> str:
        """Names the record in its store; empty if there is none."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Figures at a step."""
        ...

    def end(self, state: str, metrics: Mapping[str, float], error: str | None = None) -> None:
        """The last figures and how the trial ended: ``complete``, ``pruned``, ``deadline``,
        ``failed`` or ``interrupted``."""
        ...


class TrialRuns(Protocol):
    """Where trials are recorded."""

    def start_trial(
        self, number: int, strategy: str, params: Mapping[str, object], run_id: str = ""
    ) -> TrialRun:
        """Open a trial's record with its parameters, before it trains.

        Args:
            number: of the trial.
            strategy: its name.
            params: its settings.
            run_id: of the record of a trial that was killed and goes on; empty: a new one.
        """
        ...


class FitRun(TrialRuns, Protocol):
    """The record of a fit, under which its trials are recorded. Must survive pickling."""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Parameters of the fit."""
        ...

    def log_dataset(self, dataset: Dataset) -> None:
        """What the fit learns from."""
        ...

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Figures of the fit."""
        ...

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Words about the fit."""
        ...

    def tag_trial(self, run_id: str, tags: Mapping[str, object]) -> None:
        """Words about a trial that has ended."""
        ...

    def log_file(self, file: Path, folder: str = "", run_id: str | None = None) -> None:
        """Keep a copy of a file (or of all files of a folder), with the fit or with a trial."""
        ...

    def end(self, state: str) -> None:
        """Close the record: ``complete``, ``interrupted`` or ``failed``."""
        ...


class NullTrialRun:
    """Records nothing."""

    run_id = ""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def end(self, state: str, metrics: Mapping[str, float], error: str | None = None) -> None:
        """Nothing."""


class NullFitRun:
    """Records nothing."""

    def start_trial(
        self, number: int, strategy: str, params: Mapping[str, object], run_id: str = ""
    ) -> TrialRun:
        """A record of nothing."""
        return NullTrialRun()

    def log_params(self, params: Mapping[str, object]) -> None:
        """Nothing."""

    def log_dataset(self, dataset: Dataset) -> None:
        """Nothing."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Nothing."""

    def tag_trial(self, run_id: str, tags: Mapping[str, object]) -> None:
        """Nothing."""

    def log_file(self, file: Path, folder: str = "", run_id: str | None = None) -> None:
        """Nothing."""

    def end(self, state: str) -> None:
        """Nothing."""
