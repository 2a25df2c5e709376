"""Fits of the past, read back from Optuna's storage and the folder of each fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autotl.cli.board import duration
from autotl.errors import InputError, unknown

STORE = "optuna.db"
_PIPE_WIDTH = 240


@dataclass(frozen=True)
class PastTrial:
    """A trial in Optuna's storage.

    Attributes:
        number: Optuna's number of it.
        strategy: its strategy.
        state: ``complete``, ``pruned``, ``deadline``, ``failed``, ``interrupted`` or ``running``.
        score: on validation samples, greater is better; None unless complete.
        seconds: from start to end, None if it hasn't ended.
        config: its settings.
        error: what went wrong, if something did.
    """

    number: int
    strategy: str
    state: str
    score: float | None
    seconds: float | None
    config: Mapping[str, Any]
    error: str | None


@dataclass(frozen=True)
class PastStudy:
    """A fit of the past.

    Attributes:
        name: of the study.
        folder: of the fit.
        started: when its first trial began, None without one.
        trials: those that were begun.
    """

    name: str
    folder: Path
    started: datetime | None
    trials: tuple[PastTrial, ...]

    @property
    def best(self) -> tuple[PastTrial, ...]:
        """The best complete trial of each strategy, best first."""
        found: dict[str, PastTrial] = {}
        for trial in sorted(self.trials, key=_rank):
            if trial.score is not None:
                found.setdefault(trial.strategy, trial)
        return tuple(found.values())

    def decided(self) -> Mapping[str, Any]:
        """What was decided, as its ``decision.json`` has it; empty if the fit didn't get there."""
        return self._read("decision.json")

    def kept(self) -> Mapping[str, Any]:
        """What it is about, as its ``study.json`` has it; empty without one."""
        return self._read("study.json")

    def _read(self, name: str) -> Mapping[str, Any]:
        try:
            values = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}


def _rank(trial: PastTrial) -> float:
    return float("inf") if trial.score is None else -trial.score


class History:
    """The studies of an output folder.

    Args:
        output: the folder.
        storage: URL of an Optuna storage elsewhere; None: the folder's own.

    Raises:
        InputError: if it holds no storage of Optuna's.
    """

    def __init__(self, output: Path, storage: str | None = None) -> None:
        self._output = output.expanduser()
        store = self._output.absolute() / STORE
        if storage is None and not store.is_file():
            raise InputError(
                f"no studies in {output} (looked for {store}); run `autotl fit DATA --output "
                f"{output}` first, or give the --output folder of an earlier fit"
            )
        from autotl.search.storage import open_storage  # Optuna stays behind it

        self._storage = open_storage(storage or f"sqlite:///{store}")

    def names(self) -> list[str]:
        """Of the studies, in the order in which they were made."""
        return [found.study_name for found in self._storage.get_all_studies()]

    def study(self, name: str) -> PastStudy:
        """A study by name.

        Raises:
            InputError: if there is none of that name; the nearest is named.
        """
        if name not in self.names():
            raise unknown("study", name, self.names())
        found = self._storage.get_all_trials(
            self._storage.get_study_id_from_name(name), deepcopy=False
        )
        begun = [
            trial
            for trial in found
            if trial.datetime_start is not None and trial.user_attrs.get("state") != "unaffordable"
        ]
        starts = [trial.datetime_start for trial in begun if trial.datetime_start is not None]
        return PastStudy(
            name=name,
            folder=self._output / name,
            started=min(starts, default=None),
            trials=tuple(_trial(trial) for trial in begun),
        )


def _trial(trial: Any) -> PastTrial:
    seconds = None if trial.duration is None else trial.duration.total_seconds()
    return PastTrial(
        number=trial.number,
        strategy=str(trial.params.get("strategy", "?")),
        state=str(trial.user_attrs.get("state", trial.state.name.lower())),
        score=trial.value if trial.state.name == "COMPLETE" else None,
        seconds=seconds,
        config=trial.user_attrs.get("config", {}),
        error=trial.user_attrs.get("error"),
    )


def show_list(output: Path, storage: str | None = None) -> None:
    """Print a line for every study of an output folder, or of a storage elsewhere."""
    history = History(output, storage)
    table = make_table("study", "started", "trials>", "complete>", "best", "score>", "folder")
    for name in history.names():
        past = history.study(name)
        best = next(iter(past.best), None)
        table.add_row(
            name,
            "-" if past.started is None else f"{past.started:%Y-%m-%d %H:%M}",
            str(len(past.trials)),
            str(sum(trial.score is not None for trial in past.trials)),
            "-" if best is None else best.strategy,
            number(None if best is None else best.score),
            str(past.folder) if past.folder.is_dir() else "(gone)",
        )
    table_console().print(table)


def show_study(output: Path, name: str, storage: str | None = None) -> None:
    """Print a study's trials, the best of each strategy, and where its files lie."""
    past = History(output, storage).study(name)
    console = table_console()
    started = "" if past.started is None else f", started {past.started:%Y-%m-%d %H:%M}"
    console.print(Text.assemble((past.name, "bold"), started))
    console.print()
    console.print(_trials_table(past.trials))
    console.print()
    console.print(_best_table(past.best))
    console.print()
    decided = past.decided()
    if decided:
        console.print(f"decided  {_decision_line(decided)}", soft_wrap=True)
    for label, place in (("report", "report.html"), ("model", "model")):
        path = past.folder / place
        shown = str(path) if path.exists() else f"none ({path} doesn't exist)"
        console.print(f"{label:<8} {shown}", soft_wrap=True)


def _decision_line(decided: Mapping[str, Any]) -> str:
    """The recommended strategy with its scores."""

    def scored(score: Mapping[str, float]) -> str:
        return f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"

    line = f"{decided['strategy']}: {decided['metric']} {scored(decided['expected'])} expected"
    test = decided["test"]
    return line if test is None else f"{line}, {scored(test)} on the locked test set"


def _trials_table(trials: Sequence[PastTrial]) -> Table:
    table = make_table("trial>", "strategy", "state", "score>", "time>", "settings")
    for trial in trials:
        settings = ", ".join(f"{key}={short(value)}" for key, value in trial.config.items())
        table.add_row(
            str(trial.number),
            trial.strategy,
            trial.state,
            number(trial.score),
            "-" if trial.seconds is None else duration(trial.seconds),
            Text(trial.error or settings, style="" if trial.error is None else "red"),
        )
    return table


def _best_table(best: Sequence[PastTrial]) -> Table:
    table = make_table("best of", "score>", "trial>", "time>")
    for trial in best:
        seconds = "-" if trial.seconds is None else duration(trial.seconds)
        table.add_row(trial.strategy, number(trial.score), str(trial.number), seconds)
    return table


def make_table(*columns: str) -> Table:
    """A table of those columns; a ``>`` at the end of a name puts its values to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        if name.endswith(">"):
            table.add_column(name[:-1], justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    return table


def table_console() -> Console:
    console = Console(highlight=False, markup=False)  # names may hold brackets
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
