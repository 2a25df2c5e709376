"""A study goes on under its name, or a warm start helps another: whole fits, seconds each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from optuna.trial import TrialState

import autotl
import autotl.candidates as candidates
import autotl.search.study as study_module
from autotl.backbones.speed import Speed
from autotl.errors import InputError
from autotl.progress import Progress
from autotl.recommend.model import Recommendation
from autotl.resuming import TEST_READ_BEFORE, EarlierPart, end_part, keep
from autotl.runtime import Deadline
from autotl.search.records import TrialStore
from autotl.workspace import Workspace

SPEED = Speed("fp32", False, (0.0, *[0.002] * 5), (*[0.03] * 5, 0.01))
"""One that allows few epochs in a budget of 100 s."""

Fit = Callable[..., Recommendation]
Data = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture(scope="module")
def data(pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]) -> Data:
    return pictures, picture_labels


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all fits here, since a new MLflow store takes seconds."""
    return tmp_path_factory.mktemp("runs") / "out"


@pytest.fixture(scope="module", autouse=True)
def _speeds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "measure_speed", lambda *_: SPEED)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


class Notes(Progress):
    """Keeps the notes, and what was begun."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[int] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def trial_started(self, number: int, strategy: str) -> None:
        self.begun.append(number)


@pytest.fixture(scope="module")
def fit(output: Path, weights_file: Path) -> Fit:
    """``autotl.fit`` with the tiny backbone, bottleneck and fine-tuning, cold."""

    def run(dataset: Any, **settings: Any) -> Recommendation:
        values: dict[str, Any] = {
            "time_budget_s": 100.0,
            "n_trials": 3,
            "strategies": ("bottleneck", "finetune"),
            "backbones": [f"resnet10t@{weights_file}"],
            "device": "cpu",
            "output_dir": output,
            "warm_start": False,
        }
        return autotl.fit(dataset, **values | settings)

    return run


def study_of(output: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{output / 'optuna.db'}")


def runs_of(output: Path, name: str) -> tuple[Run, list[Run]]:
    client = MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    (parent,) = client.search_runs(experiments, f"run_name = '{name}'")
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return parent, list(client.search_runs(experiments, query))


@pytest.fixture(scope="module")
def first(fit: Fit, data: Data, output: Path) -> Path:
    """The folder of a fit of three trials; the tests work on copies of it or leave it alone."""
    fit(data, study_name="first")
    return output / "first"


def test_a_study_goes_on_and_no_trial_is_lost(fit: Fit, data: Data, output: Path) -> None:
    one = fit(data, study_name="goes on", n_trials=1)
    before = TrialStore(output / "goes on" / "trials").load()
    split = dict(np.load(output / "goes on" / "split.npz"))
    progress = Notes()
    # Another budget means other ranges of epochs, and by itself another split.
    other = fit(data, study_name="goes on", n_trials=3, time_budget_s=30.0, progress=progress)
    after = TrialStore(output / "goes on" / "trials").load()
    assert [record.number for record in after] == [0, 1, 2]
    assert [r.config for r in after[:1]] == [r.config for r in before]
    assert list(dict.fromkeys(progress.begun)) == [1, 2]  # 2 again with other seeds
    assert any(
        note == "study 'goes on' goes on: trials that have ended: 1" for note in progress.notes
    )
    assert len(other.leaderboard()) == 3
    for name, values in np.load(output / "goes on" / "split.npz").items():
        np.testing.assert_array_equal(values, split[name])
    for one_record, other_record in zip(before, after, strict=False):
        assert one_record.result is not None
        assert other_record.result is not None
        np.testing.assert_array_equal(one_record.result.samples, other_record.result.samples)
    summary = json.loads((output / "goes on" / "decision.json").read_text())
    assert TEST_READ_BEFORE in summary["notes"]
    assert TEST_READ_BEFORE not in one.summary()["notes"]
    assert summary["seconds"] > one.summary()["seconds"]
    parent, children = runs_of(output, "goes on")
    first = [run for run in children if "repeat" not in run.data.tags]
    assert sorted(run.data.tags["trial"] for run in first) == ["0", "1", "2"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["state"] == "complete"
    assert parent.data.params["time_budget_s"] == "100.0"
    assert parent.data.tags["resumed.time_budget_s"] == "30.0"
    assert parent.data.tags["resumed.n_trials"] == "3"
    assert parent.data.metrics["n_trials"] == 3
    finalists = [run.data.tags["finalist"] for run in children if "finalist" in run.data.tags]
    assert len(set(finalists)) == len(finalists)
    assert sum(run.data.tags.get("winner") == "True" for run in children) == 1


def test_the_split_of_the_first_part_stays_whatever_the_time_allows(
    fit: Fit, data: Data, output: Path
) -> None:
    def n_folds(name: str) -> int:
        return int(json.loads((output / name / "profile.json").read_text())["n_folds"])

    fit(data, study_name="hurried", n_trials=1)
    settings = {"study_name": "split", "strategies": "bottleneck"}
    fit(data, n_trials=1, time_budget_s=None, **settings)
    assert n_folds("split") > n_folds("hurried")
    fit(data, n_trials=2, **settings)
    assert n_folds("split") > n_folds("hurried")


def test_with_its_trials_used_up_a_study_decides_anew_without_a_search(
    fit: Fit, data: Data, first: Path
) -> None:
    progress = Notes()
    again = fit(data, study_name="first", prefer="accuracy", progress=progress)
    assert progress.begun == []
    assert len(again.leaderboard()) == 3


def test_all_that_differs_is_named(
    fit: Fit, data: Data, first: Path, weights_file: Path, tmp_path: Path
) -> None:
    other_weights = tmp_path / "other.safetensors"
    shutil.copy(weights_file, other_weights)
    held = {file: file.read_bytes() for file in first.rglob("*") if file.is_file()}
    with pytest.raises(InputError) as refused:
        fit(
            (data[0][:60], data[1][:60]),
            study_name="first",
            seed=1,
            metric="log_loss",
            strategies=("finetune",),
            backbones=[f"resnet10t@{other_weights}"],
        )
    told = str(refused.value)
    assert "study 'first' exists and can't go on" in told
    assert "give another study_name" in told
    assert "was 'pictures' (90 images, 3 classes, " in told
    assert "is 'pictures' (60 images, 3 classes, " in told
    assert "metric: was accuracy, is log_loss" in told
    assert "strategies: was bottleneck, finetune, is finetune" in told
    assert "seed: was 0, is 1" in told
    assert f"backbones: was resnet10t@{weights_file}, is resnet10t@{other_weights}" in told
    assert told.count("\n") == 5
    assert {file: file.read_bytes() for file in first.rglob("*") if file.is_file()} == held


def test_other_weights_under_the_same_name_are_told(
    fit: Fit, data: Data, output: Path, weights_file: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "tiny.safetensors"
    shutil.copy(weights_file, weights)
    settings: dict[str, Any] = {"study_name": "weights", "backbones": [f"resnet10t@{weights}"]}
    fit(data, n_trials=1, **settings)
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"weights or picture size of resnet10t@.*: were .*, are"):
        fit(data, n_trials=2, **settings)


def test_changed_labels_are_another_data_set(fit: Fit, data: Data, first: Path) -> None:
    labels = data[1].copy()
    labels[:2] = labels[:2][::-1]
    with pytest.raises(InputError, match="the data set"):
        fit((data[0], labels), study_name="first")


def test_what_auto_means_for_these_labels_is_the_same_metric(
    fit: Fit, data: Data, first: Path
) -> None:
    assert len(fit(data, study_name="first", metric="accuracy").leaderboard()) == 3


class Killed(BaseException):
    """Stands for SIGKILL: nothing is tidied up after it."""


@pytest.mark.slow
def test_a_killed_fit_goes_on(
    fit: Fit, data: Data, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two trials' record and Optuna's, and in the middle of another trial."""
    fit(data, study_name="killed", n_trials=2)
    study = study_of(output, "killed")
    database = output / "optuna.db"
    trial = study.ask()  # what a killed process leaves: trials in state RUNNING
    assert trial.number == 2
    other = study.ask()
    trials = output / "killed" / "trials"
    record = json.loads((trials / "00001.json").read_text())
    (trials / "00002.json").write_text(json.dumps(record | {"number": 2}))
    shutil.copy(trials / "00001.npz", trials / "00002.npz")
    (output / "killed" / "decision.json").unlink()
    assert database.is_file()
    client = MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    parent, _ = runs_of(output, "killed")
    client.update_run(parent.info.run_id, status="RUNNING")
    tags = {"mlflow.parentRunId": parent.info.run_id, "trial": "3", "state": "running"}
    client.create_run(parent.info.experiment_id, run_name="killed trial", tags=tags)

    recommendation = fit(data, study_name="killed", n_trials=5)

    states = [trial.state for trial in study_of(output, "killed").trials[:5]]
    assert states[2] == TrialState.COMPLETE
    assert other.number == 3
    assert states == [TrialState.COMPLETE] * 5  # what was lost with its process is run again
    assert study_of(output, "killed").trials[2].value == record["result"]["score"]
    assert len(study_of(output, "killed").trials) == 5
    assert len(recommendation.leaderboard()) == 5
    parent, children = runs_of(output, "killed")
    assert parent.info.status == "FINISHED"
    lost = next(run for run in children if run.info.run_name == "killed trial")
    assert (lost.info.status, lost.data.tags["state"]) == ("KILLED", "interrupted")
    assert TEST_READ_BEFORE not in recommendation.summary()["notes"]


