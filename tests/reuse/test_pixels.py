"""Pictures are decoded once, as they are, and only the samples of a view can be reached."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autotl.data import ImageTable, read_dataset, to_pixels
from autotl.data.table import ImageSource
from autotl.errors import InputError, UnreadableImageError
from autotl.reuse.pixels import PixelView, PixelViews, decode_table


@dataclass
class Watched:
    """A source that counts what is read, and can't read some of it."""

    inner: ImageSource
    broken: Collection[int] = ()
    read_indices: list[int] = field(default_factory=list)
    stop_at: int | None = None

    def __len__(self) -> int:
        return len(self.inner)

    def name(self, index: int) -> str:
        return f"picture {index}"

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        self.read_indices.append(index)
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


def reads(table: ImageTable) -> list[int]:
    assert isinstance(table.source, Watched)
    return sorted(table.source.read_indices)


def test_stored_pixels_are_those_of_each_picture(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table()
    _, store = decode_table(table, 24, tmp_path)
    found = store.view(np.arange(12))[np.arange(12)]
    assert found.shape == (12, 24, 24, 3)
    assert found.dtype == np.uint8
    for sample in range(12):
        assert np.array_equal(found[sample], to_pixels(table.read(sample), 24))


def test_files_of_many_sizes_and_modes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"red/a.jpg": (300, 200, 3), "red/b.png": (9, 40), "blue/c.png": (5, 5, 4)}
    for name, shape in (shapes | {"blue/d.jpg": (64, 64)}).items():
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(file)
    table = read_dataset(tmp_path / "data")
    _, store = decode_table(table, 16, tmp_path / "store")
    everything = np.arange(len(table))
    for sample in everything:
        expected = to_pixels(table.read(sample, min_size=16), 16)
        assert np.array_equal(store.view(everything)[np.array([sample])][0], expected)
    seen = {Path(table.name(i)).name: i for i in everything}
    sizes = {name: store.original_sizes[i].tolist() for name, i in seen.items()}
    assert sizes == {"a.jpg": [200, 300], "b.png": [40, 9], "c.png": [5, 5], "d.jpg": [64, 64]}
    grey = {name: bool(store.is_grey[i]) for name, i in seen.items()}
    assert grey == {"a.jpg": False, "b.png": True, "c.png": False, "d.jpg": True}


def test_equal_pixels_have_equal_digests(pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    shown = pictures[[0, 1, 0, 2, 2, 0]]
    _, store = decode_table(read_dataset((shown, [0, 1, 0, 1, 1, 0])), 32, tmp_path)
    _, kind = np.unique(store.digests, return_inverse=True)
    assert kind[0] == kind[2] == kind[5]
    assert kind[3] == kind[4]
    assert len(set(kind.tolist())) == 3


def test_unreadable_pictures_are_quarantined_with_their_reasons(
    make_table: MakeTable, tmp_path: Path
) -> None:
    table = make_table(broken={2, 7})
    readable, store = decode_table(table, 32, tmp_path)
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


def test_up_to_half_may_be_unreadable(make_table: MakeTable, tmp_path: Path) -> None:
    half, _ = decode_table(make_table(broken=range(6)), 32, tmp_path / "half")
    assert len(half) == 6
    with pytest.raises(InputError) as caught:
        decode_table(make_table(broken=range(7)), 32, tmp_path / "more")
    told = str(caught.value)
    assert "7 of 12 pictures can't be read" in told
    assert "picture 0: broken 0" in told


def test_second_time_nothing_is_decoded(make_table: MakeTable, tmp_path: Path) -> None:
    first = make_table(broken={3})
    first_table, first_store = decode_table(first, 32, tmp_path)
    assert reads(first) == list(range(12))
    second = make_table(broken={3})
    second_table, second_store = decode_table(second, 32, tmp_path)
    assert reads(second) == []
    assert second_table.quarantine == first_table.quarantine
    everything = np.arange(11)
    assert np.array_equal(
        first_store.view(everything)[everything], second_store.view(everything)[everything]
    )


def test_another_size_or_another_choice_of_samples_is_another_store(
    make_table: MakeTable, tmp_path: Path
) -> None:
    decode_table(make_table(), 32, tmp_path)
    other_size = make_table()
    _, store = decode_table(other_size, 16, tmp_path)
    assert len(reads(other_size)) == 12
    assert store.view(np.arange(1)).image_size == 16
    fewer = make_table().take(np.array([5, 1]))
    _, chosen = decode_table(fewer, 32, tmp_path)
    assert reads(fewer) == [1, 5]
    assert np.array_equal(chosen.view(np.arange(2))[np.array([0])][0], to_pixels(fewer.read(0), 32))


def test_other_pictures_are_never_mistaken_for_these(
    make_table: MakeTable, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    decode_table(make_table(), 32, tmp_path)
    others = read_dataset((pictures[20:32], make_table().labels))
    _, store = decode_table(others, 32, tmp_path)
    assert np.array_equal(store.view(np.arange(12))[np.arange(12)], pictures[20:32])


def test_interrupted_decoding_leaves_nothing_to_read(make_table: MakeTable, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        decode_table(make_table(stop_at=8), 32, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_not_used(
    make_table: MakeTable, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    _, store = decode_table(make_table(), 32, tmp_path)
    wrong = np.zeros((12, 32, 32, 3), dtype=np.uint8)
    for killed_after in ("part", "pixels"):
        store.file.with_suffix(".npz").unlink(missing_ok=True)
        store.file.unlink(missing_ok=True)
        left = store.file if killed_after == "pixels" else store.file.with_suffix(".1.part")
        with left.open("wb") as opened:
            np.save(opened, wrong)
        again = make_table()
        _, found = decode_table(again, 32, tmp_path)
        assert len(reads(again)) == 12
        assert np.array_equal(found.view(np.arange(12))[np.arange(12)], pictures[:12])


def test_lost_pixels_are_decoded_again(make_table: MakeTable, tmp_path: Path) -> None:
    _, store = decode_table(make_table(), 32, tmp_path)
    store.file.unlink()
    again = make_table()
    decode_table(again, 32, tmp_path)
    assert len(reads(again)) == 12


def test_progress_counts_up_to_all(make_table: MakeTable, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    decode_table(make_table(), 32, tmp_path, lambda done, n: told.append((done, n)))
    assert told[-1] == (12, 12)


def test_any_other_exception_surfaces(make_table: MakeTable, tmp_path: Path) -> None:
    class Bug(Exception):
        pass

    table = make_table()

    def fail(index: int, min_size: int | None = None) -> Image.Image:
        raise Bug

    table.source.read = fail  # type: ignore[method-assign]
    with pytest.raises(Bug):
        decode_table(table, 32, tmp_path)


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
    make_table: MakeTable, tmp_path: Path
) -> None:
    _, store = decode_table(make_table(), 32, tmp_path)
    view = store.view(np.arange(12))
    before = view[np.arange(12)]
    view[np.arange(12)][:] = 0
    assert np.array_equal(view[np.arange(12)], before)
    with pytest.raises(ValueError, match="read-only"):
        view.pixels[0] = 0


def test_views_at_several_sizes_are_small_to_send(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table()
    stores = {size: decode_table(table, size, tmp_path)[1] for size in (16, 32)}
    views = PixelViews(stores, np.array([4, 9]))
    sent = pickle.dumps(views)
    assert len(sent) < 12 * 16 * 16 * 3
    for received in (views, pickle.loads(sent)):  # noqa: S301
        assert received(16).image_size == 16
        assert np.array_equal(
            received(32)[np.arange(2)], stores[32].view(np.arange(12))[np.array([4, 9])]
        )
