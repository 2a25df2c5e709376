"""Data sets behind URLs: read as the folder or table there would be, or refused in one line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

import autotl.data.remote as remote
from autotl.data import ImageTable, Mirrors, read_dataset
from autotl.errors import InputError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES_S", (0.0, 0.0))


@pytest.fixture
def bucket(folder: Path) -> Iterator[MemoryFileSystem]:
    """The folder of pets in fsspec's memory, as ``memory://box/pets``."""
    fs = fsspec.filesystem("memory")
    for file in folder.rglob("*.png"):
        fs.pipe(f"/box/pets/{file.relative_to(folder).as_posix()}", file.read_bytes())
    yield fs
    for path in [path for path in fs.store if path.startswith("/box/")]:
        del fs.store[path]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ImageTable]:
    return partial(read_dataset, mirrors=Mirrors(tmp_path / "mirrors"))


def copied(tmp_path: Path) -> set[str]:
    """Names of the copies of all data sets."""
    found = (tmp_path / "mirrors").glob("*/files/**/*")
    return {path.as_posix().partition("/files/")[2] for path in found if path.is_file()}


def test_a_folder_is_read_as_if_it_were_here(
    folder: Path, bucket: MemoryFileSystem, read: Callable[..., ImageTable], tmp_path: Path
) -> None:
    for name in ("", "cat/", "fish/"):  # by which some tools make a folder
        bucket.store[f"/box/pets/{name}"] = MemoryFile(data=b"")
    for name in ("cat/.hidden.png", ".thumbs/cat/1.png", "cat/notes.md", "meta.csv"):
        bucket.pipe(f"/box/pets/{name}", b"x")
    bucket.pipe("/box/pets2/cat/7.png", b"of another folder")
    here = read_dataset(folder)
    for url in ("memory://box/pets", "memory://box/pets/"):
        table = read(url)
        assert table.fingerprint == here.fingerprint
        assert [table.name(i) for i in range(6)] == [here.name(i) for i in range(6)]
    assert copied(tmp_path) == {here.name(i) for i in range(6)}


def test_changes_are_seen(
    folder: Path, bucket: MemoryFileSystem, read: Callable[..., ImageTable], draw: Any
) -> None:
    read("memory://box/pets")
    draw("pets/dog/3.png", seed=40)
    (folder / "cat" / "0.png").unlink()
    bucket.put(str(folder / "dog" / "3.png"), "/box/pets/dog/3.png")
    bucket.rm("/box/pets/cat/0.png")
    assert read("memory://box/pets").fingerprint == read_dataset(folder).fingerprint


def test_of_a_table_only_what_it_names_is_copied(
    bucket: MemoryFileSystem, read: Callable[..., ImageTable], tmp_path: Path
) -> None:
    rows = "cat/0.png,cat\n./cat/1.png,cat\ndog/0.png,dog\ndog/x/../1.png,dog\ndog/9.png,dog\n"
    bucket.pipe("/box/pets/meta.csv", f"file,class\n{rows}".encode())
    table = read("memory://box/pets/meta.csv", max_unreadable=0.3)
    assert table.labels.tolist() == [0, 0, 1, 1]
    assert [entry.name for entry in table.quarantine] == ["dog/9.png"]
    assert copied(tmp_path) == {"meta.csv", "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("../secret.png", "lead out of the folder memory://box/pets of table memory://box/pets/m"),
        ("/etc/passwd", "lead out of the folder"),
        ("memory://box/secret.png", "URLs instead of paths"),
    ],
)
def test_a_table_reaches_nothing_outside_its_folder(
    path: str,
    told: str,
    bucket: MemoryFileSystem,
    read: Callable[..., ImageTable],
    tmp_path: Path,
) -> None:
    bucket.pipe("/box/secret.png", b"secret")
    rows = f"cat/0.png,cat\n{path},cat\ndog/0.png,dog\ndog/1.png,dog\n"
    bucket.pipe("/box/pets/m.csv", f"file,class\n{rows}".encode())
    with pytest.raises(InputError, match=told) as error:
        read("memory://box/pets/m.csv")
    assert str(tmp_path) not in str(error.value)
    assert copied(tmp_path) == {"m.csv"}
    with pytest.raises(
        InputError, match=r"no such file|URLs"
    ):  # nor is anything fetched if trusted
        read("memory://box/pets/m.csv", trust_paths=True, max_unreadable=0)
    assert "secret.png" not in {Path(name).name for name in copied(tmp_path)}


def test_a_row_that_is_refused_costs_no_copies(
    bucket: MemoryFileSystem, read: Callable[..., ImageTable], tmp_path: Path
) -> None:
    rows = "file,class\ncat/0.png,cat\ncat/1.png,cat\ndog/0.png,dog\ndog/1.png,dog\n"
    bucket.pipe("/box/pets/m.csv", rows.encode())
    read("memory://box/pets/m.csv")
    bucket.pipe("/box/pets/m.csv", f"{rows}../x.png,dog\n".encode())
    with pytest.raises(InputError, match="lead out"):
        read("memory://box/pets/m.csv")
    assert len(copied(tmp_path)) == 5


