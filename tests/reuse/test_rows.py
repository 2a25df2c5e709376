"""Rows are held or not, and what is held is right, whatever happens to the files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.reuse import rows as rows_module
from autotl.reuse.rows import RowFile, checksums_of

N = 40
SHAPE = (5, 3)
ALL = np.arange(N)


@pytest.fixture
def values() -> NDArray[np.float32]:
    values = np.random.default_rng(0).normal(size=(N, *SHAPE)).astype(np.float32)
    values[7] = 0
    return values


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "one.rows"


@pytest.fixture
def open_rows(place: Path) -> Callable[[], RowFile]:
    """Opens the file as another process would: nothing is known of it."""
    return lambda: RowFile(place, N, SHAPE, np.dtype(np.float32))


OpenRows = Callable[[], RowFile]


def check(file: RowFile, expected: NDArray[np.float32], held: NDArray[np.int64]) -> None:
    """Exactly these rows are held, and they are right."""
    found, is_held = file.read(ALL)
    assert np.flatnonzero(is_held).tolist() == sorted(held.tolist())
    assert np.array_equal(found[is_held], expected[is_held])


def test_what_is_written_is_read_in_any_order(
    open_rows: OpenRows, values: NDArray[np.float32]
) -> None:
    rows = np.array([30, 5, 6, 7, 0, 39])
    open_rows().write(rows, values[rows])
    for file in (open_rows(), pickle.loads(pickle.dumps(open_rows()))):
        asked = np.array([7, 6, 30, 30, 31, 39, 0, 5, 20, 6])
        for _ in range(2):  # before and after the rows were verified
            found, held = file.read(asked)
            assert held.tolist() == [*[True] * 4, False, *[True] * 3, False, True]
            assert np.array_equal(found[held], values[asked[held]])
            assert file.held(asked).tolist() == held.tolist()


def test_a_row_is_overwritten(open_rows: OpenRows, values: NDArray[np.float32]) -> None:
    file = open_rows()
    file.write(ALL, values)
    file.read(ALL)
    file.write(np.array([3]), values[[4]])
    for one in (file, open_rows()):
        found, held = one.read(np.array([3]))
        assert held.all()
        assert np.array_equal(found, values[[4]])


def test_nothing_is_made_by_looking(open_rows: OpenRows, place: Path) -> None:
    file = open_rows()
    assert not file.held(ALL).any()
    assert not file.read(ALL)[1].any()
    assert not place.parent.exists()


def test_no_rows(open_rows: OpenRows, values: NDArray[np.float32]) -> None:
    file, none = open_rows(), ALL[:0]
    file.write(none, values[:0])
    assert file.held(none).shape == (0,)
    found, held = file.read(none)
    assert (found.shape, held.shape) == ((0, *SHAPE), (0,))


def test_sizes(open_rows: OpenRows, values: NDArray[np.float32], place: Path) -> None:
    file = open_rows()
    file.write(ALL, values)
    assert file.row_bytes == 60
    assert file.n_bytes == place.stat().st_size + checksums_of(place).stat().st_size


@pytest.mark.parametrize("wrong", [-1, N])
def test_rows_outside(wrong: int, open_rows: OpenRows, values: NDArray[np.float32]) -> None:
    file, rows = open_rows(), np.array([0, wrong])
    for use in (file.read, file.held, lambda rows: file.write(rows, values[:2])):
        with pytest.raises(IndexError, match=r"\[0, 40\)"):
            use(rows)


def test_values_of_another_kind_are_refused(
    open_rows: OpenRows, values: NDArray[np.float32]
) -> None:
    for wrong in (values[:2].astype(np.float64), values[:3], values[:2, :4]):
        with pytest.raises(ValueError, match=r"values must be \(2, 5, 3\) float32"):
            open_rows().write(ALL[:2], wrong)


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 4
    file.write_bytes(content)


def test_a_flipped_byte_costs_one_row_and_is_mended(
    open_rows: OpenRows, values: NDArray[np.float32], place: Path
) -> None:
    open_rows().write(ALL, values)
    flip(place, 60 * 11 + 59)
    flip(checksums_of(place), 4 * 20)
    damaged = open_rows()
    check(damaged, values, np.setdiff1d(ALL, [11, 20]))
    assert np.flatnonzero(~damaged.held(ALL)).tolist() == [11, 20]
    damaged.write(np.array([11, 20]), values[[11, 20]])
    assert damaged.held(ALL).all()
    check(damaged, values, ALL)
    check(open_rows(), values, ALL)


def test_a_checksum_of_zero_is_a_checksum(
    open_rows: OpenRows, values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module.zlib, "crc32", lambda content: 0)
    open_rows().write(ALL, values)
    check(open_rows(), values, ALL)


@pytest.mark.parametrize("which", ["rows", "checksums"])
@pytest.mark.parametrize("known", [False, True])
def test_a_truncated_file_loses_its_end(
    which: str, known: bool, open_rows: OpenRows, values: NDArray[np.float32], place: Path
) -> None:
    file = open_rows()
    file.write(ALL, values)
    if known:
        file.read(ALL)
    if which == "rows":
        os.truncate(place, 60 * 25 + 30)
    else:
        os.truncate(checksums_of(place), 4 * 25 + 2)
    other = open_rows()
    left = ALL[:25]
    assert np.flatnonzero(other.held(ALL)).tolist() == left.tolist()
    check(other, values, left)
    check(file, values, ALL if known and which == "checksums" else left)
    other.write(ALL[25:], values[25:])
    check(open_rows(), values, ALL)


def test_a_hole_where_rows_were_is_not_believed(
    open_rows: OpenRows, values: NDArray[np.float32], place: Path
) -> None:
    file = open_rows()
    file.write(ALL, values)
    check(file, values, ALL)
    os.truncate(place, 60 * 25)
    check(file, values, ALL[:25])
    open_rows().write(ALL[39:], values[39:])
    check(file, values, np.append(ALL[:25], 39))


@pytest.mark.parametrize("which", ["rows", "checksums"])
def test_a_lost_file_loses_all(
    which: str, open_rows: OpenRows, values: NDArray[np.float32], place: Path
) -> None:
    open_rows().write(ALL, values)
    (place if which == "rows" else checksums_of(place)).unlink()
    file = open_rows()
    check(file, values, ALL[:0])
    file.write(ALL[:3], values[:3])
    check(open_rows(), values, ALL[:3])


def test_open_files_survive_their_deletion(
    open_rows: OpenRows, values: NDArray[np.float32], place: Path
) -> None:
    file = open_rows()
    file.write(ALL[:30], values[:30])
    place.unlink()
    checksums_of(place).unlink()
    file.write(ALL[30:], values[30:])
    check(file, values, ALL)
    check(open_rows(), values, ALL[:0])


def test_a_full_disk_keeps_what_was_written(
    open_rows: OpenRows, values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_rows()
    file.write(ALL[:10], values[:10])
    plain = os.pwrite
    written: list[int] = []

    def full(descriptor: int, content: memoryview, offset: int) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(plain(descriptor, content[:100], offset))
        return written[0]

    with monkeypatch.context() as patch:
        patch.setattr(rows_module.os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            file.write(ALL[10:], values[10:])
    for one in (file, open_rows()):
        check(one, values, ALL[:10])
    file.write(ALL[10:], values[10:])
    check(open_rows(), values, ALL)


def test_a_write_in_several_pieces_is_whole(
    open_rows: OpenRows, values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(rows_module.os, "pwrite", lambda d, c, at: pwrite(d, c[:7], at))
    monkeypatch.setattr(rows_module.os, "preadv", lambda d, c, at: preadv(d, [c[0][:7]], at))
    open_rows().write(ALL, values)
    check(open_rows(), values, ALL)


def test_a_row_counts_only_when_its_checksum_is_there(
    open_rows: OpenRows, values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.pwrite
    seen: list[list[bool]] = []

    def watched(descriptor: int, content: memoryview, offset: int) -> int:
        other = open_rows()
        found, held = other.read(ALL)
        seen.append(held.tolist())
        assert np.array_equal(found[held], values[held])
        return plain(descriptor, content, offset)

    monkeypatch.setattr(rows_module.os, "pwrite", watched)
    open_rows().write(np.array([4, 9]), values[[4, 9]])
    assert not any(any(held) for held in seen[:3])


def test_threads_fill_it_together(open_rows: OpenRows, values: NDArray[np.float32]) -> None:
    file = open_rows()
    parts = [ALL[i::8] for i in range(8)] * 3
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda part: file.write(part, values[part]), parts))
    check(file, values, ALL)
    check(open_rows(), values, ALL)


_WRITER = """
import sys, numpy as np
from pathlib import Path
from autotl.reuse.rows import RowFile
file = RowFile(Path(sys.argv[1]), 3000, (500,), np.dtype(np.int32))
order = np.random.default_rng(int(sys.argv[2])).permutation(3000)
values = np.arange(3000 * 500, dtype=np.int32).reshape(3000, 500)
print("ready", flush=True)
while True:
    for i in range(0, 3000, 7):
        file.write(order[i : i + 7], values[order[i : i + 7]])
