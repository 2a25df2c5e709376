"""The outcome table as search problems: what a policy sees of a task, and what it doesn't."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autotl.backbones.zoo import EMBEDDED
from autotl.errors import InputError
from studies.outcomes import table
from studies.outcomes.tasks import IMAGENET
from studies.similarity import figures
from studies.similarity.truth import ARM, TASK

Arm = tuple[str, str, str]
"""Backbone, strategy, name."""
UNIT: Arm = (EMBEDDED, "finetune", "full-1e-3")
"""Its seconds are a task's unit of time."""
REQUIRED: tuple[Arm, ...] = (
    UNIT,
    (IMAGENET, "finetune", "full-1e-3"),
    (EMBEDDED, "bottleneck", "last_4-svm"),
    (IMAGENET, "bottleneck", "last_4-svm"),
    (EMBEDDED, "scratch", "whole"),
)
"""What a task must have to be replayed: each strategy, and each backbone where it has both."""


@dataclass(frozen=True)
class Candidate:
    """A config that can be run on a task.

    Attributes:
        backbone, strategy, name: name the row of the table.
        config: its settings but for the backbone, JSON of the strategy's config.
        predicted_s: processor seconds that it should take, from other data sets.
    """

    backbone: str
    strategy: str
    name: str
    config: str
    predicted_s: float

    @property
    def arm(self) -> Arm:
        """What names it."""
        return (self.backbone, self.strategy, self.name)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings, by name, but for the backbone."""
        found: dict[str, Any] = json.loads(self.config)
        return found


@dataclass(frozen=True)
class View:
    """All that a policy sees of a task before it runs anything.

    Attributes:
        dataset, n_train: name the task in ``figures``.
        n_development: number of development samples.
        metric: what is maximised.
        chance: what guessing scores, one by the number of classes.
        candidates: what it can run.
        others: rows of the table (columns as of :func:`studies.outcomes.table.read`, test scores
            too), none of them of this data set at any size.
        figures: the analyzer's figures of all tasks, this one too; made without test pictures.
        budget_s: after so many seconds the search is ended.
    """

    dataset: str
    n_train: int
    n_development: int
    metric: str
    chance: float
    candidates: tuple[Candidate, ...]
    others: pd.DataFrame
    figures: pd.DataFrame
    budget_s: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """What the table holds of a candidate on a task.

    Attributes:
        validation: final score.
        validation_correct: ``(n_development,) int8``: 1 right, 0 wrong, -1 not validated.
        curve_validation: ``(n_epochs,) float64``, scores after every epoch.
        curve_seconds: ``(n_epochs,) float64``, processor seconds until then, over all folds.
        seconds: of the whole run.
        test: score, mean over seeds.
    """

    validation: float
    validation_correct: NDArray[np.int8]
    curve_validation: NDArray[np.float64]
    curve_seconds: NDArray[np.float64]
    seconds: float
    test: float


@dataclass(frozen=True)
class Problem:
    """A task of the table, ready for replays.

    Attributes:
        view: what policies see.
        outcomes: what they don't, by arm.
    """

    view: View
    outcomes: Mapping[Arm, Outcome]

    @property
    def name(self) -> str:
        """Such as ``weather4-300``."""
        return f"{self.view.dataset}-{self.view.n_train}"

    @property
    def unit_s(self) -> float:
        """Seconds of one full fine-tuning of the embedded backbone."""
        return self.outcomes[UNIT].seconds

    @property
    def oracle(self) -> float:
        """Best test score of any candidate."""
        return max(outcome.test for outcome in self.outcomes.values())


def read(work: Path | None = None) -> pd.DataFrame:
    """Complete rows of the published table, or of a work folder's lines.

    Raises:
        InputError: if the folder has no lines.
    """
    if work is None:
        return table.read()
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for file in sorted(work.glob("*.jsonl")):
        with file.open() as lines:
            rows.update({table.key_of(row): row for row in table.from_lines(lines)})
    if not rows:
        raise InputError(
            f"no lines of the outcome table in {work}; run `python -m studies.outcomes`"
        )
    frame = pd.DataFrame(list(rows.values())).sort_values(list(table.KEY))
    return frame[frame["state"] == "complete"].reset_index(drop=True)


def problems_of(
    frame: pd.DataFrame,
    measured: pd.DataFrame | None = None,
    *,
    required: Sequence[Arm] = REQUIRED,
    only_common: bool = False,
) -> list[Problem]:
    """The tasks that can be replayed.

    Evidence is that of seed 0; test scores are means over all seeds.

    Args:
        frame: rows of the table, any subset of it.
        measured: the analyzer's figures; None: the published ones.
        required: arms without which a task is left out.
        only_common: keep only arms that all tasks that are kept have.
    """
    measured = figures.load() if measured is None else measured
    tests = frame.groupby([*TASK, *ARM])["test"].mean()
    first = frame[frame["seed"] == 0]
    first = first.assign(arm=pd.Series(list(map(tuple, first[ARM].to_numpy())), index=first.index))
    have = first.groupby(TASK)["arm"].agg(set)
    kept = have[have.map(set(required).issubset)]
    if only_common and len(kept):
        common = set.intersection(*kept)
        first = first[first["arm"].isin(common)]
    first = first.set_index(TASK).loc[kept.index].reset_index()
    problems = []
    for dataset in first["dataset"].unique():
        others = first[first["dataset"] != dataset].drop(columns="arm").reset_index(drop=True)
        for n_train, rows in first[first["dataset"] == dataset].groupby("n_train"):
            view = View(
                dataset=str(dataset),
                n_train=int(n_train),
                n_development=int(rows["n_development"].iloc[0]),
                metric=str(rows["metric"].iloc[0]),
                chance=_chance(measured, dataset, n_train),
                candidates=_candidates(rows, others),
                others=others,
                figures=measured,
            )
            own = tests.loc[(dataset, n_train)]
            outcomes = {
                row["arm"]: _outcome(row, float(own.loc[row["arm"]]))
                for row in rows.to_dict("records")
            }
            problems.append(Problem(view, outcomes))
    return problems


def _outcome(row: Mapping[Any, Any], test: float) -> Outcome:
    seconds = float(row["seconds"])
    return Outcome(
        validation=float(row["validation"]),
        validation_correct=table.correct_of(row["validation_correct"]),
        curve_validation=np.asarray(row["curve_validation"], dtype=np.float64),
        curve_seconds=np.minimum(np.asarray(row["curve_seconds"], dtype=np.float64), seconds),
        seconds=seconds,
        test=test,
    )


def _chance(measured: pd.DataFrame, dataset: object, n_train: object) -> float:
    """One by the number of classes; 0 where that isn't known."""
    own = measured[(measured["dataset"] == dataset) & (measured["n_train"] == n_train)]
    return 1.0 / float(own["n_classes"].iloc[0]) if len(own) else 0.0


_LIKE = (["n_train", *ARM], ARM, ["n_train", "backbone", "strategy"], ["strategy"])
"""Rows of other data sets that foretell seconds: the first of these that there are any of."""


def _candidates(rows: pd.DataFrame, others: pd.DataFrame) -> tuple[Candidate, ...]:
    """With seconds foretold: the median of other data sets' seconds per image, times own images."""
    per_image = others["seconds"] / others["n_development"]
    medians = [per_image.groupby([others[c] for c in like]).median().to_dict() for like in _LIKE]
    made = []
    for row in rows.sort_values(ARM).to_dict("records"):
        keys = [tuple(row[c] for c in like) if len(like) > 1 else row[like[0]] for like in _LIKE]
        found = (m[k] for m, k in zip(medians, keys, strict=True) if k in m)
        each_s = next(found, float(per_image.median()) if len(per_image) else 0.0)
        made.append(
            Candidate(
                backbone=str(row["backbone"]),
                strategy=str(row["strategy"]),
                name=str(row["name"]),
                config=str(row["config"]),
                predicted_s=float(each_s) * float(row["n_development"]),
            )
        )
    return tuple(made)
