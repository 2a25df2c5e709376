"""The thread that sends: it waits for nobody, gives up in time, and goes on when it can."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tracking_helpers import CONFIG, FakeStore, fails, warned

from autotl.tracking import sender as sender_module
from autotl.tracking.mlflow import MlflowFitRun, Recorder
from autotl.tracking.sender import Sender
from autotl.tracking.spool import Spool


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_POLL_S", 0.05), ("_FIRST_PAUSE_S", 0.05), ("_LONGEST_PAUSE_S", 0.1)):
        monkeypatch.setattr(sender_module, name, seconds)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool.of_fit(tmp_path / "out" / "fit", "http://fake", None)
    spool.make()
    return spool


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def begin(spool: Spool, sender: Sender | None) -> MlflowFitRun:
    spool.append([{"do": "fit", "run": "fit", "name": "a fit", "tags": {}, "time_ms": 1}])
    if sender is not None:
        sender.start()
    return MlflowFitRun(Recorder(spool, sender), "fit")


def until(holds: Callable[[], bool], limit_s: float = 20.0) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s
        time.sleep(0.01)


def status(store: FakeStore) -> str:
    return str(next(iter(store.runs.values()))["status"]) if store.runs else ""


def test_what_other_processes_append_is_sent_too(spool: Spool, store: FakeStore) -> None:
    fit = begin(spool, Sender(spool, store))
    until(lambda: bool(store.runs))
    MlflowFitRun(Recorder(Spool.read(spool.folder)), "fit").start_trial(0, "finetune", CONFIG)
    until(lambda: len(store.runs) == 2)
    fit.end("complete")
    assert status(store) == "FINISHED"


def test_a_store_that_comes_back_gets_everything_with_one_warning(
    spool: Spool, store: FakeStore
) -> None:
    away = threading.Event()
    away.set()

    def before(name: str) -> None:
        if away.is_set():
            fails()(name)

    store.before = before
    with warned() as messages:
        fit = begin(spool, Sender(spool, store))
        trial = fit.start_trial(0, "finetune", CONFIG)
        assert not fit.wait(20)
        trial.end("complete", {"a": 1.0})
        away.clear()
        until(lambda: len(store.runs) == 2)
        assert fit.wait(20)
        away.set()
        fit.set_tags({"a": "b"})
        assert not fit.wait(20)
        away.clear()
        fit.end("complete")
    assert status(store) == "FINISHED"
    assert len(messages) == 1


def test_a_store_that_does_not_answer_holds_nobody_up(
    spool: Spool, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is recorded meanwhile nor the end waits for a frozen server."""
    monkeypatch.setattr(sender_module, "_QUIET_S", 0.2)
    frozen, called = threading.Event(), threading.Event()

    def before(name: str) -> None:
        called.set()
        frozen.wait(60)

    store.before = before
    sender = Sender(spool, store)
    with warned() as messages:
        fit = begin(spool, sender)
        assert called.wait(20)
        for number in range(50):
            fit.start_trial(number, "finetune", CONFIG).end("complete", {"a": 1.0})
        fit.end("complete", wait_s=60)
        assert sender._thread.is_alive()  # still in the request, which nobody awaits
    (message,) = messages
    assert "records have not reached the MLflow store 'http://fake'" in message
    assert f"`autotl sync --output {spool.base.parent}`" in message
    frozen.set()
    sender._thread.join(20)
    assert not sender._thread.is_alive()
    assert spool.n_unsent() > 0


def test_the_end_waits_no_longer_than_it_may(spool: Spool, store: FakeStore) -> None:
    """A store that answers, but slowly."""
    store.before = lambda name: time.sleep(0.05)
    fit = begin(spool, Sender(spool, store))
    for number in range(200):
        fit.start_trial(number, "finetune", CONFIG).end("complete", {})
    with warned() as messages:
        fit.end("complete", wait_s=0.2)
    assert any("have not reached" in message for message in messages)
    assert spool.n_unsent() > 100


def test_a_local_store_gets_its_time(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "_QUIET_S", 0.05)
    spool = Spool.of_fit(tmp_path / "out" / "fit", "sqlite:///x.db", None)
    spool.make()
    store.before = lambda name: time.sleep(0.3)
    fit = begin(spool, Sender(spool, store))
    fit.end("complete", wait_s=0.0)
    assert status(store) == "FINISHED"


def test_ctrl_c_ends_the_waiting(
    spool: Spool, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(spool, store)
    fit = begin(spool, sender)

    def interrupt(limit_s: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(sender, "wait", interrupt)
    with warned() as messages:
        fit.end("complete")
    assert len(messages) == 1


def test_warnings_that_are_errors_end_nothing(spool: Spool, store: FakeStore) -> None:
    import warnings

    store.before = fails(times=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = begin(spool, Sender(spool, store))
        until(lambda: bool(store.runs))
        fit.end("complete")
    assert status(store) == "FINISHED"


def test_a_warning_is_not_lost_where_others_ignore_theirs(spool: Spool, store: FakeStore) -> None:
    store.before = fails()
    sender = Sender(spool, store)
    with warned() as messages:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = begin(spool, sender)
            until(lambda: sender._n_failures > 0)
        fit.end("complete")
    assert len(messages) == 1


def test_one_process_sends_and_the_next_takes_over(spool: Spool, store: FakeStore) -> None:
    with spool.sending():
        fit = begin(spool, Sender(spool, store))
        time.sleep(0.2)
        assert not store.calls
    fit.end("complete", wait_s=60)
    assert status(store) == "FINISHED"


def test_what_others_have_left_comes_after_one_s_own(
    spool: Spool, store: FakeStore, tmp_path: Path
) -> None:
    folders = []
    for name in ("old", "damaged", "done", "busy"):
        other = Spool.of_fit(tmp_path / "out" / name, "http://fake", None)
        other.make()
        begun = {"do": "fit", "run": name, "name": name, "tags": {}, "time_ms": 1}
        other.append([begun, {"do": "end", "run": name, "state": "complete", "time_ms": 2}])
        folders.append(other.folder)
    (folders[1] / "store.json").write_text("no JSON")
    Spool.read(folders[2]).note(offset=Spool.read(folders[2]).n_bytes)
    with Spool.read(folders[3]).sending():
        fit = begin(spool, Sender(spool, store, folders))
        until(lambda: len(store.runs) == 2)
        until(lambda: Spool.read(folders[0]).n_unsent() == 0)
        fit.end("complete")
    assert [(run["name"], run["status"]) for run in store.runs.values()] == [
        ("a fit", "FINISHED"),
        ("old", "FINISHED"),
    ]


def test_refused_records_are_told_at_the_end(spool: Spool, store: FakeStore) -> None:
    store.refuses = lambda name: name == "bad"
    with warned() as messages:
        fit = begin(spool, Sender(spool, store))
        fit.set_tags({"bad": "x"})
        fit.end("complete")
    (message,) = messages
    assert "refused part of the record (operations: 1)" in message
    assert str(spool.refused) in message
