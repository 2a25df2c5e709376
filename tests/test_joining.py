"""A worker joins a fit: the same task from the data alone, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from PIL import Image

import autotl
import autotl.candidates as candidates
import autotl.joining as joining
from autotl.backbones.speed import Speed
from autotl.data import read_dataset
from autotl.errors import InputError
from autotl.joining import Here, join
from autotl.progress import Progress
from autotl.search.records import TrialStore

SPEED = Speed("fp32", False, (0.0, *[1e-4] * 5), (4e-4,) * 6)


class During(Progress):
    """Does something when the fit's first trial has ended."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def trial_ended(self, *_: Any) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ended: list[int] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def trial_ended(self, number: int, *_: Any) -> None:
        self.ended.append(number)


@pytest.fixture(scope="module")
def data(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pictures"
    for i, (picture, label) in enumerate(zip(pictures, picture_labels, strict=True)):
        (folder / "abc"[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "abc"[label] / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, data: Path, weights_file: Path) -> Any:
    """A fit of four trials on a URL; after the first, workers try to join it.

    Gives its folder, its storage, the worker's progress, and what others were refused for.
    """
    output = tmp_path_factory.mktemp("runs")
    url = f"memory://{output.name}/pictures"
    fsspec.filesystem("memory").put(str(data), url, recursive=True)
    storage = f"sqlite:///{output / 'optuna.db'}"
    watch, refused = Notes(), {}

    def refusal(name: str, here: Here = Here(wait_s=0.0), **patches: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for attribute, value in patches.items():
                patch.setattr(joining, attribute, value)
            with pytest.raises(InputError) as caught:
                join("shared", storage, here, Progress())
        refused[name] = str(caught.value)

    def act() -> None:
        elsewhere = output / "elsewhere"
        shutil.copytree(data, elsewhere)
        Image.new("RGB", (32, 32)).save(elsewhere / "a" / "00.png")
        (output / "other" / "shared").mkdir(parents=True)
        for file in ("study.json", "split.npz"):
            shutil.copy(output / "shared" / file, output / "other" / "shared")
        np.savez(output / "other" / "shared" / "split.npz", development=[0], test=[1])
        refusal("version", version=lambda _: "9.9")
        refusal("host", socket=type("Elsewhere", (), {"gethostname": staticmethod(lambda: "b")}))
        refusal("unseen", Here(data="/no/data", output=Path("/no/runs"), wait_s=0.0))
        refusal("other data", Here(data=str(elsewhere), wait_s=0.0))
        refusal("other split", Here(output=output / "other", wait_s=0.0))
        assert join("shared", storage, Here(cache=output / "own cache", wait_s=0.0), watch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "measure_speed", lambda *_: SPEED)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(weights_file.parent)
        autotl.fit(
            url,
            n_trials=4,
            time_budget_s=None,
            strategies=("bottleneck",),
            backbones=[f"resnet10t@{weights_file.name}"],
            device="cpu",
            output_dir=output,
            study_name="shared",
            progress=During(act),
        )
    return output / "shared", storage, watch, refused


def test_the_trials_of_a_worker_count_as_the_fits_own(begun: Any) -> None:
    folder, _, watch, _ = begun
    records = TrialStore(folder / "trials").load()
    assert len(records) == 4
    assert watch.ended == [1, 2, 3]
    assert [record.error for record in records] == [None] * 4
    own, *theirs = [record.result for record in records]
    assert own is not None
    for result in theirs:
        assert result is not None
        np.testing.assert_array_equal(result.samples, own.samples)
    decided = json.loads((folder / "decision.json").read_text())
    assert decided["strategies"]["bottleneck"]["n_complete"] == 4
    assert (folder / "report.html").is_file()


def test_they_are_recorded_below_the_fit(begun: Any) -> None:
    folder, _, _, _ = begun
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    (fit,) = client.search_runs(experiments, "run_name = 'shared'")
    trials = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{fit.info.run_id}'")
    first = [run.data.tags["trial"] for run in trials if "repeat" not in run.data.tags]
    assert sorted(first) == ["0", "1", "2", "3"]


def test_both_copy_the_data_from_the_url_and_records_name_it(begun: Any, data: Path) -> None:
    folder, _, _, _ = begun
    url = f"memory://{folder.parent.name}/pictures"
    for cache in ("cache", "own cache"):
        (copy,) = (folder.parent / cache / "mirrors").iterdir()
        assert len(list(copy.glob("files/*/*.png"))) == 90
    kept = json.loads((folder / "study.json").read_text())
    assert kept["settings"]["data"] == url
    assert kept["identity"]["fingerprint"] == read_dataset(data).fingerprint
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    (fit,) = client.search_runs(experiments, "run_name = 'shared'")
    (given,) = fit.inputs.dataset_inputs
    assert json.loads(given.dataset.source) == {"uri": url}


def test_a_study_that_has_ended_wants_no_more(begun: Any) -> None:
    _, storage, _, _ = begun
    notes = Notes()
    assert join("shared", storage, Here(wait_s=0.0), notes)
    assert notes.notes == ["study 'shared' wants no more trials"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("version", ("run by autotl", "this is 9.9", "install the same version")),
        ("host", ("SQLite", "--storage postgresql://")),
        ("unseen", ("/no/data; mount it", "--data", "/no/runs/shared; mount it", "--output")),
        ("other data", ("different here", "the data set", "'elsewhere' (90 images")),
        ("other split", ("holds another study", "--output")),
    ],
)
def test_what_cannot_help_says_why_and_leaves(
    begun: Any, name: str, words: tuple[str, ...]
) -> None:
    _, _, _, refused = begun
    for word in words:
        assert word in refused[name]


def test_data_from_memory_cannot_be_seen_elsewhere(
    tmp_path: Path,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    weights_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "measure_speed", lambda *_: SPEED)
    told: list[str] = []

    def act() -> None:
        with pytest.raises(InputError) as caught:
            join("memory", f"sqlite:///{tmp_path / 'optuna.db'}", Here(wait_s=0.0), Progress())
        told.append(str(caught.value))

    autotl.fit(
        (pictures, picture_labels),
        n_trials=1,
        time_budget_s=None,
        strategies=("bottleneck",),
        backbones=[f"resnet10t@{weights_file}"],
        device="cpu",
        output_dir=tmp_path,
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
        study_name="memory",
        progress=During(act),
    )
    assert "came from memory" in told[0]
