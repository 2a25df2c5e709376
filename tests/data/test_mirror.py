"""A folder made equal to a listing: what is copied, what goes, and what a killed process leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import autotl.data.mirror as mirrors
from autotl.data.mirror import Mirror, RemoteFile
from autotl.errors import DiskFullError, InputError
from autotl.progress import Progress


class Server:
    """Holds files, and notes which are asked for."""

    def __init__(self, *names: str) -> None:
        self.contents = {name: f"content of {name}".encode() for name in names}
        self.versions = dict.fromkeys(names, 1)
        self.asked: list[str] = []
        self.fails_at: str | None = None

    def listing(self) -> dict[str, RemoteFile]:
        return {
            name: RemoteFile(name, len(content), f"v{self.versions[name]}")
            for name, content in self.contents.items()
        }

    def get(self, file: RemoteFile, place: Path) -> None:
        self.asked.append(file.path)
        if file.path == self.fails_at:
            place.write_bytes(b"half")
            raise InputError("away")
        place.write_bytes(self.contents[file.path])


class Watch(Progress):
    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def step(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def note(self, message: str) -> None:
        self.notes.append(message)


def copy(mirror: Mirror, server: Server, watch: Progress | None = None) -> None:
    watch = watch or Progress()
    server.asked.clear()
    files = server.listing()
    with mirror.locked(watch.note):
        mirror.keep_only(files)
        mirror.bring(files, server.get, watch)


def contents(mirror: Mirror) -> dict[str, bytes]:
    found = [path for path in mirror.files.rglob("*") if path.is_file()]
    return {path.relative_to(mirror.files).as_posix(): path.read_bytes() for path in found}


def test_only_what_changed_is_copied_and_what_is_gone_goes(tmp_path: Path) -> None:
    mirror, server, watch = (
        Mirror(tmp_path / "m"),
        Server("a/1.png", "a/b/2.png", "c/3.png"),
        Watch(),
    )
    copy(mirror, server, watch)
    assert contents(mirror) == server.contents
    assert watch.steps == [(1, 3), (2, 3), (3, 3)]
    assert "copying 3 files" in watch.notes[0]
    copy(mirror, server)
    assert server.asked == []
    server.versions["c/3.png"] = 2  # of the same size
    del server.contents["a/b/2.png"]
    server.contents["a/b"] = b"a file where a folder was"
    server.versions["a/b"] = 1
    copy(mirror, server)
    assert sorted(server.asked) == ["a/b", "c/3.png"]
    assert contents(mirror) == server.contents


def test_a_copy_that_is_not_as_it_was_is_made_anew(tmp_path: Path) -> None:
    mirror, server = Mirror(tmp_path / "m"), Server("cut.png", "gone.png", "whole.png")
    copy(mirror, server)
    (mirror.files / "cut.png").write_bytes(b"cut")
    (mirror.files / "gone.png").unlink()
    copy(mirror, server)
    assert sorted(server.asked) == ["cut.png", "gone.png"]
    assert contents(mirror) == server.contents


def test_what_has_no_mark_is_copied_each_time(tmp_path: Path) -> None:
    mirror, server = Mirror(tmp_path / "m"), Server("a.png")
    for _ in range(2):
        with mirror.locked(print):
            mirror.bring({"a.png": RemoteFile("a.png", None, "")}, server.get, Progress())
    assert server.asked == ["a.png", "a.png"]


def test_what_failed_in_the_middle_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "_N_THREADS", 1)
    mirror, server = Mirror(tmp_path / "m"), Server(*"abcde")
    server.fails_at = "c"
    with pytest.raises(InputError, match="away"):
        copy(mirror, server)
    assert set("ab") <= set(contents(mirror)) <= set("abde")  # nothing half
    assert {path.name for path in mirror.folder.iterdir()} == {".lock", "files", "log.jsonl"}
    with (mirror.folder / "log.jsonl").open("a") as log:
        log.write('["c", "v1", 1')  # as a killed process may leave it
    server.fails_at = None
    copy(mirror, server)
    assert "c" in server.asked
    assert not {"a", "b"} & set(server.asked)
    assert contents(mirror) == server.contents
    copy(mirror, server)
    assert server.asked == []


def test_one_process_waits_for_another(tmp_path: Path) -> None:
    mirror, server, watch = Mirror(tmp_path / "m"), Server("a", "b"), Watch()
    with mirror.locked(print):
        second = threading.Thread(target=copy, args=(Mirror(tmp_path / "m"), server, watch))
        second.start()
        while not watch.notes:
            second.join(0.01)
        assert server.asked == []
    second.join()
    assert "waiting" in watch.notes[0]
    assert contents(mirror) == server.contents


def test_what_does_not_fit_is_refused_before_anything_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server("a", "b")
    with pytest.raises(InputError, match="disk_quota_gb"):
        copy(Mirror(tmp_path / "m", max_bytes=20), server)
    monkeypatch.setattr(mirrors, "free_disk_bytes", lambda _: 20)
    with pytest.raises(DiskFullError, match="make room"):
        copy(Mirror(tmp_path / "m"), server)
    assert server.asked == []


@pytest.mark.parametrize("names", [("a.png", "a.png/b.png"), ("x" * 300 + ".png",)])
def test_names_that_no_file_here_can_have(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="copies can't be kept"):
        copy(Mirror(tmp_path / "m"), Server(*names))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file")
    with pytest.raises(InputError, match="copies can't be kept"):
        copy(Mirror(tmp_path / "m"), Server("a"))