@pytest.mark.parametrize("name", ["../x.png", "cat/../../../x.png", "cat//x.png", "/etc/x.png"])
def test_names_in_a_listing_that_lead_out_are_refused(
    name: str,
    bucket: MemoryFileSystem,
    read: Callable[..., ImageTable],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = bucket.find("/box/pets", detail=True)
    bad = {f"/box/pets/{name}": {"name": f"/box/pets/{name}", "size": 1, "type": "file"}}
    monkeypatch.setattr(bucket, "find", lambda *_, **__: {**listed, **bad})
    with pytest.raises(InputError, match=f"can't be those of files below a folder: '{name}'"):
        read("memory://box/pets")
    assert copied(tmp_path) == set()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("memory://box/pets/none", "no such bucket, folder or file: memory://box/pets/none"),
        ("memory://none/table.csv", "no such bucket, folder or file"),
        ("memory://box/pets/cat/0.png", "unknown kind of data file 'memory://box/pets/cat/0.png'"),
        ("memory://box/text", r"memory://box/text holds no pictures \(other files: .md \(1\)\)"),
        ("foo://box/pets", "fsspec knows no such protocol"),
        ("s3://box/pets", "s3://box/pets needs a package that is missing: `pip install s3fs`"),
        ("http://127.0.0.1:9/t.csv", "can't be read .*Connect.*give the same command again"),
        ("https://host/pets", r"isn't a table .* can't be listed over HTTP"),
        ("memory://box/columns.csv", "table memory://box/columns.csv has no column"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    url: str,
    told: str,
    bucket: MemoryFileSystem,
    read: Callable[..., ImageTable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket.pipe("/box/text/notes.md", b"x")
    bucket.pipe("/box/columns.csv", b"file,b\n1,2\n")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=told) as error:
        read(url)
    assert "\n" not in str(error.value)


class Away:
    """A file system's way to copy a file, which fails so many times with an error."""

    def __init__(self, fs: MemoryFileSystem, n_times: int, error: Exception) -> None:
        self.get_file, self.n_left, self.error = fs.get_file, n_times, error
        self.n_asked = 0

    def __call__(self, path: str, place: str) -> None:
        self.n_asked += 1
        if path.endswith("dog/1.png") and self.n_left:
            self.n_left -= 1
            Path(place).write_bytes(b"half")
            raise self.error
        self.get_file(path, place)


def test_a_server_that_comes_back_is_waited_for(
    folder: Path,
    bucket: MemoryFileSystem,
    read: Callable[..., ImageTable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bucket, "get_file", Away(bucket, 2, ConnectionError("away")))
    assert read("memory://box/pets").fingerprint == read_dataset(folder).fingerprint


@pytest.mark.parametrize(
    ("error", "n_tries", "told"),
    [
        (ConnectionError("no //me:hush@host"), 3, "can't be read .*no //me@host.*same command"),
        (PermissionError("AccessDenied"), 1, "may not be read .*AccessDenied.*credentials"),
    ],
)
def test_one_that_stays_away_is_told_and_the_next_call_goes_on(
    error: Exception,
    n_tries: int,
    told: str,
    bucket: MemoryFileSystem,
    read: Callable[..., ImageTable],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    away = Away(bucket, 99, error)
    monkeypatch.setattr(bucket, "get_file", away)
    with pytest.raises(InputError, match=told):
        read("memory://box/pets")
    assert 99 - away.n_left == n_tries
    n_copied = len(copied(tmp_path))
    assert "dog/1.png" not in copied(tmp_path)
    away.n_asked = away.n_left = 0
    assert len(read("memory://box/pets")) == 6
    assert away.n_asked == 6 - n_copied


def test_a_file_that_came_short_is_asked_for_again(
    folder: Path,
    bucket: MemoryFileSystem,
    read: Callable[..., ImageTable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short, whole = set(), bucket.get_file

    def get_file(path: str, place: str) -> None:
        whole(path, place)
        if path not in short:
            short.add(path)
            Path(place).write_bytes(Path(place).read_bytes()[:-1])

    monkeypatch.setattr(bucket, "get_file", get_file)
    assert read("memory://box/pets").fingerprint == read_dataset(folder).fingerprint
    assert len(short) == 6


def test_a_place_here_is_read_where_it_is(
    folder: Path, read: Callable[..., ImageTable], tmp_path: Path
) -> None:
    assert read(f"file://{folder}").fingerprint == read_dataset(folder).fingerprint
    with pytest.raises(InputError, match="no such"):
        read(f"file://{folder}/none")
    assert not (tmp_path / "mirrors").exists()


def test_by_default_copies_are_in_the_users_cache(
    bucket: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert len(read_dataset("memory://box/pets", test="memory://box/pets")) == 12
    (copy,) = (tmp_path / "own" / "autotl" / "mirrors").iterdir()
    assert copy.name.startswith("pets-")


@pytest.fixture
def web(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folder of pets behind a web server: its address, and what it is asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if self.path.startswith("/closed"):
                return self.send_error(403)
            return super().send_head()

        def log_message(self, format: str, *args: Any) -> None:
            asked.append(f"{self.command} {self.path}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_table_on_a_web_server(
    web: tuple[str, list[str]], folder: Path, read: Callable[..., ImageTable], draw: Any
) -> None:
    address, asked = web
    draw("pets/a dog/50 %#1?.png", seed=60)
    rows = "cat/0.png,cat\ncat/1.png,cat\ndog/0.png,dog\na dog/50 %#1?.png,dog\nnone.png,dog\n"
    (folder / "table.csv").write_text(f"file,class\n{rows}")
    url = f"{address}/table.csv?token=hu/sh"
    table = read(url, max_unreadable=0.3)
    here = read_dataset(folder / "table.csv", max_unreadable=0.3)
    assert table.fingerprint == here.fingerprint
    assert table.quarantine == here.quarantine
    asked.clear()
    read(url, max_unreadable=0.3)
    got = {entry for entry in asked if not entry.startswith("HEAD ")}
    assert got == {"GET /none.png"}  # nothing that is there is fetched twice


def test_a_web_server_that_refuses(
    web: tuple[str, list[str]], read: Callable[..., ImageTable]
) -> None:
    address, _ = web
    with pytest.raises(InputError, match=r"closed\.csv may not be read .*403.*credentials"):
        read(f"{address}/closed.csv?token=hush")
