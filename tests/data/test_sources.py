"""``read_dataset`` as a whole: test sets of any kind, fingerprints, pickling, the real sets."""

from __future__ import annotations

import os
import pickle
import shutil
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from autotl.data import ImageTable, Part, make_split, read_dataset, to_pixels
from autotl.errors import InputError, UnreadableImageError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def frame_of(table: ImageTable, root: Path) -> pd.DataFrame:
    names = [str(root / table.name(i)) for i in range(len(table))]
    return pd.DataFrame({"file": names, "label": [table.class_names[k] for k in table.labels]})


class TestTestSet:
    @pytest.fixture
    def test_folder(self, draw, tmp_path: Path) -> Path:
        for i in range(2):
            draw(f"held out/dog/{i}.png", seed=90 + i)
        return tmp_path / "held out"

    @pytest.mark.parametrize("kind", ["folder", "frame", "arrays", "items"])
    def test_any_kind(self, folder: Path, test_folder: Path, kind: str) -> None:
        images = [Image.open(test_folder / "dog" / f"{i}.png") for i in range(2)]
        given = {
            "folder": test_folder,
            "frame": pd.DataFrame(
                {"file": [str(test_folder / f"dog/{i}.png") for i in range(2)], "label": "dog"}
            ),
            "arrays": (np.stack([np.asarray(image) for image in images]), ["dog", "dog"]),
            "items": [(images[0], "dog"), (images[1], "dog")],
        }[kind]
        table = read_dataset(folder, test=given)
        assert len(table) == 8
        assert table.class_names == ("cat", "dog")
        assert table.parts.tolist() == [Part.UNASSIGNED] * 6 + [Part.TEST] * 2
        assert table.labels[6:].tolist() == [1, 1]
        for i in range(2):
            assert table.read(6 + i).tobytes() == images[i].tobytes()
        split = make_split(table.labels, table.groups, table.parts, seed=0)
        assert split.test.tolist() == [6, 7]

    def test_its_own_parts_do_not_matter(self, folder: Path, draw, tmp_path: Path) -> None:
        for part in ("train", "test"):
            for name in ("cat", "dog"):
                draw(f"more/{part}/{name}/1.png", seed=60)
        table = read_dataset(folder, test=tmp_path / "more")
        assert (table.parts[6:] == Part.TEST).all()
        assert len(table) == 10

    def test_two_test_sets(self, tmp_path: Path, draw, test_folder: Path) -> None:
        for part in ("train", "test"):
            for name in ("cat", "dog"):
                for i in range(2):
                    draw(f"more/{part}/{name}/{i}.png")
        with pytest.raises(InputError, match=r"test part already \(4 pictures\)"):
            read_dataset(tmp_path / "more", test=test_folder)

    def test_class_that_only_it_has(self, folder: Path, test_folder: Path, draw) -> None:
        draw("held out/emu/1.png")
        with pytest.raises(InputError, match=r"training part lacks: 'emu'"):
            read_dataset(folder, test=test_folder)

    def test_spelling_that_differs(self, folder: Path, draw, tmp_path: Path) -> None:
        draw("held out/Dog/1.png")
        with pytest.raises(InputError, match="'Dog' and 'dog'"):
            read_dataset(folder, test=tmp_path / "held out")

    def test_groups_are_shared_by_name(self, folder: Path, test_folder: Path) -> None:
        first = frame_of(read_dataset(folder), folder).assign(who=list("abcabc"))
        second = pd.DataFrame(
            {"file": [str(test_folder / f"dog/{i}.png") for i in range(2)], "label": "dog"}
        ).assign(who=["c", "z"])
        table = read_dataset(first, test=second, group="who")
        assert table.groups.tolist() == [0, 1, 2, 0, 1, 2, 2, 3]
        table = read_dataset(first, test=test_folder, group="who")
        assert table.groups.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]

    def test_one_training_picture_of_a_class(self, folder: Path, test_folder: Path) -> None:
        for i in range(2):
            (folder / "dog" / f"{i}.png").unlink()
        with pytest.raises(InputError, match=r"'dog' \(1 picture\)"):
            read_dataset(folder, test=test_folder)


