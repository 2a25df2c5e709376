"""What is kept under a limit, and what goes; folders survive whatever is done to them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotl.reuse import quota as quota_module
from autotl.reuse.quota import DiskQuota, GreedyDual

KB = 4096


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_module, "_SAID", set())


@pytest.fixture
def unheard() -> Iterator[None]:
    """No warning may come."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def fill(quota: DiskQuota, name: str, n_bytes: int = 10 * KB, seconds: float = 1.0) -> bool:
    """Reserve and write."""
    reserved = quota.reserve(name, n_bytes, seconds)
    if reserved:
        quota.file(name).write_bytes(b"x" * (n_bytes - KB))
        quota.file(name).with_suffix(".npz").write_bytes(b"x" * KB)
    return reserved


def names(quota: DiskQuota) -> list[str]:
    return [entry.name for entry in quota.entries()]


class TestGreedyDual:
    def test_the_cheapest_for_its_size_goes_first(self) -> None:
        rule = GreedyDual(100)
        assert rule.admit("dear", 50, 10.0) == []
        assert rule.admit("cheap", 30, 1.0) == []
        assert rule.admit("small and dear", 20, 5.0) == []
        assert rule.admit("new", 25, 100.0) == ["cheap"]
        assert rule.names == ["dear", "small and dear", "new"]
        assert rule.n_bytes == 95

    def test_what_counts_is_the_time_per_byte(self) -> None:
        rule = GreedyDual(100)
        rule.admit("long but large", 80, 10.0)
        rule.admit("short and small", 10, 5.0)
        assert rule.admit("new", 20, 1.0) == ["long but large"]

    def test_as_many_go_as_are_needed(self) -> None:
        rule = GreedyDual(100)
        for i in range(10):
            rule.admit(str(i), 10, 10.0 - i)
        assert rule.admit("new", 25, 0.0) == ["9", "8", "7"]

    def test_what_is_asked_for_stays_and_the_rest_ages(self) -> None:
        rule = GreedyDual(20)
        rule.admit("dear", 10, 35.0)
        gone = []
        for i in range(6):  # each costs 10 s; the clock goes up by a second per byte each time
            gone += rule.admit(f"cheap {i}", 10, 10.0) or []
        assert gone == ["cheap 0", "cheap 1", "cheap 2", "dear", "cheap 3"]

        rule = GreedyDual(20)
        rule.admit("dear", 10, 35.0)
        for i in range(6):
            rule.touch("dear")
            assert "dear" not in (rule.admit(f"cheap {i}", 10, 10.0) or [])

    def test_too_large_changes_nothing(self) -> None:
        rule = GreedyDual(100)
        rule.admit("a", 60, 1.0)
        assert rule.admit("b", 101, 1e9) is None
        assert rule.admit("b", 41, 1e9, pinned={"a"}) is None
        assert (rule.names, rule.clock) == (["a"], 0.0)
        assert rule.admit("b", 40, 0.0, pinned={"a"}) == []
        assert rule.admit("c", 40, 0.0, pinned={"a"}) == ["b"]

    def test_a_smaller_limit_lets_the_cheapest_go(self) -> None:
        rule = GreedyDual(100)
        for name, seconds in (("dear", 9.0), ("cheap", 1.0), ("middling", 5.0)):
            rule.admit(name, 30, seconds)
        assert rule.shrink() == []
        rule.max_bytes = 59
        assert rule.shrink() == ["cheap", "middling"]
        assert rule.names == ["dear"]

    def test_a_newcomer_of_less_worth_is_admitted(self) -> None:
        rule = GreedyDual(10)
        rule.admit("dear", 10, 1000.0)
        assert rule.admit("cheap", 10, 0.0) == ["dear"]

    def test_an_entry_that_is_there_counts_once(self) -> None:
        rule = GreedyDual(100)
        rule.admit("a", 60, 1.0)
        rule.admit("b", 40, 2.0)
        assert rule.admit("a", 60, 1.0) == []
        assert rule.admit("a", 61, 1.0) == ["b"]
        assert rule.n_bytes == 61
        assert rule.admit("a", 101, 1.0) is None
        assert rule.n_bytes == 61

    def test_removed_makes_room_and_the_unknown_are_passed_over(self) -> None:
        rule = GreedyDual(10)
        rule.admit("a", 10, 1.0)
        rule.touch("x")
        rule.remove("x")
        rule.remove("a")
        assert rule.names == []
        assert rule.admit("b", 10, 1.0) == []

    def test_no_bytes_at_all(self) -> None:
        rule = GreedyDual(0)
        assert rule.admit("a", 0, 1.0) == []
        assert rule.admit("b", 1, 1.0) is None


