"""Pictures are decoded once, as they are, whatever happens to the files."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autotl.data import ImageTable, read_dataset, to_pixels
from autotl.data.table import ImageSource
from autotl.errors import AutotlError, InputError, UnreadableImageError
from autotl.reuse import decoded as decoded_module
from autotl.reuse import quota as quota_module
from autotl.reuse import rows as rows_module
from autotl.reuse.decoded import DecodedPictures
from autotl.reuse.pixels import PixelStore, PixelView, PixelViews, decode_table
from autotl.reuse.quota import DiskQuota
from autotl.reuse.rows import checksums_of


@dataclass
class Watched:
    """A source that counts what is read, and can't read some of it."""

    inner: ImageSource
    broken: Collection[int] = ()
    read_indices: list[int] = field(default_factory=list)
    stop_at: int | None = None
    min_sizes: set[int | None] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.inner)

    def name(self, index: int) -> str:
        return f"picture {index}"

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        self.read_indices.append(index)
        self.min_sizes.add(min_size)
        if index == self.stop_at:
            raise KeyboardInterrupt
        if index in self.broken:
            raise UnreadableImageError(f"broken {index}")
        return self.inner.read(index, min_size)


MakeTable = Callable[..., ImageTable]


@pytest.fixture
def make_table(
    pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> Callable[..., ImageTable]:
    """Makes a table of the first pictures, its source watched."""

    def make(n: int = 12, **watched: object) -> ImageTable:
        table = read_dataset((pictures[:n], picture_labels[:n]))
        return replace(table, source=Watched(table.source, **watched))  # type: ignore[arg-type]

    return make


@pytest.fixture
def quota(tmp_path: Path) -> DiskQuota:
    """A folder with room for everything."""
    return DiskQuota(tmp_path / "cache", 10**9)


@pytest.fixture(autouse=True)
def _nothing_unexpected_is_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(quota_module, "_SAID", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def everything(store: PixelStore) -> NDArray[np.uint8]:
    """All pictures of a store."""
    samples = np.arange(len(store.rows))
    return store.view(samples)[samples]


def files_of(quota: DiskQuota, store: PixelStore) -> tuple[Path, Path, Path]:
    """The rows, their checksums and what was seen."""
    file = quota.file(store.name)
    return file, checksums_of(file), file.with_suffix(".npz")


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def reads(table: ImageTable) -> list[int]:
    assert isinstance(table.source, Watched)
    return sorted(table.source.read_indices)


def test_stored_pixels_are_those_of_each_picture(make_table: MakeTable, quota: DiskQuota) -> None:
    table = make_table()
    _, store = decode_table(table, 24, quota)
    found = store.view(np.arange(12))[np.arange(12)]
    assert found.shape == (12, 24, 24, 3)
    assert found.dtype == np.uint8
    for sample in range(12):
        assert np.array_equal(found[sample], to_pixels(table.read(sample), 24))


def test_files_of_many_sizes_and_modes(tmp_path: Path, quota: DiskQuota) -> None:
    rng = np.random.default_rng(0)
    shapes = {"red/a.jpg": (300, 200, 3), "red/b.png": (9, 40), "blue/c.png": (5, 5, 4)}
    for name, shape in (shapes | {"blue/d.jpg": (64, 64)}).items():
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(file)
    table = read_dataset(tmp_path / "data")
    _, store = decode_table(table, 16, quota)
    found = everything(store)
    for sample in range(len(table)):
        assert np.array_equal(found[sample], to_pixels(table.read(sample, min_size=16), 16))
    seen = {Path(table.name(i)).name: i for i in range(len(table))}
    sizes = {name: store.original_sizes[i].tolist() for name, i in seen.items()}
    assert sizes == {"a.jpg": [200, 300], "b.png": [40, 9], "c.png": [5, 5], "d.jpg": [64, 64]}
    grey = {name: bool(store.is_grey[i]) for name, i in seen.items()}
    assert grey == {"a.jpg": False, "b.png": True, "c.png": False, "d.jpg": True}


def test_equal_pixels_have_equal_digests(pictures: NDArray[np.uint8], quota: DiskQuota) -> None:
    shown = pictures[[0, 1, 0, 2, 2, 0]]
    _, store = decode_table(read_dataset((shown, [0, 1, 0, 1, 1, 0])), 32, quota)
    _, kind = np.unique(store.digests, return_inverse=True)
    assert kind[0] == kind[2] == kind[5]
    assert kind[3] == kind[4]
    assert len(set(kind.tolist())) == 3


def test_unreadable_pictures_are_quarantined_with_their_reasons(
    make_table: MakeTable, quota: DiskQuota
) -> None:
    table = make_table(broken={2, 7})
    readable, store = decode_table(table, 32, quota)
    assert [(q.name, q.reason) for q in readable.quarantine] == [
        ("picture 2", "broken 2"),
        ("picture 7", "broken 7"),
    ]
    kept = np.setdiff1d(np.arange(12), [2, 7])
    assert readable.rows.tolist() == kept.tolist()
    assert readable.labels.tolist() == table.labels[kept].tolist()
    assert len(store.rows) == len(store.is_grey) == len(store.digests) == len(readable)
    found = store.view(np.arange(10))[np.arange(10)]
    for sample in range(10):
        assert np.array_equal(found[sample], to_pixels(readable.read(sample), 32))


def test_up_to_half_may_be_unreadable(make_table: MakeTable, quota: DiskQuota) -> None:
    other = DiskQuota(quota.folder / "other", 10**9)
    half, _ = decode_table(make_table(broken=range(6)), 32, other)
    assert len(half) == 6
    with pytest.raises(InputError) as caught:
        decode_table(make_table(broken=range(7)), 32, quota)
    told = str(caught.value)
    assert "7 of 12 pictures can't be read" in told
    assert "picture 0: broken 0" in told


def test_second_time_only_the_unreadable_are_tried_again(
    make_table: MakeTable, quota: DiskQuota
) -> None:
    first = make_table(broken={3})
    first_table, first_store = decode_table(first, 32, quota)
    assert reads(first) == list(range(12))
    second = make_table(broken={3})
    second_table, second_store = decode_table(second, 32, quota)
    assert np.array_equal(everything(first_store), everything(second_store))
    assert reads(second) == [3]
    assert second_table.quarantine == first_table.quarantine
    for name in ("rows", "original_sizes", "is_grey", "digests", "name"):
        assert np.array_equal(getattr(first_store, name), getattr(second_store, name))
    mended, store = decode_table(make_table(), 32, quota)
    assert len(mended) == len(everything(store)) == 12
    assert not mended.quarantine


def test_another_size_or_another_choice_of_samples_is_another_store(
    make_table: MakeTable, quota: DiskQuota
) -> None:
    decode_table(make_table(), 32, quota)
    other_size = make_table()
    _, store = decode_table(other_size, 16, quota)
    assert len(reads(other_size)) == 12
    assert store.view(np.arange(1)).image_size == 16
    fewer = make_table().take(np.array([5, 1]))
    _, chosen = decode_table(fewer, 32, quota)
    assert reads(fewer) == [1, 5]
    assert np.array_equal(chosen.view(np.arange(2))[np.array([0])][0], to_pixels(fewer.read(0), 32))


def test_other_pictures_are_never_mistaken_for_these(
    make_table: MakeTable, pictures: NDArray[np.uint8], quota: DiskQuota
) -> None:
    decode_table(make_table(), 32, quota)
    others = read_dataset((pictures[20:32], make_table().labels))
    _, store = decode_table(others, 32, quota)
    assert np.array_equal(store.view(np.arange(12))[np.arange(12)], pictures[20:32])


def test_interrupted_decoding_is_continued(
    make_table: MakeTable, pictures: NDArray[np.uint8], quota: DiskQuota
) -> None:
    with pytest.raises(KeyboardInterrupt):
        decode_table(make_table(40, stop_at=20), 32, quota)
    again = make_table(40)
    _, store = decode_table(again, 32, quota)
    assert np.array_equal(everything(store), pictures[:40])
    assert len(reads(again)) < 40
    assert 20 in reads(again)


@pytest.mark.parametrize("lost", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_lost_files_are_made_again(
    lost: tuple[int, ...], make_table: MakeTable, pictures: NDArray[np.uint8], quota: DiskQuota
) -> None:
    _, store = decode_table(make_table(), 32, quota)
    for one in lost:
        files_of(quota, store)[one].unlink()
    again = make_table()
    _, found = decode_table(again, 32, quota)
    assert len(reads(again)) == 12
    assert np.array_equal(everything(found), pictures[:12])
    assert np.array_equal(found.digests, store.digests)
    assert len(reads(again)) == 12


def test_pictures_none_of_which_can_be_read_leave_nothing(
    make_table: MakeTable, quota: DiskQuota
) -> None:
    with pytest.raises(InputError, match="12 of 12 pictures can't be read"):
        decode_table(make_table(broken=range(12)), 32, quota)
    assert not quota.folder.exists()


@pytest.mark.parametrize("file", [0, 1])
def test_a_flipped_byte_is_mended_when_it_is_read(
    file: int, make_table: MakeTable, pictures: NDArray[np.uint8], quota: DiskQuota
) -> None:
    _, store = decode_table(make_table(), 32, quota)
    flip(files_of(quota, store)[file], (32 * 32 * 3 if file == 0 else 4) * 5 + 1)
    again = make_table()
    _, found = decode_table(again, 32, quota)
    assert reads(again) == []
    assert np.array_equal(everything(found), pictures[:12])
    assert reads(again) == [5]
    once_more = make_table()
    _, found = decode_table(once_more, 32, quota)
    assert np.array_equal(everything(found), pictures[:12])
    assert reads(once_more) == []


def test_no_flipped_byte_of_what_was_seen_is_believed(
    make_table: MakeTable, quota: DiskQuota
) -> None:
    _, store = decode_table(make_table(), 24, quota)
    companion = files_of(quota, store)[2]
    whole = companion.read_bytes()
    for at in range(0, len(whole), 13):
        companion.write_bytes(whole)
        flip(companion, at)
        _, found = decode_table(make_table(), 24, quota)
        for name in ("rows", "original_sizes", "is_grey", "digests"):
            assert np.array_equal(getattr(found, name), getattr(store, name)), at


@pytest.mark.parametrize("file", [0, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_truncated_files_are_mended(
    file: int,
    share: float,
    make_table: MakeTable,
    pictures: NDArray[np.uint8],
    quota: DiskQuota,
) -> None:
    _, store = decode_table(make_table(), 32, quota)
    place = files_of(quota, store)[file]
    os.truncate(place, int(share * place.stat().st_size))
    again = make_table()
    _, found = decode_table(again, 32, quota)
    assert len(reads(again)) == (6 if share and file < 2 else 12)
    assert np.array_equal(everything(found), pictures[:12])


def test_files_deleted_during_a_fit(
    make_table: MakeTable, pictures: NDArray[np.uint8], quota: DiskQuota
) -> None:
    table = make_table()
    _, store = decode_table(table, 32, quota)
    sent = pickle.dumps(store)
    assert quota.clear() > 0
    assert np.array_equal(everything(store), pictures[:12])
    assert len(reads(table)) == 12
    for n_reads in (24, 12):  # decoded and stored once more, then found
        other: PixelStore = pickle.loads(sent)
        assert np.array_equal(everything(other), pictures[:12])
        assert isinstance(other.source, DecodedPictures)
        assert other.source._table is not None
        assert len(reads(other.source._table)) == n_reads
    (entry,) = quota.entries()
    assert entry.seconds > 0
    again = make_table()
    decode_table(again, 32, quota)
    assert len(reads(again)) == 12  # what was seen is gone too


def test_without_a_quota_all_is_decoded_each_time(
    make_table: MakeTable, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    table = make_table(broken={4})
    readable, store = decode_table(table, 24, DiskQuota(tmp_path / "cache", 0))
    assert len(readable) == 11
    asked = np.array([9, 3, 9, 4])
    found = store.view(np.arange(11))[asked]
    for values, sample in zip(found, asked, strict=True):
        assert np.array_equal(values, to_pixels(readable.read(int(sample)), 24))
    assert len(reads(table)) == 12 + 4 + 4
    assert list(tmp_path.iterdir()) == []


def test_a_store_too_large_for_the_quota_is_decoded_each_time(
    make_table: MakeTable, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    small = DiskQuota(tmp_path, 10_000)
    with pytest.warns(UserWarning, match="disk_cache_gb") as told:  # noqa: PT031
        _, store = decode_table(make_table(), 32, small)
        assert np.array_equal(everything(store), pictures[:12])
        assert np.array_equal(everything(store), pictures[:12])
    assert len(told) == 1
    assert small.entries() == []


def test_a_folder_that_can_not_be_written(
    make_table: MakeTable, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="can't be written") as told:  # noqa: PT031
        _, store = decode_table(make_table(), 32, DiskQuota(tmp_path / "file" / "x", 10**9))
        assert np.array_equal(everything(store), pictures[:12])
    assert len(told) == 1


def test_a_full_disk_is_said_once_and_the_rest_is_decoded_each_time(
    make_table: MakeTable,
    pictures: NDArray[np.uint8],
    quota: DiskQuota,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = os.pwrite
    room = [100_000]

    def limited(descriptor: int, content: memoryview, offset: int) -> int:
        n_bytes = min(len(content), room[0])
        if not n_bytes:
            raise OSError(28, "No space left on device")
        room[0] -= n_bytes
        return plain(descriptor, content[:n_bytes], offset)

    monkeypatch.setattr(rows_module.os, "pwrite", limited)
    with pytest.warns(UserWarning, match="No space left") as told:  # noqa: PT031
        _, store = decode_table(make_table(80), 32, quota)
        assert np.array_equal(everything(store), pictures[:80])
    assert len(told) == 1
    monkeypatch.undo()
    again = make_table(80)
    _, found = decode_table(again, 32, quota)
    assert np.array_equal(everything(found), pictures[:80])
    assert len(reads(again)) == 80  # what was seen couldn't be saved
    final = make_table(80)
    decode_table(final, 32, quota)
    assert reads(final) == []


_LIMITED = """
import resource, signal, sys, warnings
import numpy as np
from pathlib import Path
from autotl.data import read_dataset
from autotl.reuse.pixels import decode_table
from autotl.reuse.quota import DiskQuota
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
table = read_dataset(sys.argv[1])
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    _, store = decode_table(table, 32, DiskQuota(Path(sys.argv[2]), 10**9))
    samples = np.arange(len(store.rows))
    found = store.view(samples)[samples]
assert [str(one.message).count("File too large") for one in told] == [1], told
sys.stdout.buffer.write(found.tobytes())
"""


@pytest.fixture
def folder(tmp_path: Path, pictures: NDArray[np.uint8]) -> Path:
    """The pictures as files; larger ones, so that decoding them takes a while."""
    for i, picture in enumerate(pictures):
        place = tmp_path / "data" / "abc"[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).resize((400, 300)).save(place / f"{i}.jpg", quality=95)
    return tmp_path / "data"


def expected_of(folder: Path) -> NDArray[np.uint8]:
    table = read_dataset(folder)
    return np.stack([to_pixels(table.read(i, min_size=32), 32) for i in range(len(table))])


def test_a_limit_on_file_sizes_is_no_error(folder: Path, quota: DiskQuota) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(folder), str(quota.folder)],
        capture_output=True,
        check=True,
    )
    expected = expected_of(folder)
    assert ended.stdout == expected.tobytes()
    _, store = decode_table(read_dataset(folder), 32, quota)
    assert np.array_equal(everything(store), expected)


_DECODER = """
import sys, time
import numpy as np
from pathlib import Path
from autotl.data import read_dataset
from autotl.data.files import FileSource
from autotl.reuse import decoded
from autotl.reuse.pixels import decode_table
from autotl.reuse.quota import DiskQuota
slow_s, mark = float(sys.argv[3]), Path(sys.argv[4])
plain = FileSource.read
def read(self, index, min_size=None):
    time.sleep(slow_s)
    return plain(self, index, min_size)
FileSource.read = read
decoded._CHUNK, decoded._BLOCK = 8, 2
def told(done, n):
    if done >= 24:
        mark.touch()
_, store = decode_table(read_dataset(sys.argv[1]), 32, DiskQuota(Path(sys.argv[2]), 10**9), told)
samples = np.arange(len(store.rows))
sys.stdout.buffer.write(store.view(samples)[samples].tobytes())
"""


def decoder(folder: Path, quota: DiskQuota, slow_s: float, mark: Path) -> subprocess.Popen[bytes]:
    """A process that decodes the folder, pausing before every picture; marks when 24 are done."""
    arguments = [str(folder), str(quota.folder), str(slow_s), str(mark)]
    return subprocess.Popen([sys.executable, "-c", _DECODER, *arguments], stdout=subprocess.PIPE)


def test_a_killed_process_is_continued(
    folder: Path, quota: DiskQuota, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    process = decoder(folder, quota, 0.05, mark)
    while not mark.exists():
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    process.communicate()
    table = read_dataset(folder)
    watched = replace(table, source=Watched(table.source))
    _, store = decode_table(watched, 32, quota)
    assert np.array_equal(everything(store), expected_of(folder))
    assert len(reads(watched)) < 85
    assert store.original_sizes.tolist() == [[400, 300]] * 90


def test_two_processes_decode_the_same_at_once(
    folder: Path, quota: DiskQuota, tmp_path: Path
) -> None:
    processes = [decoder(folder, quota, 0.005, tmp_path / str(i)) for i in range(2)]
    expected = expected_of(folder)
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0
        assert output == expected.tobytes()
    table = read_dataset(folder)
    watched = replace(table, source=Watched(table.source))
    _, store = decode_table(watched, 32, quota)
    assert np.array_equal(everything(store), expected)
    assert reads(watched) == []


def test_files_are_decoded_at_a_reduced_scale(folder: Path, quota: DiskQuota) -> None:
    table = read_dataset(folder)
    watched = Watched(table.source)
    _, store = decode_table(replace(table, source=watched), 32, quota)
    assert watched.min_sizes == {32}
    quota.clear()
    assert np.array_equal(everything(pickle.loads(pickle.dumps(store))), expected_of(folder))


def test_pictures_of_wildly_mixed_sizes(tmp_path: Path, quota: DiskQuota) -> None:
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (20, 3000), (3000, 20), (1, 500), (2, 2), (64, 64), (63, 65), (7, 1000)]
    for i, shape in enumerate(shapes * 2):
        place = tmp_path / "data" / "ab"[i % 2] / f"{i}.{('png', 'jpg')[i >= len(shapes)]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(place)
    table = read_dataset(tmp_path / "data")
    readable, store = decode_table(table, 64, quota)
    assert len(readable) == 16
    found = everything(store)
    for i in range(16):
        assert np.array_equal(found[i], to_pixels(table.read(i, min_size=64), 64))
        height, width = shapes[int(Path(table.name(i)).stem) % 8]
        assert store.original_sizes[i].tolist() == [width, height]


def test_a_picture_that_changes_during_a_fit_is_named(folder: Path, tmp_path: Path) -> None:
    table = read_dataset(folder)
    _, store = decode_table(table, 32, DiskQuota(tmp_path / "x", 0))
    view = store.view(np.arange(90))
    Image.new("RGB", (400, 300), "red").save(folder / table.name(4))
    with pytest.raises(UnreadableImageError, match="has changed since") as error:
        view[np.arange(90)]
    assert table.name(4) in str(error.value)
    (folder / table.name(4)).unlink()
    with pytest.raises(UnreadableImageError, match="can't any more: no such file"):
        view[np.array([4])]


def test_an_array_of_the_right_size_is_used_as_it_is(
    pictures: NDArray[np.uint8], quota: DiskQuota
) -> None:
    table = read_dataset((pictures[:12], [0, 1] * 6))
    told: list[tuple[int, int]] = []
    chosen = table.take(np.array([5, 1, 8]))
    _, store = decode_table(chosen, 32, quota, lambda done, n: told.append((done, n)))
    view = store.view(np.array([2, 0]))
    assert np.shares_memory(view.source, pictures)
    assert view.n_rows == 12
    assert not quota.folder.exists()
    assert told[-1] == (3, 3)
    hidden = replace(chosen, source=Watched(chosen.source))
    _, decoded = decode_table(hidden, 32, quota)
    assert np.array_equal(everything(store), everything(decoded))
    for name in ("original_sizes", "is_grey", "digests"):
        assert np.array_equal(getattr(store, name), getattr(decoded, name))


@pytest.mark.parametrize("shape", [(12, 32, 32), (12, 32, 32, 1), (12, 32, 32, 4), (12, 32, 30, 3)])
def test_other_arrays_are_decoded(shape: tuple[int, ...], quota: DiskQuota) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    table = read_dataset((array, [0, 1] * 6))
    _, store = decode_table(table, 32, quota)
    assert quota.file(store.name).is_file()
    for i, found in enumerate(everything(store)):
        assert np.array_equal(found, to_pixels(table.read(i), 32))


def test_progress_counts_up_to_all(make_table: MakeTable, quota: DiskQuota) -> None:
    told: list[tuple[int, int]] = []
    decode_table(make_table(), 32, quota, lambda done, n: told.append((done, n)))
    assert told[-1] == (12, 12)
    told.clear()
    decode_table(make_table(broken={3, 7}), 32, quota, lambda done, n: told.append((done, n)))
    assert told == []
    quota.clear()
    for _ in range(2):
        told.clear()
        decode_table(make_table(broken={3}), 32, quota, lambda done, n: told.append((done, n)))
        assert told == [(12, 12)]


def test_the_time_to_decode_is_kept_with_the_pictures(
    make_table: MakeTable, quota: DiskQuota, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_table(40, stop_at=20)

    def seconds() -> float:
        return float(len(reads(table)))  # a second per picture

    monkeypatch.setattr(decoded_module.time, "perf_counter", seconds)
    with pytest.raises(KeyboardInterrupt):
        decode_table(table, 32, quota)
    table = make_table(40)
    decode_table(table, 32, quota)
    assert len(reads(table)) < 40
    assert [entry.seconds for entry in quota.entries()] == [40.0]
    table = make_table(40)
    decode_table(table, 32, quota)
    assert [entry.seconds for entry in quota.entries()] == [40.0]


def test_any_other_exception_surfaces(make_table: MakeTable, quota: DiskQuota) -> None:
    class Bug(Exception):
        pass

    table = make_table()

    def fail(index: int, min_size: int | None = None) -> Image.Image:
        raise Bug

    table.source.read = fail  # type: ignore[method-assign]
    with pytest.raises(Bug):
        decode_table(table, 32, quota)


def test_view_numbers_its_rows_from_0(pictures: NDArray[np.uint8]) -> None:
    view = PixelView(pictures, np.array([7, 3, 20]))
    assert len(view) == 3
    assert np.array_equal(view[np.array([2, 0, 0])], pictures[[20, 7, 7]])
    assert view[np.array([], dtype=np.int64)].shape == (0, 32, 32, 3)


@pytest.mark.parametrize("outside", [3, -1, 89])
def test_view_reaches_nothing_outside_its_rows(outside: int, pictures: NDArray[np.uint8]) -> None:
    view = PixelView(pictures, np.array([7, 3, 20]))
    with pytest.raises(IndexError, match=r"\[0, 3\)"):
        view[np.array([0, outside])]


def test_what_is_read_from_a_view_doesnt_change_the_store(
    make_table: MakeTable,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    quota: DiskQuota,
) -> None:
    array = read_dataset((pictures.copy(), picture_labels))
    for table in (make_table(), array):
        _, store = decode_table(table, 32, quota)
        everything(store)[:] = 0
        assert np.array_equal(everything(store), pictures[: len(table)])


def _read_elsewhere(views: PixelViews, sizes: tuple[int, ...]) -> list[bytes]:
    return [views(size)[np.arange(2)].tobytes() for size in sizes]


@pytest.mark.parametrize("stored", ["all", "none", "deleted"])
def test_views_work_in_another_process(stored: str, folder: Path, quota: DiskQuota) -> None:
    table = read_dataset(folder)
    place = quota if stored != "none" else DiskQuota(quota.folder, 0)
    stores = {size: decode_table(table, size, place)[1] for size in (16, 64)}
    views = PixelViews(stores, np.array([4, 9]))
    assert len(pickle.dumps(views)) < 90 * 64 * 64
    if stored == "deleted":
        quota.clear()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_read_elsewhere, (views, (16, 64)))
    assert found == [views(size)[np.arange(2)].tobytes() for size in (16, 64)]
    assert views(16).image_size == 16
    assert views(64).n_rows == 90


class Unsendable:
    """A data set of pictures that can't be pickled."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self.items = [(Image.fromarray(picture), i % 2) for i, picture in enumerate(pictures)]
        self.transform = lambda picture: picture

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        picture, label = self.items[index]
        return self.transform(picture), label


def test_a_data_set_that_can_not_be_sent_stays_here(
    pictures: NDArray[np.uint8], quota: DiskQuota
) -> None:
    _, store = decode_table(read_dataset(Unsendable(pictures[:12])), 32, quota)
    sent = pickle.dumps(store)
    received: PixelStore = pickle.loads(sent)
    assert np.array_equal(everything(received), pictures[:12])
    quota.clear()
    with pytest.raises(AutotlError, match="workers=1"):
        everything(pickle.loads(sent))


def test_a_large_data_set_in_memory_stays_here_if_all_is_stored(
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    quota: DiskQuota,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = read_dataset((pictures, picture_labels))
    _, store = decode_table(table, 16, quota)
    assert len(pickle.dumps(store)) > pictures.nbytes
    monkeypatch.setattr(decoded_module, "MAX_SENT_BYTES", 10_000)
    sent = pickle.dumps(store)
    assert len(sent) < 20_000
    assert np.array_equal(everything(pickle.loads(sent)), everything(store))
    quota.clear()
    _, streamed = decode_table(table, 16, DiskQuota(quota.folder, 0))
    assert len(pickle.dumps(streamed)) > pictures.nbytes


def test_a_digest_that_ends_with_zeros_is_no_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotl.reuse.seen.digest", lambda _: b"fourteen bytes\0\0")
    monkeypatch.setattr("autotl.reuse.decoded.digest", lambda _: b"fourteen bytes\0\0")
    _, store = decode_table(read_dataset(folder), 32, DiskQuota(tmp_path / "x", 0))
    assert len(store.view(np.arange(90))[np.arange(90)]) == 90
