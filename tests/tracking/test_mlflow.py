from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from autotl.tracking.base import FitRun, NullFitRun
from autotl.tracking.mlflow import (
    EXPERIMENT,
    VIEW,
    MlflowFitRun,
    run_name,
    without_password,
)

CONFIG = {"backbone": "embedded", "lr": 0.002, "layers": "last_4", "mirror": False}


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def fit(uri: str, tmp_path_factory: pytest.TempPathFactory) -> MlflowFitRun:
    return MlflowFitRun.start(uri, "a fit", Path(uri[10:]).parent / "artifacts")


@pytest.fixture
def down(tmp_path: Path) -> MlflowFitRun:
    """A fit whose store failed at once."""
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="goes on without recording"):
        return MlflowFitRun.start(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", "a fit")


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
    file = tmp_path / "a b ü.json"
    file.write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the one warning was at the start
        run = pickle.loads(pickle.dumps(run))  # noqa: S301 - our own
        run.log_params({"seed": 0, "long": "x" * 10_000, "none": None, "ünï": (1, 2)})
        run.log_metrics({"n": 1.0, "bad": float("nan")})
        run.set_tags({"a": "b" * 10_000})
        trial = run.start_trial(0, "finetune", CONFIG)
        assert isinstance(trial.run_id, str)
        assert bool(trial.run_id) is (kind == "mlflow")
        trial.log_metrics({"validation_score": 0.5, "bad": float("inf")}, step=1)
        trial.end("complete", {"validation_score": 0.6}, None)
        run.tag_trial(trial.run_id, {"finalist": 1})
        run.log_file(file)
        run.log_file(file, "folder", trial.run_id)
        run.log_file(tmp_path, "all")
        run.end("complete")


def test_children_are_nested_in_their_parent(fit: MlflowFitRun, client: MlflowClient) -> None:
    trial = fit.start_trial(3, "finetune", CONFIG)
    run = client.get_run(trial.run_id)
    assert run.data.tags["mlflow.parentRunId"] == fit.run_id
    assert run.info.status == "RUNNING"
    assert run.data.tags["state"] == "running"
    assert run.data.tags["strategy"] == "finetune"
    assert run.data.params == {"strategy": "finetune"} | {k: str(v) for k, v in CONFIG.items()}
    assert run.info.experiment_id == client.get_run(fit.run_id).info.experiment_id
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
    run = client.get_run(trial.run_id)
    assert run.info.status == status
    assert run.data.tags["state"] == state
    assert run.data.tags.get("error") == ("why" if state == "failed" else None)
    assert run.data.metrics == {"seconds": 1.5}


def test_the_last_figure_is_the_one_that_is_shown(fit: MlflowFitRun, client: MlflowClient) -> None:
    trial = fit.start_trial(0, "scratch", CONFIG)
    for step, accuracy in enumerate([0.2, 0.9, 0.4], start=1):
        trial.log_metrics({"validation_accuracy": accuracy, "train_loss": 1.0}, step)
    trial.end("complete", {"validation_accuracy": 0.5, "seconds": 3.0})
    assert client.get_run(trial.run_id).data.metrics == {
        "validation_accuracy": 0.5,
        "train_loss": 1.0,
        "seconds": 3.0,
    }
    history = client.get_metric_history(trial.run_id, "validation_accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 0.2), (2, 0.9), (3, 0.4), (4, 0.5)]
    seconds = client.get_metric_history(trial.run_id, "seconds")
    assert [m.step for m in seconds] == [0]  # so that the UI draws bars


def test_figures_that_are_no_numbers_are_left_out(fit: MlflowFitRun, client: MlflowClient) -> None:
    trial = fit.start_trial(0, "scratch", CONFIG)
    trial.log_metrics({"a": float("nan"), "b": float("inf"), "c": 1.0}, 1)
    trial.end("complete", {"d": float("nan")})
    assert client.get_run(trial.run_id).data.metrics == {"c": 1.0}


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
    assert {f.path for f in client.list_artifacts(fit.run_id)} == {"ü ö.json", "model"}
    assert [f.path for f in client.list_artifacts(fit.run_id, "model")] == ["model/ü ö.json"]
    assert [f.path for f in client.list_artifacts(trial.run_id, "model")] == ["model/ü ö.json"]


def test_names_with_odd_characters(uri: str, client: MlflowClient) -> None:
    fit = MlflowFitRun.start(uri, "größe 100 % <b>'\"\U0001f600")
    trial = fit.start_trial(0, "scratch", {"backbone": "resnet18@/a b/ü'.safetensors"})
    trial.end("failed", {}, "Straße: 'x' \"y\" <script>")
    assert client.get_run(fit.run_id).info.run_name == "größe 100 % <b>'\"\U0001f600"
    assert client.get_run(trial.run_id).data.tags["error"] == "Straße: 'x' \"y\" <script>"
    assert client.get_run(trial.run_id).data.tags["backbone"] == "resnet18"


def test_the_global_active_run_is_not_touched(fit: MlflowFitRun) -> None:
    import mlflow

    trial = fit.start_trial(0, "scratch", CONFIG)
    assert mlflow.active_run() is None
    trial.end("complete", {})


def test_all_fits_share_one_experiment_with_a_view_of_its_runs(
    uri: str, client: MlflowClient
) -> None:
    first, second = MlflowFitRun.start(uri, "one"), MlflowFitRun.start(uri, "two")
    ids = {client.get_run(run.run_id).info.experiment_id for run in (first, second)}
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
def test_a_store_that_is_down_warns_once_and_soon(uri_down: str, tmp_path: Path) -> None:
    """MLflow itself would try an unreachable server for four minutes, a database for two."""
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = MlflowFitRun.start(uri_down.format(folder=tmp_path), "a fit")
        for number in range(5):
            run.start_trial(number, "scratch", CONFIG).end("complete", {"a": 1.0})
        run.end("complete")
    ours = [w for w in caught if "goes on without recording" in str(w.message)]
    assert len(ours) == 1
    assert time.perf_counter() - started < 45  # 6 s when nothing else runs


def test_a_damaged_database_warns_soon_too(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 500)
    started = time.perf_counter()
    with pytest.warns(UserWarning, match="not a database"):
        MlflowFitRun.start(f"sqlite:///{tmp_path / 'mlflow.db'}", "a fit")
    assert time.perf_counter() - started < 30


def test_a_store_that_fails_in_the_middle_warns_once(
    fit: MlflowFitRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = fit.start_trial(0, "scratch", CONFIG)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    with pytest.warns(UserWarning, match="gone"):
        trial.log_metrics({"a": 1.0}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trial.log_metrics({"a": 1.0}, 2)
        trial.end("complete", {})
        fit.end("complete")


def test_the_user_s_own_patience_is_respected(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    MlflowFitRun.start(uri, "a fit")
    import os

    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:secret@host:5000/a@b", "http://host:5000/a@b"),
        ("postgresql+psycopg://u:p%40@db/x", "postgresql+psycopg://db/x"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("http://host", "http://host"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_a_warning_does_not_tell_the_password() -> None:
    with pytest.warns(UserWarning, match="failed") as caught:
        MlflowFitRun.start("nonsense://me:secret@host", "a fit")
    assert "secret" not in str(caught[0].message).partition("(")[0]


def test_a_fit_that_goes_on_is_one_run(
    uri: str, fit: MlflowFitRun, client: MlflowClient, tmp_path: Path
) -> None:
    fit.log_params({"seed": 0, "time_budget_s": 10.0})
    ended, running = (fit.start_trial(number, "scratch", CONFIG) for number in range(2))
    ended.end("complete", {"seconds": 1.0})
    fit.tag_trial(ended.run_id, {"finalist": 1, "winner": True})
    fit.end("interrupted")
    again = MlflowFitRun.resume(uri, "a fit", None, fit.run_id)
    assert again.run_id == fit.run_id
    parent = client.get_run(fit.run_id)
    assert (parent.info.status, parent.data.tags["state"]) == ("RUNNING", "running")
    tags = client.get_run(ended.run_id).data.tags
    assert tags["state"] == "complete"
    assert not {"finalist", "winner"} & tags.keys()
    killed = client.get_run(running.run_id)
    assert (killed.info.status, killed.data.tags["state"]) == ("KILLED", "interrupted")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the store takes no other value of a parameter
        again.log_params({"seed": 0, "time_budget_s": 20.0, "new": "x"})
    parent = client.get_run(fit.run_id)
    assert parent.data.params == {"seed": "0", "time_budget_s": "10.0", "new": "x"}
    resumed = {name: tag for name, tag in parent.data.tags.items() if name.startswith("resumed.")}
    assert resumed == {"resumed.time_budget_s": "20.0"}
    third = again.start_trial(2, "scratch", CONFIG)
    third.end("complete", {})
    assert client.get_run(third.run_id).data.tags["mlflow.parentRunId"] == fit.run_id
    again.end("complete")
    assert client.get_run(fit.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("run_id", ["", "0" * 32, "deleted"])
def test_a_run_that_the_store_has_not_got_is_begun_anew(
    run_id: str, uri: str, client: MlflowClient
) -> None:
    if run_id == "deleted":
        run_id = MlflowFitRun.start(uri, "deleted").run_id
        client.delete_run(run_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = MlflowFitRun.resume(uri, "goes on", None, run_id)
    assert again.run_id
    assert again.run_id != run_id
    assert client.get_run(again.run_id).info.run_name == "goes on"