"""


def test_killed_writers_leave_nothing_wrong(tmp_path: Path) -> None:
    place = tmp_path / "x.rows"
    expected = np.arange(3000 * 500, dtype=np.int32).reshape(3000, 500)
    for attempt in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(place), str(2 * attempt + i)],
                stdout=subprocess.PIPE,
            )
            for i in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        for _ in range(20):
            found, held = RowFile(place, 3000, (500,), np.dtype(np.int32)).read(np.arange(3000))
            assert np.array_equal(found[held], expected[held])
        for writer in writers:
            writer.kill()
            writer.communicate()
        found, held = RowFile(place, 3000, (500,), np.dtype(np.int32)).read(np.arange(3000))
        assert held.any()
        assert np.array_equal(found[held], expected[held])


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_files_of_others_are_read(
    open_rows: OpenRows, values: NDArray[np.float32], place: Path
) -> None:
    open_rows().write(ALL, values)
    for file in (place, checksums_of(place)):
        file.chmod(0o400)
    check(open_rows(), values, ALL)
    with pytest.raises(OSError, match=r"denied|descriptor"):
        open_rows().write(ALL, values)


def test_a_place_that_can_not_be_written(tmp_path: Path, values: NDArray[np.float32]) -> None:
    (tmp_path / "file").write_text("")
    file = RowFile(tmp_path / "file" / "x.rows", N, SHAPE, np.dtype(np.float32))
    assert not file.read(ALL)[1].any()
    with pytest.raises(OSError, match=r"file"):
        file.write(ALL, values)
