"""What one process works on at a time: a task with a backbone, resumed where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from studies.outcomes import table
from studies.outcomes.configs import Entry, entries
from studies.outcomes.measure import measure
from studies.outcomes.tasks import (
    MAX_EPOCHS,
    OutcomeTask,
    TaskName,
    open_study_backbone,
    open_task,
)

_N_REPEATED = 5
_REPEAT_SEEDS = (1, 2)


@dataclass(frozen=True)
class Unit:
    """A task with a backbone: what one process works on at a time.

    Attributes:
        task: its name.
        backbone: its name.
        strategies: which are run.
        part: ``first`` (the configs that matter most), ``all``, or ``repeats`` (the best ones
            with further seeds).
        n_configs: at most so many of each strategy; 0: all.
    """

    task: TaskName
    backbone: str
    strategies: tuple[str, ...]
    part: str
    n_configs: int = 0

    @property
    def file_name(self) -> str:
        return table.unit_file(self.task.dataset, self.task.n_train, self.backbone)


def run_unit(unit: Unit, work: Path) -> int:
    """Measure what is missing of a unit; returns how many rows were added."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    file = work / unit.file_name
    try:
        with FileLock(f"{file}.lock", timeout=0):
            return _run_unit(unit, file, work / "pixels")
    except Timeout:  # another run is at it
        return 0


def _run_unit(unit: Unit, file: Path, cache: Path) -> int:
    rows = table.from_lines(file.open()) if file.is_file() else []
    weights_hash = open_study_backbone(unit.backbone).weights_hash
    done = {
        table.key_of(row)
        for row in rows
        if row["strategy"] == "scratch" or row["weights_hash"] == weights_hash
    }
    opened: OutcomeTask | None = None
    n_added = 0
    for entry, seed in _wanted(unit, rows):
        key = (
            unit.task.dataset,
            unit.task.n_train,
            unit.backbone,
            entry.strategy,
            entry.name,
            seed,
        )
        if key in done:
            continue
        opened = opened or open_task(unit.task, unit.backbone, cache)
        found = measure(entry, opened, seed)
        row = {
            **dict(zip(table.KEY, key, strict=True)),
            "weights_hash": weights_hash,
            "config": entry.config.model_dump_json(exclude={"backbone"}),
            "metric": opened.metric.name,
            "n_folds": len(opened.task.folds),
            "n_development": len(opened.development),
            "n_test": len(opened.test),
            **found,
        }
        with file.open("a") as lines:
            lines.write(table.to_line(row) + "\n")
        n_added += 1
    return n_added


def _wanted(unit: Unit, rows: list[dict[str, Any]]) -> list[tuple[Entry, int]]:
    """Entries with seeds: all with the first seed, or the best of each strategy with further."""
    own = _entries(unit)
    if unit.part != "repeats":
        return [(entry, 0) for entry in own if unit.part == "all" or entry.is_first()]
    wanted = []
    for strategy in unit.strategies:
        if strategy == "bottleneck":  # solved, not drawn: the seed changes nothing
            continue
        scores = {
            row["name"]: row["validation"]
            for row in rows
            if row["strategy"] == strategy and row["seed"] == 0 and row["state"] == "complete"
        }
        best = sorted(scores, key=lambda name: -scores[name])[:_N_REPEATED]
        wanted += [
            (entry, seed)
            for entry in own
            if entry.strategy == strategy and entry.name in best
            for seed in _REPEAT_SEEDS
        ]
    return wanted


def _entries(unit: Unit) -> list[Entry]:
    backbone = open_study_backbone(unit.backbone)
    is_imbalanced = unit.task.dataset in IMBALANCED
    made = entries(
        unit.backbone,
        backbone.num_stages,
        MAX_EPOCHS[unit.task.n_train],
        is_imbalanced=is_imbalanced,
    )
    own = []
    for strategy in unit.strategies:
        of_it = [entry for entry in made if entry.strategy == strategy]
        own += of_it[: unit.n_configs or None]
    return own


IMBALANCED = ("clothing10", "bccd_cells3", "trashnet6")
"""Where autotl's ``auto`` weighs the classes: 3 to 1 and more."""
