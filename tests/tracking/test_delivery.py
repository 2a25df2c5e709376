"""Each record reaches the store once, whatever fails between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tracking_helpers import CONFIG, FakeStore, fails

from autotl.tracking.base import Dataset
from autotl.tracking.delivery import Delivery
from autotl.tracking.mlflow import MlflowFitRun, Recorder
from autotl.tracking.spool import Spool
from autotl.tracking.store import StoreError


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool.of_fit(tmp_path / "fit", "http://fake", None)
    spool.make()
    return spool


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def begin(spool: Spool, goes_on: bool = False) -> MlflowFitRun:
    """A fit that only writes to its spool."""
    begun = {"do": "fit", "run": "fit", "name": "a fit", "tags": {"a": "b"}, "time_ms": 5}
    spool.append([{**begun, "goes_on": goes_on}])
    return MlflowFitRun(Recorder(spool), "fit")


def write_fit(spool: Spool, n_trials: int = 3, n_epochs: int = 3) -> None:
    fit = begin(spool)
    fit.log_params({"seed": 0})
    for number in range(n_trials):
        trial = fit.start_trial(number, "finetune", CONFIG)
        for step in range(1, n_epochs + 1):
            trial.log_metrics({"score": step / 10, "loss": -1.0}, step)
        trial.end("complete", {"score": 0.9, "seconds": 1.0})
        fit.tag_trial(trial.run_id, {"finalist": number})
    fit.log_file(spool.base / "report.html")
    fit.end("complete")


def deliver(spool: Spool, store: FakeStore, tries: int = 1) -> Delivery:
    """Send all, beginning anew as after a kill for each try but the last."""
    for _ in range(tries):
        delivery = Delivery(spool, store, lambda seconds: None)
        try:
            while delivery.step():
                pass
        except StoreError:
            continue
        assert delivery.is_done
        return delivery
    raise AssertionError("it never got through")


def require_whole(store: FakeStore, n_trials: int = 3) -> None:
    """The fit of :func:`write_fit` is there, once."""
    alive = [run for run in store.runs.values() if not run["deleted"]]
    assert Counter(run["name"] for run in alive).most_common(1)[0][1] == 1
    parent, *trials = sorted(alive, key=lambda run: run["name"] != "a fit")
    assert len(trials) == n_trials
    assert (parent["status"], parent["params"], parent["time_ms"]) == ("FINISHED", {"seed": "0"}, 5)
    assert [folder for _, folder in parent["files"]][:1] == [""]
    for trial in trials:
        assert store.runs[trial["tags"]["mlflow.parentRunId"]] is parent
        assert trial["params"]["lr"] == "0.002"
        assert trial["tags"]["state"] == "complete"
        assert "finalist" in trial["tags"]
        assert trial["status"] == "FINISHED"
        points = sorted((name, step, value) for name, value, _, step in trial["metrics"])
        wanted = [("loss", step, -1.0) for step in (1, 2, 3)]
        wanted += [("score", step, step / 10) for step in (1, 2, 3)]
        assert points == [*wanted, ("score", 4, 0.9), ("seconds", 0, 1.0)]


def test_a_fit_arrives(spool: Spool, store: FakeStore) -> None:
    write_fit(spool)
    delivery = deliver(spool, store)
    require_whole(store)
    assert (delivery.n_refused, delivery.step(), spool.n_unsent()) == (0, 0, 0)
    assert not spool.refused.exists()


def test_what_goes_together_is_sent_together(spool: Spool, store: FakeStore) -> None:
    """A replay costs few requests: the figures of all epochs are one."""
    write_fit(spool, n_trials=1, n_epochs=3)
    deliver(spool, store)
    assert Counter(store.calls)["log"] == 4  # parameters of fit and trial; figures; the late tag


@pytest.mark.parametrize("request_name", ["create", "log", "end", "find", "upload"])
def test_an_outage_loses_nothing(spool: Spool, store: FakeStore, request_name: str) -> None:
    write_fit(spool)
    store.before = fails(request_name, times=2)
    deliver(spool, store, tries=5)
    require_whole(store)


@pytest.mark.parametrize("request_name", ["create", "log", "end"])
def test_an_answer_that_got_lost_doubles_nothing(
    spool: Spool, store: FakeStore, request_name: str
) -> None:
    """The store did it, and nobody heard of that: the next process, or the same, does it again."""
    write_fit(spool)
    store.after = fails(request_name, times=2)
    deliver(spool, store, tries=5)
    require_whole(store)


def test_the_same_process_goes_on_after_a_lost_answer(spool: Spool, store: FakeStore) -> None:
    delivery = Delivery(spool, store, lambda seconds: None)
    write_fit(spool)
    store.after = fails(times=4)
    n_failures = 0
    while not delivery.is_done:
        try:
            delivery.step()
        except StoreError:
            n_failures += 1
    assert n_failures == 4
    require_whole(store)


@pytest.mark.parametrize("after", range(1, 12))
def test_killed_after_any_request(spool: Spool, store: FakeStore, after: int) -> None:
    """Whatever was done and not noted is done again to no effect."""
    write_fit(spool)
    delivery = Delivery(spool, store, lambda seconds: None)
    for _ in range(after):
        delivery.step()
    file = spool.folder / "sent.jsonl"
    kept = file.read_text().splitlines(keepends=True)
    file.write_text("".join(kept[:-2]))  # the last note never reached the disk
    deliver(spool, store)
    require_whole(store)


def test_a_lost_note_of_all_progress_doubles_nothing(spool: Spool, store: FakeStore) -> None:
    write_fit(spool)
    deliver(spool, store)
    (spool.folder / "sent.jsonl").unlink()
    deliver(spool, store)
    require_whole(store)


def test_a_run_that_comes_late_is_deleted(spool: Spool, store: FakeStore) -> None:
    """A request was given up that a frozen server carries out when nobody looks any more."""
    fit = begin(spool)
    trial = fit.start_trial(0, "finetune", CONFIG)
    trial.log_metrics({"a": 1.0}, 1)
    store.before = fails("create", times=1)
    delivery = Delivery(spool, store, lambda seconds: None)
    with pytest.raises(StoreError):
        delivery.step()
    while delivery.step():
        pass
    late = store.create("fit", "a fit", 5, {})
    trial.end("complete", {})
    fit.end("complete")
    deliver(spool, store)
    assert store.runs[late]["deleted"]
    assert [run["status"] for run in store.runs.values() if not run["deleted"]] == ["FINISHED"] * 2


def test_after_a_failure_a_slow_request_gets_time_to_arrive(spool: Spool, store: FakeStore) -> None:
    begin(spool)

    def arrive(seconds: float) -> None:
        store.create("fit", "a fit", 5, {})

    delivery = Delivery(spool, store, arrive)
    store.before = fails("create", times=1)
    with pytest.raises(StoreError):
        delivery.step()
    assert delivery.step() == 1
    assert len(store.runs) == 1


def test_live_runs_are_not_looked_for(spool: Spool, store: FakeStore) -> None:
    delivery = Delivery(spool, store)
    fit = MlflowFitRun(Recorder(spool), "fit")
    now = 10**15
    spool.append([{"do": "fit", "run": "fit", "name": "a", "tags": {}, "time_ms": now}])
    fit.start_trial(0, "finetune", CONFIG).end("complete", {})
    while delivery.step():
        pass
    assert "find" not in store.calls


def test_what_is_refused_holds_up_nothing(spool: Spool, store: FakeStore) -> None:
    store.refuses = lambda name: name == "bad"
    fit = begin(spool)
    fit.set_tags({"good": "1"})
    fit.set_tags({"bad": "1"})
    fit.log_metrics({"good": 1.0})
    fit.tag_trial("nobody", {"a": "b"})
    spool.append([{"do": "nonsense"}, {"do": "trial"}, {"do": "end", "run": 5}, {"do": "metrics"}])
    spool.append([{"do": "metrics", "run": "fit", "time_ms": 1, "step": 1, "values": {"a": "x"}}])
    fit.end("complete")
    delivery = deliver(spool, store)
    (run,) = store.runs.values()
    assert run["tags"]["good"] == "1"
    assert [name for name, *_ in run["metrics"]] == ["good"]
    assert run["status"] == "FINISHED"
    assert delivery.n_refused == len(spool.refused.read_text().splitlines()) == 7


def test_a_place_for_files_that_fails_holds_up_nothing(spool: Spool, store: FakeStore) -> None:
    write_fit(spool)
    store.before = fails("upload")
    delivery = deliver(spool, store)
    assert delivery.n_refused == 1
    assert "report.html" in spool.refused.read_text()
    assert "FINISHED" in {run["status"] for run in store.runs.values() if run["name"] == "a fit"}


def test_a_file_comes_from_the_fit_s_folder_wherever_that_is_now(
    spool: Spool, store: FakeStore, tmp_path: Path
) -> None:
    fit = begin(spool)
    fit.log_file(spool.base / "model" / "x.json", "model")
    elsewhere = tmp_path / "elsewhere.json"
    fit.log_file(elsewhere)
    spool.base.rename(tmp_path / "moved")
    moved = Spool(tmp_path / "moved" / spool.folder.relative_to(spool.base), "http://fake")
    deliver(moved, store)
    (run,) = store.runs.values()
    wanted = [(tmp_path / "moved" / "model" / "x.json", "model"), (elsewhere, "")]
    assert run["files"] == wanted


def test_a_fit_that_goes_on_in_a_store_that_lost_it_is_sent_again(
    spool: Spool, store: FakeStore
) -> None:
    write_fit(spool)
    deliver(spool, store)
    store.runs.clear()
    fit = begin(spool, goes_on=True)
    fit.end("complete")
    deliver(spool, store)
    require_whole(store)


def test_a_fit_that_goes_on_where_it_was_deleted_is_a_new_run(
    spool: Spool, store: FakeStore
) -> None:
    begin(spool).end("complete")
    deliver(spool, store)
    (first,) = store.runs
    store.delete(first)
    fit = begin(spool, goes_on=True)
    fit.set_tags({"again": "1"})
    deliver(spool, store)
    second = store.runs[next(name for name in store.runs if name != first)]
    assert second["tags"]["again"] == "1"
    assert "again" not in store.runs[first]["tags"]


def test_a_trial_that_goes_on_keeps_its_run(spool: Spool, store: FakeStore) -> None:
    fit = begin(spool)
    killed = fit.start_trial(0, "finetune", CONFIG)
    killed.log_metrics({"a": 1.0}, 1)
    deliver(spool, store)
    again = fit.start_trial(0, "finetune", CONFIG, killed.run_id)
    again.log_metrics({"a": 2.0}, 2)
    deliver(spool, store)
    _, trial = store.runs.values()
    assert trial["status"] == "RUNNING"
    assert "reopen" in store.calls
    assert sorted(step for _, _, _, step in trial["metrics"]) == [1, 2]
    store.runs["store-2"]["deleted"] = True
    fit.start_trial(0, "finetune", CONFIG, killed.run_id).end("complete", {})
    deliver(spool, store)
    assert store.runs["store-3"]["status"] == "FINISHED"


def test_a_data_set_arrives_whole(spool: Spool, store: FakeStore) -> None:
    dataset = Dataset("digits", "abc", "/data/digits", ("0", "1"), {"n_samples": 10})
    begin(spool).log_dataset(dataset)
    spool.append([{"do": "dataset", "run": "fit", "name": "x", "class_names": 3}])
    assert deliver(spool, store).n_refused == 1
    assert store.runs["store-1"]["dataset"] == dataset


def test_states(spool: Spool, store: FakeStore) -> None:
    fit = begin(spool)
    states = ("complete", "pruned", "failed", "deadline", "interrupted")
    for number, state in enumerate(states):
        fit.start_trial(number, "finetune", CONFIG).end(state, {})
    deliver(spool, store)
    _, *trials = store.runs.values()
    found = [trial["status"] for trial in trials]
    assert found == ["FINISHED", "FINISHED", "FAILED", "KILLED", "KILLED"]


def test_a_disk_that_fails_surfaces(
    spool: Spool, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(spool)
    delivery = Delivery(spool, store)

    def full(self: Spool, **values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "note", full)
    with pytest.raises(OSError, match="No space"):
        delivery.step()
