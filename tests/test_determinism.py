"""The same call finds the same: one worker, one seed, a number of trials instead of a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import autotl
import autotl.candidates as candidates
import autotl.search.study as study_module
from autotl.backbones.speed import Speed, Way
from autotl.recommend.model import Recommendation
from autotl.search.objective import TrialReporter
from autotl.search.records import TrialStore

FORWARD_S = (0.0, *[0.002] * 5)
NOTED = "the disk got full: the search ended there, with what was finished until then"

Fit = Callable[[str], Recommendation]


@pytest.fixture
def fit(
    tmp_path: Path,
    weights_file: Path,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    monkeypatch: pytest.MonkeyPatch,
) -> Fit:
    """A fit of four trials of all strategies, each in a folder of its own."""
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of a store that is given there
    clock = itertools.count(1)

    def measure(backbone: Any, device: Any, way: Way | None = None) -> Speed:
        """Other figures each time, and another way, as on a machine with other jobs."""
        rate = next(clock) ** 2
        way = way or Way("fp32", rate % 2 == 0)
        figures = (tuple(rate * s for s in FORWARD_S), (0.03 / rate,) * 6)
        return Speed(way.precision, way.channels_last, *figures)

    monkeypatch.setattr(candidates, "measure_speed", measure)
    monkeypatch.setattr(
        TrialReporter, "seconds", property(lambda self: 1e2 / next(clock) ** self._trial.number)
    )
    monkeypatch.setattr("autotl.search.budget.UNLIMITED_EPOCHS", 2)

    def run(folder: str) -> Recommendation:
        return autotl.fit(
            (pictures, picture_labels),
            time_budget_s=None,
            n_trials=4,
            backbones=[f"resnet10t@{weights_file}"],
            prefer="cheap",
            device="cpu",
            seed=5,
            output_dir=tmp_path / folder,
            tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
            study_name="it",
        )

    return run


def found(folder: Path) -> list[tuple[Any, ...]]:
    """Trials and repeats, and what they predicted."""
    trials = folder / "it" / "trials"
    records = [*TrialStore(trials).load(), *TrialStore(trials / "repeats").load()]
    return [
        (
            *(r.number, r.repeat, r.strategy, r.recipe, dict(r.config), r.state),
            [(point.progress, point.score) for point in r.curve],
            None if r.result is None else (r.result.score, r.result.probabilities.tolist()),
        )
        for r in records
    ]


def test_a_second_run_finds_the_same(fit: Fit, tmp_path: Path) -> None:
    one, other = fit("one"), fit("other")
    assert found(tmp_path / "one") == found(tmp_path / "other")
    assert len({entry[2] for entry in found(tmp_path / "one")}) == 3
    differing = {"seconds", "report", "model", "strategies"}
    summaries = [
        {k: v for k, v in shown.summary().items() if k not in differing} for shown in (one, other)
    ]
    assert json.dumps(summaries[0]) == json.dumps(summaries[1])
    assert one.model is not None
    assert other.model is not None
    for mine, its in zip(one.model.tensors().values(), other.model.tensors().values(), strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())


@pytest.mark.slow
def test_a_full_disk_ends_a_search_with_what_there_is(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = TrialStore.save

    class Full(TrialStore):
        def save(self, record: Any) -> None:
            if record.number == 2:
                raise OSError(28, "No space left on device")
            save(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(study_module, "TrialStore", Full)
        ended = fit("one")
    assert NOTED in ended.summary()["notes"]
    assert len(ended.leaderboard()) == 2
    assert ended.model_path is not None
    assert autotl.load(ended.model_path) is not None
    assert NOTED not in fit("one").summary()["notes"]  # the same call, with room again
    fit("whole")
    assert found(tmp_path / "one") == found(tmp_path / "whole")
