"""What lies on disk until a store has it."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from autotl.errors import InputError
from autotl.tracking.spool import BeingSentError, Spool, spools_below


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool.of_fit(tmp_path / "out" / "fit", "http://me:pw@host", tmp_path / "artifacts")
    spool.make()
    return spool


def operations(spool: Spool) -> list[object]:
    found: list[object] = []
    offset = 0
    while lines := spool.lines(offset):
        found += [line.operation for line in lines]
        offset = lines[-1].end
    return found


def test_what_is_appended_is_read_in_order(spool: Spool) -> None:
    assert spool.lines(0) == []
    spool.append([{"n": 1, "ü\n\udcff": "a\nb"}, {"n": 2}])
    spool.append([{"n": 3}], durable=True)
    assert operations(spool) == [{"n": 1, "ü\n\udcff": "a\nb"}, {"n": 2}, {"n": 3}]
    first = spool.lines(0)[0]
    assert [line.operation for line in spool.lines(first.end)] == [{"n": 2}, {"n": 3}]
    assert spool.lines(spool.lines(0)[-1].end) == []


def test_many_and_long_lines_come_in_parts(spool: Spool) -> None:
    wanted = [{"n": n, "long": "x" * (300_000 if n == 5 else 3000)} for n in range(300)]
    spool.append(wanted)
    assert len(spool.lines(0)) < 300
    assert operations(spool) == wanted
    assert spool.n_unsent() == 300


@pytest.mark.parametrize("n_torn", [1, 7, 20])
def test_a_line_that_was_torn_off_spoils_no_other(spool: Spool, n_torn: int) -> None:
    spool.append([{"n": 1}])
    spool.append([{"n": 2, "text": "abcdefghij"}])
    file = spool.folder / "records.jsonl"
    os.truncate(file, file.stat().st_size - n_torn)
    assert operations(spool) == [{"n": 1}]  # what may still be being written is left alone
    spool.append([{"n": 3}])
    whole = [{"n": 2, "text": "abcdefghij"}] if n_torn == 1 else [{}]
    assert operations(spool) == [{"n": 1}, *whole, {"n": 3}]


def _append(spool: Spool, worker: int) -> None:
    for n in range(300):
        spool.append([{"worker": worker, "n": n, "text": "x" * (n * 37 % 5000)}])


def test_several_processes_append_side_by_side(spool: Spool) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(spool, k)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = operations(spool)
    assert len(found) == 900
    for worker in range(3):
        assert [line["n"] for line in found if line["worker"] == worker] == list(range(300))  # type: ignore[index]


def test_progress_is_remembered(spool: Spool) -> None:
    spool.append([{"n": n} for n in range(10)])
    middle = spool.lines(0)[4].end
    spool.note(run="a", **{"is": "A"})
    spool.note(offset=middle)
    spool.note(run="b", doubtful=True, **{"is": "B"})
    with (spool.folder / "sent.jsonl").open("ab") as file:
        file.write(b'{"offset": 99999, "ru')  # killed while it was written
    sent = spool.sent()
    assert (sent.offset, sent.runs, sent.doubtful) == (middle, {"a": "A", "b": "B"}, {"b"})
    spool.note(run="c", **{"is": "C"})
    assert spool.sent().runs == {"a": "A", "b": "B", "c": "C"}
    assert spool.n_unsent() == 5
    spool.note(forgotten=True, offset=0)
    sent = spool.sent()
    assert (sent.offset, sent.runs, sent.doubtful) == (0, {}, set())


def test_records_that_were_deleted_begin_anew(spool: Spool) -> None:
    spool.append([{"n": n} for n in range(10)])
    spool.note(offset=spool.n_bytes)
    (spool.folder / "records.jsonl").unlink()
    spool.append([{"n": 0}])
    assert spool.sent().offset == 0


@pytest.mark.parametrize(
    "kept", [b"\xff\x00{[", b'[1]\n"x"\n{"offset": -3}\n{"run": 1, "is": []}\n']
)
def test_damaged_progress_is_no_progress(spool: Spool, kept: bytes) -> None:
    (spool.folder / "sent.jsonl").write_bytes(kept)
    assert (spool.sent().offset, spool.sent().runs) == (0, {})


def test_one_sends_at_a_time(spool: Spool) -> None:
    with spool.sending():
        with (
            pytest.raises(BeingSentError, match="another process"),
            Spool.read(spool.folder).sending(),
        ):
            pass
        spool.append([{"n": 1}])  # that waits for nobody
    with spool.sending():
        pass


def test_a_spool_knows_its_store_but_no_password(spool: Spool, tmp_path: Path) -> None:
    read = Spool.read(spool.folder)
    assert read.tracking_uri == "http://host"
    assert read.artifact_root == tmp_path / "artifacts"
    assert read.base == tmp_path / "out" / "fit"
    assert not any(b"pw" in file.read_bytes() for file in spool.folder.iterdir())
    assert spools_below(tmp_path / "out") == [spool.folder]
    assert spools_below(tmp_path / "nowhere") == []


def test_each_store_has_its_own_spool(tmp_path: Path) -> None:
    uris = ("http://me:a@host", "http://me:b@host", "http://other")
    first, same, other = (Spool.of_fit(tmp_path, uri, None).folder for uri in uris)
    assert first == same  # a new password is no new store
    assert first != other


@pytest.mark.parametrize("kept", ["", "[]", '{"tracking_uri": "x"}'])
def test_a_damaged_spool_is_told(spool: Spool, kept: str) -> None:
    (spool.folder / "store.json").write_text(kept)
    with pytest.raises(InputError, match=r"store\.json can't be read"):
        Spool.read(spool.folder)


def test_what_was_refused_is_kept_with_the_reason(spool: Spool) -> None:
    spool.refuse({"do": "tags", "values": {"ü": "x"}}, "too long")
    (line,) = spool.refused.read_text().splitlines()
    kept = json.loads(line)
    assert kept == {"operation": {"do": "tags", "values": {"ü": "x"}}, "reason": "too long"}


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "fit").write_text("a file")
    with pytest.raises(NotADirectoryError):
        Spool.of_fit(tmp_path / "fit", "http://host", None).make()
    with pytest.raises(NotADirectoryError):
        Spool.of_fit(tmp_path / "fit", "http://host", None).append([{}])


def test_first_run(spool: Spool) -> None:
    assert spool.first_run() == ""
    spool.append([{"do": "tags", "run": "x"}, {"do": "fit", "run": "a"}, {"do": "fit", "run": "b"}])
    assert spool.first_run() == "a"