class TestDiskQuota:
    def test_entries_and_all_their_files_go_as_a_whole(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path / "deep" / "cache", 25 * KB)
        assert fill(quota, "dear", seconds=9.0)
        assert fill(quota, "cheap", seconds=1.0)
        assert fill(quota, "cheapest", n_bytes=5 * KB, seconds=0.1)
        assert fill(quota, "new", seconds=5.0)
        assert names(quota) == ["dear", "new"]
        assert {p.name.partition(".")[0] for p in quota.folder.iterdir()} == {"", "dear", "new"}

    def test_what_is_reserved_counts_in_full(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path, 25 * KB)
        assert quota.reserve("filling", 20 * KB, 1.0)
        assert DiskQuota(tmp_path, 25 * KB).reserve("other", 6 * KB, 1.0)
        assert names(quota) == ["other"]
        assert quota.entries()[0].n_bytes == 0

    def test_what_is_there_is_renewed(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path, 20 * KB)
        fill(quota, "a", seconds=2.0)
        fill(quota, "b", seconds=2.0)
        fill(quota, "c", seconds=2.0)  # a goes, and the clock stands at its credit
        assert names(quota) == ["b", "c"]
        assert quota.reserve("b", 10 * KB, 2.5)
        assert quota.file("b").stat().st_size == 9 * KB
        fill(quota, "d", seconds=0.5)
        assert names(quota) == ["b", "d"]
        assert quota.entries()[0].seconds == 2.5

    def test_entries_tell_size_and_seconds(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path, 100 * KB)
        fill(quota, "a", 10 * KB, 3.5)
        (tmp_path / "strange.bin").write_bytes(b"x" * KB)
        (tmp_path / ".hidden").write_bytes(b"x" * KB)
        (tmp_path / "folder").mkdir()
        found = [(e.name, e.n_bytes, e.seconds) for e in quota.entries()]
        assert found == [("a", 10 * KB, 3.5), ("strange", KB, 0.0)]

    def test_too_large_is_said_once(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path, 10 * KB)
        with pytest.warns(UserWarning, match="disk_cache_gb") as told:  # noqa: PT031
            assert not quota.reserve("a", 11 * KB, 1.0)
            assert not quota.reserve("b", 12 * KB, 1.0)
        assert len(told) == 1
        assert quota.entries() == []
        assert fill(quota, "c")

    def test_none_at_all_touches_nothing(self, tmp_path: Path, unheard: None) -> None:
        quota = DiskQuota(tmp_path / "cache", 0)
        assert not quota.reserve("a", 0, 1.0)
        assert quota.entries() == []
        assert quota.clear() == 0
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_can_not_be_written_is_said_once(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        quota = DiskQuota(tmp_path / "file" / "cache", 10 * KB)
        with pytest.warns(UserWarning, match="can't be written") as told:  # noqa: PT031
            assert not quota.reserve("a", KB, 1.0)
            assert not quota.reserve("a", KB, 1.0)
        assert len(told) == 1
        assert quota.entries() == []

    def test_a_full_disk_is_said_and_no_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        quota = DiskQuota(tmp_path, 100 * KB)
        fill(quota, "a")
        monkeypatch.setattr(Path, "write_text", full)
        with pytest.warns(UserWarning, match="No space left"):
            assert not quota.reserve("b", KB, 1.0)
        monkeypatch.undo()
        assert fill(quota, "c")

    @pytest.mark.parametrize(
        "damage",
        [
            "",
            "{",
            "[]",
            "null",
            "{}",
            '{"clock": 0, "entries": []}',
            '{"clock": "x", "entries": {}}',
            '{"clock": NaN, "entries": {}}',
            '{"clock": 0, "entries": {"a": [1, 2]}}',
            '{"clock": 0, "entries": {"a": [-5, 1, 1]}}',
            '{"clock": 0, "entries": {"a": [1, Infinity, null]}}',
            "[" * 100_000,
            b"\xff\xfe\x00",
        ],
    )
    def test_a_damaged_state_is_begun_anew(
        self, damage: str | bytes, tmp_path: Path, unheard: None
    ) -> None:
        quota = DiskQuota(tmp_path, 25 * KB)
        fill(quota, "a")
        fill(quota, "b")
        state = tmp_path / ".quota.json"
        assert state.is_file()
        state.write_bytes(damage.encode() if isinstance(damage, str) else damage)
        assert names(quota) == ["a", "b"]
        assert quota.reserve("a", 10 * KB, 1.0)
        assert fill(quota, "c")
        assert names(quota) == ["a", "c"]
        assert set(json.loads(state.read_text())["entries"]) == {"a", "c"}

    def test_unknown_files_count_and_go_first(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path, 25 * KB)
        (tmp_path / "strange.bin").write_bytes(b"x" * 10 * KB)
        (tmp_path / "strange").write_bytes(b"x" * KB)
        fill(quota, "a")
        assert names(quota) == ["a", "strange"]
        fill(quota, "b")
        assert names(quota) == ["a", "b"]

    def test_vanished_files_make_room(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path, 25 * KB)
        fill(quota, "a")
        fill(quota, "b")
        for file in tmp_path.glob("b.*"):
            file.unlink()
        assert fill(quota, "c", seconds=0.0)
        assert names(quota) == ["a", "c"]

    def test_a_lower_limit_shrinks_the_folder(self, tmp_path: Path) -> None:
        for i, name in enumerate("abc"):
            fill(DiskQuota(tmp_path, 100 * KB), name, seconds=1.0 + i)
        assert DiskQuota(tmp_path, 20 * KB).reserve("d", 10 * KB, 1.0)
        assert names(DiskQuota(tmp_path, 0)) == ["c", "d"]

    def test_the_time_of_day_does_not_matter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        quota = DiskQuota(tmp_path, 25 * KB)
        fill(quota, "a", seconds=1.0)
        fill(quota, "b", seconds=1.0)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        fill(quota, "c", seconds=1.0)
        assert names(quota) == ["b", "c"]
        assert quota.reserve("b", 10 * KB, 1.0)
        fill(quota, "d", seconds=1.5)
        fill(quota, "e", seconds=1.0)
        assert names(quota) == ["d", "e"]

    def test_clear_tells_what_was_freed(self, tmp_path: Path) -> None:
        quota = DiskQuota(tmp_path / "cache", 100 * KB)
        fill(quota, "a")
        fill(quota, "b")
        (quota.folder / ".hidden").write_text("mine")
        assert DiskQuota(quota.folder, 0).clear() == 20 * KB
        assert quota.entries() == []
        assert (quota.folder / ".hidden").is_file()
        assert quota.clear() == 0
        assert fill(quota, "c")

    @pytest.mark.parametrize("name", ["", "a.b", "a/b", "..", "a b", "a\n"])
    def test_names_that_are_no_names(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="name must be"):
            DiskQuota(tmp_path, 10).reserve(name, 1, 1.0)


_RESERVER = """
import sys
from pathlib import Path
from autotl.reuse.quota import DiskQuota
quota = DiskQuota(Path(sys.argv[1]), 40960)
for i in range(40):
    name = f"{sys.argv[2]}-{i % 7}"
    assert quota.reserve(name, 4096 * (1 + i % 4), i % 5)
    quota.file(name).write_bytes(b"x" * 4096 * (1 + i % 4))
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", _RESERVER, str(tmp_path), str(i)]) for i in range(3)
    ]
    assert [other.wait() for other in others] == [0, 0, 0]
    quota = DiskQuota(tmp_path, 10 * KB)
    assert quota.reserve("last", KB, 1.0)
    state = json.loads((tmp_path / ".quota.json").read_text())
    assert sum(n_bytes for n_bytes, _, _ in state["entries"].values()) <= 10 * KB
    assert {entry.name for entry in quota.entries()} == set(state["entries"])
