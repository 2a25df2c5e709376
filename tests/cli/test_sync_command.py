"""``autotl sync``: what a fit has left reaches MLflow later, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import Result

from autotl.tracking.mlflow import MlflowFitRun, Recorder
from autotl.tracking.spool import Spool
from autotl.tracking.store import EXPERIMENT, MlflowStore, StoreError

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture
def leave(tmp_path: Path) -> Callable[[str, str], MlflowFitRun]:
    """Makes a fit whose records have all been left, in ``tmp_path / "out"``."""

    def make(uri: str, name: str) -> MlflowFitRun:
        spool = Spool.of_fit(tmp_path / "out" / name, uri, tmp_path / "artifacts")
        spool.make()
        begun = {"do": "fit", "run": name, "name": name, "tags": {}, "time_ms": 1}
        spool.append([begun])
        fit = MlflowFitRun(Recorder(spool), name)
        for number in range(2):
            trial = fit.start_trial(number, "scratch", {"lr": 0.1})
            trial.log_metrics({"a": 1.0}, 1)
            trial.end("complete", {"a": 2.0})
        fit.end("complete")
        return fit

    return make


@pytest.fixture(autouse=True)
def _no_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def names_of(uri: str) -> list[str]:
    client = MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == EXPERIMENT)
    return sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id]))


def test_what_is_left_is_sent_once(
    run: Run, uri: str, leave: Callable[[str, str], MlflowFitRun], tmp_path: Path
) -> None:
    leave(uri, "one")
    leave(uri, "two")
    result = run("sync", "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["n_sent"], told["n_left"]) == (24, 0)
    assert [fit["fit"] for fit in told["fits"]] == ["one", "two"]
    assert "one: 12 records sent to sqlite:///" in result.stderr
    names = ["000 scratch lr=0.1 ", "001 scratch lr=0.1 "] * 2 + ["one", "two"]
    assert names_of(uri) == sorted(names)
    result = run("sync", "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stdout == "nothing to send: MLflow has everything\n"
    assert len(names_of(uri)) == 6


def test_a_server_that_is_still_away(
    run: Run, leave: Callable[[str, str], MlflowFitRun], tmp_path: Path
) -> None:
    """It is asked once, not for each fit; and everything is kept."""
    leave("http://127.0.0.1:9", "one")
    leave("http://127.0.0.1:9", "two")
    result = run("sync", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stdout.count("left: 12 (") == 2
    assert "Connection refused" in result.stdout
    assert "24 records are left, and kept; run `autotl sync" in result.stderr


def test_a_password_comes_from_the_option_or_the_environment(
    run: Run,
    leave: Callable[[str, str], MlflowFitRun],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave("http://me:secret@127.0.0.1:9", "one")
    used = []

    def find(self: MlflowStore, own_id: str) -> list[str]:
        used.append(self.tracking_uri)
        raise StoreError(f"no answer from {self.tracking_uri}")

    monkeypatch.setattr(MlflowStore, "find", find)
    for given in ("http://me:a@127.0.0.1:9", "http://me:b@127.0.0.1:9"):
        result = run("sync", "--output", tmp_path / "out", "--tracking-uri", given)
        assert "me:" not in result.output
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:c@127.0.0.1:9")
    run("sync", "--output", tmp_path / "out")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other")
    run("sync", "--output", tmp_path / "out")
    assert used == [*(f"http://me:{word}@127.0.0.1:9" for word in "abc"), "http://127.0.0.1:9"]


def test_what_cannot_be_synced_is_told(
    run: Run, leave: Callable[[str, str], MlflowFitRun], tmp_path: Path
) -> None:
    result = run("sync", "--output", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "no records of fits in" in result.stderr
    leave("http://127.0.0.1:9", "one")
    result = run("sync", "--output", tmp_path / "out", "--tracking-uri", "http://a:b@other")
    assert result.exit_code == 2
    assert "was recorded in 'http://other', only in 'http://127.0.0.1:9'" in result.stderr


def test_a_spool_that_is_being_sent_is_left_alone(
    run: Run, uri: str, leave: Callable[[str, str], MlflowFitRun], tmp_path: Path
) -> None:
    leave(uri, "one")
    with Spool.of_fit(tmp_path / "out" / "one", uri, None).sending():
        result = run("sync", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "being sent by another process" in result.stdout


def test_refused_records_are_told(
    run: Run, uri: str, leave: Callable[[str, str], MlflowFitRun], tmp_path: Path
) -> None:
    leave(uri, "one").tag_trial("nobody", {"a": "b"})
    result = run("sync", "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert "one: 12 records sent" in result.stdout
    assert "refused: 1, with the reasons in" in result.stdout


def test_help(run: Run) -> None:
    result = run("sync", "--help")
    assert result.exit_code == 0
    assert "Nothing is recorded twice" in " ".join(result.stdout.split())
    assert "sync" in run("--help").stdout
