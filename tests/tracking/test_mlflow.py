from __future__ import annotations

import json
import pickle
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from tracking_helpers import CONFIG, all_of, look_up, warned

from autotl.tracking.base import Dataset, FitRun, NullFitRun
from autotl.tracking.mlflow import MlflowFitRun, run_name
from autotl.tracking.store import EXPERIMENT, MlflowStore, StoreError
from autotl.tracking.views import VIEW


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def fit(uri: str, tmp_path: Path) -> Iterator[MlflowFitRun]:
    fit = MlflowFitRun.start(uri, "a fit", tmp_path / "fit", Path(uri[10:]).parent / "artifacts")
    yield fit
    fit.end("complete")


@pytest.fixture
def down(tmp_path: Path) -> MlflowFitRun:
    """A fit whose store failed at once."""
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    with warned() as messages:
        fit = MlflowFitRun.start(uri, "a fit", tmp_path / "fit")
        assert not fit.wait(30)
    assert any("autotl sync" in message for message in messages)
    return fit


@pytest.mark.parametrize("kind", ["null", "mlflow", "down"])
def test_the_contract_of_a_record(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Whatever the store does, a fit can tell it everything and comes out at the end."""
    makers: dict[str, Callable[[], FitRun]] = {
        "null": NullFitRun,
        "mlflow": lambda: request.getfixturevalue("fit"),
        "down": lambda: request.getfixturevalue("down"),
    }
    run = makers[kind]()
    file = tmp_path / "files" / "a b ü.json"
    file.parent.mkdir()
    file.write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the one warning was at the start
        whole, run = run, pickle.loads(pickle.dumps(run))
        run.log_params({"seed": 0, "long": "x" * 10_000, "none": None, "ünï": (1, 2)})
        run.log_dataset(Dataset("digits", "abc", "", ("0", "1"), {"n_samples": 10}))
        run.log_metrics({"n": 1.0, "bad": float("nan")})
        run.set_tags({"a": "b" * 10_000})
        trial = run.start_trial(0, "finetune", CONFIG)
        assert isinstance(trial.run_id, str)
        assert bool(trial.run_id) is (kind != "null")
        trial.log_metrics({"validation_score": 0.5, "bad": float("inf")}, step=1)
        trial.end("complete", {"validation_score": 0.6}, None)
        run.tag_trial(trial.run_id, {"finalist": 1})
        run.log_file(file)
        run.log_file(file, "folder", trial.run_id)
        run.log_file(file.parent, "all")
        whole.end("complete")


def test_children_are_nested_in_their_parent(fit: MlflowFitRun, client: MlflowClient) -> None:
    trial = fit.start_trial(3, "finetune", CONFIG)
    run = look_up(client, fit, trial.run_id)
    parent = look_up(client, fit)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.info.status == "RUNNING"
    assert run.data.tags["state"] == "running"
    assert run.data.tags["strategy"] == "finetune"
    assert run.data.params == {"strategy": "finetune"} | {k: str(v) for k, v in CONFIG.items()}
    assert run.info.experiment_id == parent.info.experiment_id
    trial.end("complete", {})


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("complete", "FINISHED"),
        ("pruned", "FINISHED"),
        ("deadline", "KILLED"),
        ("failed", "FAILED"),
        ("interrupted", "KILLED"),
    ],
)
def test_how_a_trial_ended_is_recorded(
    state: str, status: str, fit: MlflowFitRun, client: MlflowClient
) -> None:
    trial = fit.start_trial(0, "scratch", CONFIG)
    trial.end(state, {"seconds": 1.5}, "why" if state == "failed" else None)
    run = look_up(client, fit, trial.run_id)
    assert run.info.status == status
    assert run.data.tags["state"] == state
    assert run.data.tags.get("error") == ("why" if state == "failed" else None)
    assert run.data.metrics == {"seconds": 1.5}


def test_the_last_figure_is_the_one_that_is_shown(fit: MlflowFitRun, client: MlflowClient) -> None:
    trial = fit.start_trial(0, "scratch", CONFIG)
    for step, accuracy in enumerate([0.2, 0.9, 0.4], start=1):
        trial.log_metrics({"validation_accuracy": accuracy, "train_loss": 1.0}, step)
    trial.end("complete", {"validation_accuracy": 0.5, "seconds": 3.0})
    run = look_up(client, fit, trial.run_id)
    assert run.data.metrics == {
        "validation_accuracy": 0.5,
        "train_loss": 1.0,
        "seconds": 3.0,
    }
    history = client.get_metric_history(run.info.run_id, "validation_accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 0.2), (2, 0.9), (3, 0.4), (4, 0.5)]
    seconds = client.get_metric_history(run.info.run_id, "seconds")
    assert [m.step for m in seconds] == [0]  # so that the UI draws bars


def test_figures_that_are_no_numbers_are_tags(fit: MlflowFitRun, client: MlflowClient) -> None:
    trial = fit.start_trial(0, "scratch", CONFIG)
    trial.log_metrics({"a": float("nan"), "b": float("inf"), "c": 1.0}, 1)
    trial.end("complete", {"d": float("nan")})
    found = look_up(client, fit, trial.run_id).data
    assert found.metrics == {"c": 1.0}
    tags = {name: tag for name, tag in found.tags.items() if name.startswith("not_finite")}
    assert tags == {
        "not_finite.a": "NaN at step 1",
        "not_finite.b": "infinite at step 1",
        "not_finite.d": "NaN at step 0",
    }


def test_files_are_kept_with_the_fit_and_with_a_trial(
    fit: MlflowFitRun, client: MlflowClient, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "ü ö.json").write_text("{}")
    trial = fit.start_trial(0, "scratch", CONFIG)
    fit.log_file(folder / "ü ö.json")
    fit.log_file(folder, "model")
    fit.log_file(folder / "ü ö.json", "model", trial.run_id)
    parent, child = (look_up(client, fit, run).info.run_id for run in ("", trial.run_id))
    assert {f.path for f in client.list_artifacts(parent)} == {"ü ö.json", "model"}
    assert [f.path for f in client.list_artifacts(parent, "model")] == ["model/ü ö.json"]
    assert [f.path for f in client.list_artifacts(child, "model")] == ["model/ü ö.json"]


def test_names_with_odd_characters(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    fit = MlflowFitRun.start(uri, "größe 100 % <b>'\"\U0001f600", tmp_path)
    trial = fit.start_trial(0, "scratch", {"backbone": "resnet18@/a b/ü'.safetensors"})
    trial.end("failed", {}, "Straße: 'x' \"y\" <script>")
    assert look_up(client, fit).info.run_name == "größe 100 % <b>'\"\U0001f600"
    tags = look_up(client, fit, trial.run_id).data.tags
    assert tags["error"] == "Straße: 'x' \"y\" <script>"
    assert tags["backbone"] == "resnet18"
    fit.end("complete")


def test_another_size_of_the_pictures_is_part_of_the_backbone_s_tag(
    fit: MlflowFitRun, client: MlflowClient
) -> None:
    params = {"backbone": "resnet18@/a/w.safetensors@96px"}
    trial = fit.start_trial(1, "scratch", params)
    trial.end("complete", {})
    data = look_up(client, fit, trial.run_id).data
    assert data.tags["backbone"] == "resnet18@96px"
    assert data.params["backbone"] == params["backbone"]
    assert run_name(1, "scratch", params) == "001 scratch resnet18@96px"


def test_the_global_active_run_is_not_touched(fit: MlflowFitRun) -> None:
    import mlflow

    trial = fit.start_trial(0, "scratch", CONFIG)
    assert mlflow.active_run() is None
    trial.end("complete", {})


def test_all_fits_share_one_experiment_with_a_view_of_its_runs(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    fits = [MlflowFitRun.start(uri, name, tmp_path / name) for name in ("one", "two")]
    ids = {look_up(client, fit).info.experiment_id for fit in fits}
    for fit in fits:
        fit.end("complete")
    (experiment,) = [client.get_experiment(found) for found in ids]
    assert experiment.name == EXPERIMENT
    assert f"{experiment.experiment_id}/runs?viewStateShareKey={VIEW}" in str(
        experiment.tags["mlflow.note.content"]
    )
    assert "params.`strategy`" in experiment.tags[f"mlflow.sharedViewState.{VIEW}"]
    assert len(client.search_experiments(ViewType.ALL)) == 2  # and MLflow's own default


def test_a_trial_s_name_tells_what_it_is() -> None:
    params = {"backbone": "a@/x/y.pth", "layers": "all", "lr": 0.0123456, "n": 3, "late": 1}
    assert run_name(7, "finetune", params) == "007 finetune layers=all lr=0.012 n=3 a"


@pytest.mark.parametrize("uri_down", ["http://127.0.0.1:9", "sqlite:///{folder}"])
def test_a_store_that_is_down_warns_once(uri_down: str, tmp_path: Path) -> None:
    with warned() as messages:
        fit = MlflowFitRun.start(uri_down.format(folder=tmp_path), "a fit", tmp_path / "fit")
        for number in range(5):
            fit.start_trial(number, "scratch", CONFIG).end("complete", {"a": 1.0})
        assert not fit.wait(30)
        fit.end("complete")
    (ours,) = [message for message in messages if "autotl sync" in message]
    assert f"autotl sync --output {tmp_path}" in ours


def test_a_damaged_database_warns_too(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 500)
    with warned() as messages:
        fit = MlflowFitRun.start(f"sqlite:///{tmp_path / 'mlflow.db'}", "a fit", tmp_path / "fit")
        fit.end("complete")
    assert any("not a database" in message for message in messages)


def test_a_store_that_fails_in_the_middle_warns_once_and_misses_nothing(
    fit: MlflowFitRun, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = fit.start_trial(0, "scratch", CONFIG)
    assert fit.wait(60)
    log_batch = MlflowClient.log_batch

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    with warned() as messages:
        trial.log_metrics({"a": 1.0}, 1)
        assert not fit.wait(60)
    assert sum("gone" in message for message in messages) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trial.log_metrics({"a": 2.0}, 2)
        trial.end("complete", {})
        assert not fit.wait(60)
        monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
        run = look_up(client, fit, trial.run_id)
    history = client.get_metric_history(run.info.run_id, "a")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 2.0)]
    assert run.info.status == "FINISHED"


def test_a_disk_that_fails_warns_once(uri: str, tmp_path: Path) -> None:
    (tmp_path / "fit").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="goes on without recording"):
        fit = MlflowFitRun.start(uri, "a fit", tmp_path / "fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit.start_trial(0, "scratch", CONFIG).end("complete", {"a": 1.0})
        fit.end("complete")


def test_nothing_tells_the_password(tmp_path: Path) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    with warned() as messages:
        fit = MlflowFitRun.start(uri, "a fit", tmp_path / "fit")
        fit.end("complete")
    assert any("http://127" in message for message in messages)
    assert not any("secret" in message for message in messages)
    files = [file for file in (tmp_path / "fit").rglob("*") if file.is_file()]
    assert len(files) >= 2
    assert not any(b"secret" in file.read_bytes() for file in files)


def test_a_fit_that_goes_on_is_one_run(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    fit = MlflowFitRun.start(uri, "a fit", tmp_path)
    fit.log_params({"seed": 0, "time_budget_s": 10.0})
    ended, running = (fit.start_trial(number, "scratch", CONFIG) for number in range(2))
    ended.end("complete", {"seconds": 1.0})
    fit.tag_trial(ended.run_id, {"finalist": 1, "winner": True})
    fit.end("interrupted")
    again = MlflowFitRun.start(uri, "a fit", tmp_path, run_id=fit.run_id)
    assert again.run_id == fit.run_id
    parent = look_up(client, again)
    assert (parent.info.status, parent.data.tags["state"]) == ("RUNNING", "running")
    tags = look_up(client, again, ended.run_id).data.tags
    assert tags["state"] == "complete"
    assert not {"finalist", "winner"} & tags.keys()
    killed = look_up(client, again, running.run_id)
    assert (killed.info.status, killed.data.tags["state"]) == ("KILLED", "interrupted")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the store takes no other value of a parameter
        again.log_params({"seed": 0, "time_budget_s": 20.0, "new": "x"})
        parent = look_up(client, again)
    assert parent.data.params == {"seed": "0", "time_budget_s": "10.0", "new": "x"}
    resumed = {name: tag for name, tag in parent.data.tags.items() if name.startswith("resumed.")}
    assert resumed == {"resumed.time_budget_s": "20.0"}
    third = again.start_trial(2, "scratch", CONFIG)
    third.end("complete", {})
    tags = look_up(client, again, third.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent.info.run_id
    again.end("complete")
    assert look_up(client, again).info.status == "FINISHED"


def test_a_fit_that_was_killed_in_its_preparation_is_one_run(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    """Nobody has kept its id but the spool."""
    killed = MlflowFitRun.start(uri, "a fit", tmp_path)
    assert killed.wait(60)
    killed.end("failed")
    again = MlflowFitRun.start(uri, "a fit", tmp_path)
    assert again.run_id == killed.run_id
    assert look_up(client, again).info.status == "RUNNING"
    again.end("complete")


@pytest.mark.parametrize("case", ["never there", "deleted"])
def test_a_run_that_the_store_has_not_got_is_begun_anew(
    case: str, uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = "0" * 32
    if case == "deleted":
        fit = MlflowFitRun.start(uri, "deleted", tmp_path)
        run_id = fit.run_id
        client.delete_run(look_up(client, fit).info.run_id)
        fit.end("complete")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = MlflowFitRun.start(uri, "goes on", tmp_path, run_id=run_id)
        run = look_up(client, again)
        again.end("complete")
    assert run.info.run_name == "goes on"


def test_a_store_that_was_made_anew_gets_everything_again(tmp_path: Path) -> None:
    uri, artifacts = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "artifacts"
    fit = MlflowFitRun.start(uri, "a fit", tmp_path / "fit", artifacts)
    fit.log_params({"seed": 0})
    trial = fit.start_trial(0, "scratch", CONFIG)
    trial.log_metrics({"a": 1.0}, 1)
    trial.end("complete", {"a": 2.0})
    fit.end("interrupted")
    store = MlflowClient(uri)
    for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute(f"DELETE FROM {table}")
    again = MlflowFitRun.start(uri, "a fit", tmp_path / "fit", artifacts, fit.run_id)
    again.end("complete")
    (parent,), (child,) = all_of(store, fit.run_id), all_of(store, trial.run_id)
    assert parent.data.params == {"seed": "0"}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert [m.value for m in store.get_metric_history(child.info.run_id, "a")] == [1.0, 2.0]


def test_what_is_too_long_is_kept_in_full(
    fit: MlflowFitRun, client: MlflowClient, tmp_path: Path
) -> None:
    long = "ü" * 7000
    fit.log_params({"ünï (cödé)/..": long} | {f"p{i:03}": "ü" * 5990 for i in range(120)})
    fit.set_tags({"a": long, "nul": "a\0b\udcff"})
    fit.log_metrics({f"m {i}": float(i) for i in range(1500)})
    run = look_up(client, fit)
    assert len(run.data.params) == 121
    assert all(run.data.params[f"p{i:03}"] == "ü" * 5990 for i in range(120))
    (cut,) = (value for name, value in run.data.params.items() if name.startswith("ünï"))
    assert cut == "ü" * 5999 + "…"
    assert run.data.tags["a"] == "ü" * 4999 + "…"
    assert run.data.tags["nul"] == "a\\0b\\udcff"
    assert run.data.metrics == {f"m {i}": float(i) for i in range(1500)}
    kept = client.list_artifacts(run.info.run_id, "long_values")
    read = [
        json.loads(Path(client.download_artifacts(run.info.run_id, file.path)).read_text())
        for file in kept
    ]
    assert sorted(entry["name"] for entry in read) == ["a", "ünï (cödé)/.."]
    assert all(entry["value"] == long for entry in read)


@pytest.mark.parametrize(
    ("source", "kind", "kept"),
    [
        ("", "code", {"tags": {}}),
        ("/data/ü 'x'", "local", {"uri": "/data/ü 'x'"}),
        ("s3://box/pets", "s3", {"uri": "s3://box/pets"}),
        ("https://host/t.csv", "http", {"url": "https://host/t.csv"}),
    ],
)
def test_a_data_set_is_an_input_of_the_run(
    source: str, kind: str, kept: dict[str, Any], fit: MlflowFitRun, client: MlflowClient
) -> None:
    names = tuple(f"class {i} <b>" for i in range(3))
    digest = f"{len(source)}" + "f" * 63
    dataset = Dataset("x" * 600, digest, source, names, {"n_samples": 90, "n_test": 18})
    for _ in range(2):  # the same twice is once
        fit.log_dataset(dataset)
    (given,) = look_up(client, fit).inputs.dataset_inputs
    found = given.dataset
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}
    assert (len(found.name), found.digest) == (500, digest[:36])
    assert (found.source_type, json.loads(found.source)) == (kind, kept)
    counts = {"n_samples": 90, "n_test": 18}
    assert json.loads(found.profile) == {**counts, "class_names": list(names)}
    columns = json.loads(found.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["image", "label"]


def test_what_an_earlier_fit_has_left_is_sent_by_the_next(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MlflowStore, "create", unreachable)
        with warned():
            first = MlflowFitRun.start(uri, "first", tmp_path / "first")
            first.end("complete")
    assert not all_of(client, first.run_id)
    second = MlflowFitRun.start(uri, "second", tmp_path / "second")
    started = time.monotonic()
    while not (found := all_of(client, first.run_id)) or found[0].info.status != "FINISHED":
        assert time.monotonic() - started < 60
        time.sleep(0.1)
    second.end("complete")


def unreachable(*args: Any, **kwargs: Any) -> None:
    raise StoreError("gone")


def test_a_model_is_registered_once(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    served = tmp_path / "fit" / "served"
    served.mkdir(parents=True)
    (served / "MLmodel").write_text("artifact_path: served\n")
    fit = MlflowFitRun.start(uri, "fit", tmp_path / "fit", tmp_path / "files")
    fit.log_file(served, "served")
    fit.register_model("clothes", "served")
    fit.register_model("clothes", "served")
    fit.end("complete")
    run = look_up(client, fit)
    (version,) = client.search_model_versions("name = 'clothes'")
    assert (version.version, version.run_id) in ((1, run.info.run_id), ("1", run.info.run_id))
    assert version.source == f"{run.info.artifact_uri}/served"
    assert not fit._record.spool.refused.exists()
