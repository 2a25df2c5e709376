"""The measures of the freeze depth, on tables whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from autotl.backbones.zoo import EMBEDDED
from studies.similarity import depths, foretold, truth

NUM_STAGES = 5
TASKS = [(f"set{i}", n) for i in range(6) for n in (100, 1000)]
NOISE = 0.03
"""In logits, as the slopes."""


def make(
    slope: dict[tuple[str, int], float], noise: float = NOISE, drop: float = 0.0
) -> pd.DataFrame:
    """Twelve configs at depths 0 to 5, each with a level of its own; a share of the rows gone."""
    rng = np.random.default_rng(0)
    levels = rng.normal(0, 0.5, 12)
    rows = []
    for k, task in enumerate(TASKS):
        for config in range(12):
            if rng.random() < drop:
                continue
            depth = config % (NUM_STAGES + 1)
            logit = 0.3 * k - 1.0 + levels[config] + slope[task] * depth / NUM_STAGES
            score = 1 / (1 + np.exp(-logit - rng.normal(0, noise)))
            rows.append((*task, EMBEDDED, "finetune", f"c{config}", score, depth))
    columns = [*truth.TASK, *truth.ARM, "test", "depth"]
    frame = pd.DataFrame(rows, columns=columns).assign(seconds=1.0)
    frame["validation"] = frame["test"]
    configs = [json.dumps({"freeze_depth": d, "freeze_above": None}) for d in frame.pop("depth")]
    return depths.with_depths(frame.assign(config=configs), EMBEDDED, NUM_STAGES)


def row(strategy: str, name: str, test: float, config: str, n: int = 100) -> dict[str, object]:
    return {
        "dataset": "set0",
        "n_train": n,
        "backbone": EMBEDDED,
        "strategy": strategy,
        "name": name,
        "validation": test,
        "test": test,
        "config": config,
    }


def frozen(depth: int, above: int | None = None) -> str:
    return json.dumps({"freeze_depth": depth, "freeze_above": above})


@pytest.fixture
def own() -> pd.DataFrame:
    frame = pd.DataFrame(
        [
            row("bottleneck", "last_4-svm", 0.7, json.dumps({"head": "svm"})),
            row("finetune", "tenth", 0.6, frozen(0)),
            row("finetune", "freeze-first", 0.65, frozen(2)),
            row("finetune", "surgical-first", 0.9, frozen(0, 2)),
            row("scratch", "whole", 0.95, "{}"),
        ]
    )
    return depths.with_depths(frame, EMBEDDED, NUM_STAGES)


def test_depths_are_shares_of_the_stages_and_a_bottleneck_is_all_frozen(own: pd.DataFrame) -> None:
    assert dict(zip(own["name"], own["depth"], strict=True)) == {
        "last_4-svm": 1.0,
        "tenth": 0.0,
        "freeze-first": 0.4,
    }


def test_contrasts_are_of_the_depth_alone(own: pd.DataFrame) -> None:
    assert depths.freezing_first(own).tolist() == pytest.approx([5.0])
    odds = (0.7 / 0.3) / (0.65 / 0.35)
    assert depths.freezing_all(own).tolist() == pytest.approx([np.log(odds)])
    assert depths.best_depth(own).tolist() == [1.0]
    assert depths.freezing_first(own[own["name"] != "tenth"]).empty


def test_slopes_tell_which_tasks_bear_freezing() -> None:
    true = {task: (i - 5.5) / 11 for i, task in enumerate(TASKS)}
    found = depths.slopes(make(true))
    expected = list(true.values())  # their mean is 0
    assert found["slope"].to_numpy() == pytest.approx(expected, abs=4 * NOISE)
    error = np.sqrt(np.mean((found["slope"].to_numpy() - expected) ** 2))
    assert found["error"].mean() == pytest.approx(error, rel=0.5)
    assert depths.reliability(found) == pytest.approx(1.0, abs=0.1)


def test_a_slope_that_all_tasks_share_is_not_a_tasks_own() -> None:
    found = depths.slopes(make(dict.fromkeys(TASKS, -1.0)))
    assert np.abs(found["slope"]).max() < 4 * NOISE
    sure = depths.reliability(found)
    assert sure is not None
    assert sure < 0.6


def test_rows_may_be_missing() -> None:
    true = {task: (i - 5.5) / 11 for i, task in enumerate(TASKS)}
    full, holed = depths.slopes(make(true)), depths.slopes(make(true, drop=0.2))
    assert len(holed) == len(TASKS)
    assert holed["slope"].to_numpy() == pytest.approx(full["slope"].to_numpy(), abs=4 * NOISE)


def test_few_rows_tell_nothing() -> None:
    own = make(dict.fromkeys(TASKS, 0.0))
    few = own[own["dataset"] == "set0"]
    assert depths.slopes(few).empty
    shallow = own[own["depth"] < 0.5]
    assert depths.slopes(shallow).empty
    assert depths.reliability(depths.slopes(few)) is None
    measured = pd.DataFrame(
        [
            {"dataset": d, "n_train": n, "backbone": EMBEDDED, **dict.fromkeys(foretold.FIGURES, 1)}
            for d, n in TASKS
        ]
    )
    told = foretold.of_target(depths.slopes(few)["slope"], measured, 10)
    assert {value["tau"] for value in told.values()} == {None}


def test_two_data_sets_tell_no_correlation() -> None:
    x = pd.Series(np.arange(12.0))
    few = foretold.correlation(x, x, np.repeat(["a", "b", "c", "d"], 3), resamples=20)
    assert few == {"tau": None, "low": None, "high": None, "n": 12}
    enough = foretold.correlation(x, x, np.repeat(list("abcdef"), 2), resamples=20)
    assert enough["tau"] == 1.0