class TestFingerprint:
    def test_place_does_not_matter(self, folder: Path, tmp_path: Path) -> None:
        moved = tmp_path / "other place"
        shutil.copytree(folder, moved)
        assert read_dataset(folder).fingerprint == read_dataset(moved).fingerprint

    def test_relative_and_absolute(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        absolute = read_dataset(folder).fingerprint
        monkeypatch.chdir(folder.parent)
        assert read_dataset(folder.name).fingerprint == absolute

    def test_every_part_of_it_matters(self, folder: Path, draw) -> None:
        table = read_dataset(folder)
        frame = frame_of(table, folder)
        found = [read_dataset(frame).fingerprint]
        assert found[0] == table.fingerprint
        found.append(read_dataset(frame.replace("dog", "doge")).fingerprint)
        found.append(read_dataset(frame.assign(label=list("abbabb"))).fingerprint)
        found.append(read_dataset(frame.assign(who=list("abcabc")), group="who").fingerprint)
        found.append(read_dataset(frame.assign(split=["train"] * 5 + ["test"])).fingerprint)
        draw("pets/dog/1.png", seed=12345)
        found.append(read_dataset(folder).fingerprint)
        (folder / "dog" / "2.png").write_bytes(b"")
        found.append(read_dataset(folder).fingerprint)
        assert len(set(found)) == len(found)

    def test_unreadable_files_do_not_stop_it(self, folder: Path) -> None:
        (folder / "cat" / "zero.png").write_bytes(b"")
        gone = folder / "cat" / "gone.png"
        gone.symlink_to(folder / "nowhere.png")
        table = read_dataset(folder)
        assert len(table.fingerprint) == 32
        names = [table.name(i) for i in range(len(table))]
        for name, reason in (("cat/zero.png", "empty"), ("cat/gone.png", "no such file")):
            with pytest.raises(UnreadableImageError, match=reason):
                table.read(names.index(name))

    def test_of_arrays(self) -> None:
        X = np.arange(200, dtype=np.uint8).reshape(8, 5, 5)
        y = [0, 1] * 4
        first = read_dataset((X, y)).fingerprint
        assert read_dataset((np.asfortranarray(X), y)).fingerprint == first
        X[0, 0, 0] += 1
        assert read_dataset((X, y)).fingerprint != first


def test_file_tables_pickle_small(folder: Path) -> None:
    table = read_dataset(folder)
    content = pickle.dumps(table)
    assert len(content) < 4000
    assert pickle.loads(content).read(5).tobytes() == table.read(5).tobytes()


def test_quarantine_keeps_the_rest_in_step(folder: Path) -> None:
    table = read_dataset(folder).without([(1, "truncated")])
    assert [table.name(i) for i in range(5)] == [
        "cat/0.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png"
    ]  # fmt: skip
    assert table.quarantine[0].name == "cat/1.png"


def test_several_threads_read(folder: Path) -> None:
    table = read_dataset(folder)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: table.read(i % 6).tobytes(), range(60)))
    assert all(read[i] == read[i % 6] for i in range(60))


def test_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert len(read_dataset("~/pets")) == 6


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_not_utf8(tmp_path: Path, draw) -> None:
    strange = os.fsdecode(b"caf\xe9")
    for name in (strange, "other"):
        for i in range(2):
            draw(f"set/{name}/{i}.png")
    try:
        table = read_dataset(tmp_path / "set")
    except OSError:
        pytest.skip("the file system refuses such names")
    assert unicodedata.normalize("NFC", strange) in table.class_names


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets aren't on this machine")
@pytest.mark.parametrize("name", ["bccd_cells3", "omniglot136", "weather4"])
def test_real_sets(name: str) -> None:
    table = read_dataset(SHARED / name)
    listed = read_dataset(SHARED / name / "meta.csv", image="file", label="class", group="group")
    assert table.class_names == listed.class_names
    assert len(table) == len(listed)
    split = make_split(listed.labels, listed.groups, listed.parts, seed=0)
    if listed.groups is not None:
        assert not set(listed.groups[split.test]) & set(listed.groups[split.development])
    assert set(listed.labels[split.test]) == set(range(listed.n_classes))
    assert abs(len(split.test) / len(listed) - 0.2) < 0.03
    for sample in range(0, len(table), 100):
        assert to_pixels(table.read(sample, 64), 64).shape == (64, 64, 3)
