"""Is ``time_budget_s`` kept? Real fits with random budgets on random parts of real data sets."""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import autotl
from autotl.progress import Progress

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
DATASETS = ("weather4", "trashnet6", "sign_digits10", "bccd_cells3", "fsdd_spectrograms10")
_SIZES = (60, 1_000)
_BUDGETS_S = (8.0, 60.0)


@dataclass(frozen=True)
class Fit:
    """What came of one fit.

    Attributes:
        dataset: its name.
        n_pictures: given to it.
        budget_s: what was allowed.
        seconds: what it took, by the clock of the caller.
        phases: seconds by phase.
        n_trials: finished and unfinished ones.
    """

    dataset: str
    n_pictures: int
    budget_s: float
    seconds: float
    phases: dict[str, float]
    n_trials: int

    @property
    def overrun_s(self) -> float:
        """Seconds beyond the budget; below 0: what was left of it."""
        return self.seconds - self.budget_s


class Phases(Progress):
    """Notes when each phase began."""

    def __init__(self) -> None:
        self._begun: list[tuple[str, float]] = []

    def phase(self, name: str, time_left_s: float | None = None) -> None:
        self._begun.append((name, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """By phase, until now for the last."""
        ends = [*(at for _, at in self._begun[1:]), time.perf_counter()]
        pairs = zip(self._begun, ends, strict=True)
        return {name: round(end - at, 2) for (name, at), end in pairs}


def fits(n: int, seed: int = 0) -> Iterator[Fit]:
    """So many fits, in one folder, so that the stores are made once."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(n):
            name = str(rng.choice(DATASETS))
            size = int(np.exp(rng.uniform(*np.log(_SIZES))))
            budget_s = float(np.exp(rng.uniform(*np.log(_BUDGETS_S))))
            frame = _part(name, size, rng)
            watch = Phases()
            started = time.perf_counter()
            found = autotl.fit(
                frame,
                image="file",
                label="class",
                time_budget_s=budget_s,
                backbones=["embedded"],
                output_dir=folder,
                study_name=f"fit{index}",
                warm_start=False,
                seed=index,
                progress=watch,
            )
            seconds = time.perf_counter() - started
            n_trials = len(found.leaderboard())
            yield Fit(name, len(frame), budget_s, seconds, watch.seconds(), n_trials)


def _part(name: str, size: int, rng: np.random.Generator) -> pd.DataFrame:
    """A random part of a data set, with ten of each class at least."""
    folder = SHARED / "data" / name
    with (folder / "meta.csv").open(newline="") as file:
        frame = pd.DataFrame(list(csv.DictReader(file)))
    order = frame.iloc[rng.permutation(len(frame))]
    least = order.groupby("class").head(10).index
    chosen = [*least, *order.index.difference(least, sort=False)][: max(size, len(least))]
    part = frame.loc[chosen, ["file", "class"]]
    return part.assign(file=[str(folder / file) for file in part["file"]])