def test_a_killed_part_goes_on_with_what_is_left_of_its_budget(first: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(first, folder)
    place = Workspace(tmp_path, "copy")
    ended = EarlierPart.read(place)
    assert ended.used_s == 0.0
    assert ended.deadline(Deadline(1000.0)) == Deadline(1000.0)
    study = json.loads((folder / "study.json").read_text())
    part = {"has_ended": False, "begun": 2000.0, "used_s": 30.0, "before_s": 7.0}
    (folder / "study.json").write_text(json.dumps(study | {"part": part}))
    for file in folder.rglob("*"):
        os.utime(file, (2000.0, 2000.0))
    os.utime(folder / "trials" / "00001.json", (2050.0, 2050.0))
    killed = EarlierPart.read(place)
    assert killed.used_s == 80.0
    assert killed.seconds == 87.0
    assert killed.deadline(Deadline(1000.0)) == Deadline(920.0)
    keep(place, killed.identity, killed.split, "", 3000.0, killed)
    for file in folder.rglob("*"):
        os.utime(file, (3000.5, 3000.5))
    assert EarlierPart.read(place).used_s == 80.5
    assert EarlierPart.read(place).seconds == 87.5
    end_part(place)
    assert EarlierPart.read(place).used_s == 0.0


def test_a_preparation_that_was_killed_is_done_anew(fit: Fit, data: Data, output: Path) -> None:
    (output / "early").mkdir()
    (output / "early" / "profile.json").write_text('{"half')
    assert len(fit(data, study_name="early", n_trials=1).leaderboard()) == 1


def test_a_study_that_was_killed_while_it_was_made_is_made_anew(
    fit: Fit, data: Data, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(study_module, "mark_complete", kill)
        with pytest.raises(Killed):
            fit(data, study_name="half made", n_trials=1)
    study_of(output, "half made").set_user_attr("of", "the killed fit")
    fit(data, study_name="half made", n_trials=1)
    assert "of" not in study_of(output, "half made").user_attrs


def test_a_study_that_can_t_be_read_is_refused(fit: Fit, data: Data, first: Path) -> None:
    copy = first.with_name("damaged")
    shutil.copytree(first, copy)
    (copy / "study.json").write_text('{"identity": {"seed": 0}, "run_id": ""}')
    with pytest.raises(InputError, match=r"'damaged'.*can't go on.*choose another"):
        fit(data, study_name="damaged")


def test_trials_that_the_storage_does_not_know_are_not_written_over(
    fit: Fit, data: Data, first: Path
) -> None:
    copy = first.with_name("copied")
    shutil.copytree(first, copy)
    with pytest.raises(InputError, match="doesn't know 3 of the 3 trials"):
        fit(data, study_name="copied")
    assert len(TrialStore(copy / "trials").load()) == 3


@pytest.mark.slow
def test_a_warm_start_is_told_and_tagged(fit: Fit, data: Data, output: Path, first: Path) -> None:
    separate = output / "warm"  # other fits of this module would serve, too
    shutil.copytree(first, separate / "earlier")
    files = sorted((separate / "earlier" / "trials").glob("*.json"))
    read = [(json.loads(file.read_text()), file) for file in files]
    own = [(r, file) for r, file in read if r["strategy"] == "bottleneck"]
    record, best = max(own, key=lambda pair: pair[0]["result"]["score"])
    record["config"] |= {"layers": "third_last", "balanced": True}  # no rule of thumb says so
    best.write_text(json.dumps(record))
    (separate / "foreign").mkdir()
    (separate / "foreign" / "profile.json").write_text('{"half')
    progress = Notes()
    half = np.arange(90) >= 15
    settings = {"strategies": "bottleneck", "output_dir": separate, "n_trials": 3}
    fit(
        (data[0][half], data[1][half]),
        study_name="another",
        warm_start=True,
        tracking_uri=f"sqlite:///{output / 'mlflow.db'}",
        progress=progress,
        **settings,
    )
    assert any(
        note.startswith("starting from what did best on earlier (distance 0.")
        for note in progress.notes
    )
    assert sum("can't be read" in note for note in progress.notes) == 1
    tried = [t for t in study_of(separate, "another").trials if "warm_start" in t.user_attrs]
    assert [trial.user_attrs["warm_start"] for trial in tried] == ["earlier"]
    assert tried[0].user_attrs["config"] == record["config"]
    assert 0 < tried[0].user_attrs["warm_start_distance"] < 0.4
    parent, children = runs_of(output, "another")
    assert parent.data.params["warm_start"] == "True"
    tagged = {run.data.tags["trial"]: run.data.tags.get("warm_start") for run in children}
    assert tagged == {"0": None, "1": "earlier", "2": None}
    cold = Notes()
    fit(data, study_name="cold", progress=cold, **settings | {"n_trials": 1})
    assert not any("starting from" in note for note in cold.notes)


@pytest.mark.parametrize("file", ["split.npz", "study.json"])
@pytest.mark.parametrize("left", [0, 40])
def test_a_study_whose_files_are_cut_short_is_refused(
    file: str, left: int, fit: Fit, data: Data, first: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("split.npz", "study.json"):
        content = (first / name).read_bytes()
        (copy / name).write_bytes(content[:left] if name == file else content)
    with pytest.raises(InputError, match=r"'copy'.*can't go on.*choose another"):
        fit(data, study_name="copy", output_dir=tmp_path)


def test_a_space_holds_for_every_trial_and_every_part(fit: Fit, data: Data, output: Path) -> None:
    space = {"finetune.lr": {"low": 5e-3, "high": 6e-3}, "bottleneck.layers": "last"}
    fit(data, study_name="narrow", n_trials=3, space=space)
    fit(data, study_name="narrow", n_trials=4, space=space)
    records = TrialStore(output / "narrow" / "trials").load()
    assert len(records) == 4
    for record in records:
        if record.strategy == "finetune":
            assert 5e-3 <= record.config["lr"] <= 6e-3
        else:
            assert record.config["layers"] == "last"
    assert {record.strategy for record in records} == {"bottleneck", "finetune"}
    assert {record.recipe for record in records} & {"", "full-5e-3"}
    with pytest.raises(InputError) as refused:
        fit(data, study_name="narrow", space={"finetune.lr": [6e-3]})
    assert "space of finetune.lr: was {'low': 0.005, 'high': 0.006}, is [0.006]" in str(
        refused.value
    )
    assert "space of bottleneck.layers: was ['last'], is whole" in str(refused.value)
    parent, _ = runs_of(output, "narrow")
    assert parent.data.params["space.bottleneck.layers"] == "['last']"


def test_a_space_that_no_data_set_has_is_refused_at_once(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean 'finetune\.lr'"):
        fit("nowhere", output_dir=tmp_path / "runs", space={"finetune.lrr": 1e-3})
    assert not (tmp_path / "runs").exists()


def test_what_a_fit_was_asked_for_is_kept(first: Path) -> None:
    settings = json.loads((first / "study.json").read_text())["settings"]
    assert settings["n_trials"] == 3
    assert settings["in_memory"] == ["data"]
    assert settings["data"] is None
