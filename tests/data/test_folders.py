"""Image folders: classes, parts, what is passed over and what is an error."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from autotl.data import Part, read_dataset
from autotl.errors import InputError, UnreadableImageError


def test_class_per_folder(folder: Path) -> None:
    table = read_dataset(folder)
    assert len(table) == 6
    assert table.class_names == ("cat", "dog")
    assert table.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert table.parts is None
    assert table.groups is None
    assert table.name(4) == "dog/1.png"
    assert table.read(4).size == (9, 7)
    assert len(read_dataset(str(folder))) == 6


def test_nested_and_other_files(folder: Path, draw) -> None:
    draw("pets/cat/deep/er/a.JPG", seed=50)
    for name in ("meta.csv", "SOURCE.txt", "cat/.hidden.png", "cat/notes.md", ".DS_Store"):
        (folder / name).write_text("file,class\n")
    draw("pets/.cache/x/y.png")
    draw("pets/cat/.thumbnails/y.png")
    (folder / "empty class").mkdir()
    table = read_dataset(folder)
    assert len(table) == 7
    assert [table.name(i) for i in range(4)] == [
        "cat/0.png", "cat/1.png", "cat/2.png", "cat/deep/er/a.JPG"
    ]  # fmt: skip
    assert table.quarantine == ()


def test_files_that_only_look_like_pictures_wait_for_decoding(folder: Path) -> None:
    (folder / "cat" / "zero.png").write_bytes(b"")
    (folder / "cat" / "text.jpg").write_text("hello")
    assert len(read_dataset(folder)) == 8


@pytest.mark.parametrize("names", [("train", "val", "test"), ("TRAIN", "Validation", "Test"),
                                   ("Train", "valid", "test")])  # fmt: skip
def test_parts(tmp_path: Path, draw, names: tuple[str, ...]) -> None:
    for p, part in enumerate(names):
        for c in ("cat", "dog"):
            for i in range(2):
                draw(f"set/{part}/{c}/{i}.png", seed=100 * p + 10 * (c == "dog") + i)
    table = read_dataset(tmp_path / "set")
    assert table.class_names == ("cat", "dog")
    of_folder = dict(zip(names, (Part.TRAIN, Part.VALIDATION, Part.TEST), strict=True))
    for i in range(len(table)):
        assert table.parts[i] == of_folder[table.name(i).split("/")[0]]


def test_class_called_train_is_a_class(folder: Path, draw) -> None:
    for i in range(2):
        draw(f"pets/train/{i}.png", seed=70 + i)
    assert read_dataset(folder).class_names == ("cat", "dog", "train")


def test_parts_beside_other_folders(tmp_path: Path, draw) -> None:
    for part in ("train", "test", "extra"):
        draw(f"set/{part}/cat/1.png")
    with pytest.raises(InputError, match=r"extra.* don't"):
        read_dataset(tmp_path / "set")


def test_parts_without_train(tmp_path: Path, draw) -> None:
    draw("set/test/cat/1.png")
    with pytest.raises(InputError, match="no train folder"):
        read_dataset(tmp_path / "set")


def test_unlabelled_test_folder(tmp_path: Path, draw) -> None:
    for c in ("cat", "dog"):
        draw(f"set/train/{c}/1.png")
    draw("set/test/unknown.png")
    with pytest.raises(InputError, match=r"no class folder: test/unknown.png"):
        read_dataset(tmp_path / "set")


def test_group_by_parent(tmp_path: Path, draw) -> None:
    for name in ("cat/rex/1", "cat/rex/2", "cat/tom/1", "dog/rex/1", "dog/1", "dog/2"):
        draw(f"set/{name}.png")
    table = read_dataset(tmp_path / "set", group="parent")
    group = {table.name(i)[:-4]: int(table.groups[i]) for i in range(6)}
    assert group["cat/rex/1"] == group["cat/rex/2"] == group["dog/rex/1"]
    assert len(set(group.values())) == 4


def test_group_column_of_a_folder(folder: Path) -> None:
    with pytest.raises(InputError, match="CSV"):
        read_dataset(folder, group="patient")
    with pytest.raises(InputError, match=r"label='class' can't be used"):
        read_dataset(folder, label="class")


def test_numeric_names_sort_by_number(tmp_path: Path, draw) -> None:
    for name in ("10", "9", "2"):
        for i in range(2):
            draw(f"set/{name}/{i}.png")
    assert read_dataset(tmp_path / "set").class_names == ("2", "9", "10")
    for i in range(2):
        draw(f"set/b/{i}.png")
    assert read_dataset(tmp_path / "set").class_names == ("10", "2", "9", "b")


def test_unicode_and_spaces(tmp_path: Path, draw) -> None:
    for name in ("Émile Zola", "漢字", "a b"):
        for i in range(2):
            draw(f"sét ü/{name}/pic {i} ñ.png")
    table = read_dataset(tmp_path / "sét ü")
    assert set(table.class_names) == {"Émile Zola", "漢字", "a b"}
    assert table.read(0).mode == "RGB"


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path, draw) -> None:
    for part, form in (("train", "NFC"), ("test", "NFD")):
        for name in ("café", "thé"):
            for i in range(2):
                draw(f"set/{part}/{unicodedata.normalize(form, name)}/{i}.png")
    assert read_dataset(tmp_path / "set").class_names == ("café", "thé")


@pytest.mark.parametrize("other", ["Cat", " cat", "CAT "])
def test_names_that_differ_in_case_or_spaces(folder: Path, draw, other: str) -> None:
    for i in range(2):
        draw(f"pets/{other}/{i}.png")
    with pytest.raises(InputError, match="case or surrounding spaces") as caught:
        read_dataset(folder)
    assert repr(other) in str(caught.value)
    assert "'cat'" in str(caught.value)


class TestErrors:
    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no such file or folder: .*nowhere"):
            read_dataset(tmp_path / "nowhere")

    def test_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"holds no pictures \(no files\)"):
            read_dataset(tmp_path)

    def test_folder_of_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b.dcm").write_bytes(b"x")
        with pytest.raises(InputError, match=r"other files: \.dcm \(1\)"):
            read_dataset(tmp_path)

    def test_pictures_in_no_class_folder(self, tmp_path: Path, draw) -> None:
        for i in range(7):
            draw(f"set/{i}.png")
        with pytest.raises(InputError, match=r"7 pictures .* no class folder.*\(7 in all\)"):
            read_dataset(tmp_path / "set")

    def test_few_pictures_in_no_class_folder_are_left_out(self, folder: Path, draw) -> None:
        for i in range(10):
            draw(f"pets/cat/more{i}.png", seed=i + 30)
        draw("pets/overview.png")
        table = read_dataset(folder)
        assert [found.name for found in table.quarantine] == ["overview.png"]

    def test_one_class(self, folder: Path) -> None:
        shutil.rmtree(folder / "dog")
        with pytest.raises(InputError, match=r"at least 2 classes .* has 1: 'cat'"):
            read_dataset(folder)

    def test_class_with_one_picture(self, folder: Path, draw) -> None:
        draw("pets/emu/1.png")
        with pytest.raises(InputError, match=r"'emu' \(1 picture\).*add pictures or drop"):
            read_dataset(folder)

    def test_problems_are_listed_together(self, folder: Path, draw) -> None:
        draw("pets/emu/1.png")
        draw("pets/Dog/1.png")
        with pytest.raises(InputError, match="2 problems") as caught:
            read_dataset(folder)
        assert "'Dog' and 'dog'" in str(caught.value)
        assert "'emu'" in str(caught.value)

    def test_class_that_only_the_test_part_has(self, tmp_path: Path, draw) -> None:
        for part, name in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "c")):
            for i in range(2):
                draw(f"set/{part}/{name}/{i}.png")
        with pytest.raises(InputError, match=r"test part that the training part lacks: 'c'"):
            read_dataset(tmp_path / "set")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_and_loops_end(folder: Path, tmp_path: Path, draw) -> None:
    for i in range(2):
        draw(f"elsewhere/{i}.png", seed=80 + i)
    (folder / "emu").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "cat" / "loop").symlink_to(folder / "cat", target_is_directory=True)
    with pytest.raises(InputError, match=r"lead out .*: emu/0.png, emu/1.png.*trust_paths=True"):
        read_dataset(folder)
    table = read_dataset(folder, trust_paths=True)
    assert table.class_names == ("cat", "dog", "emu")
    assert len(table) == 8


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_within_the_folder_need_no_trust(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "again.png").symlink_to(folder / "dog" / "0.png")
    (folder / "cat" / "gone.png").symlink_to(folder / "dog" / "absent.png")
    (tmp_path / "other name").symlink_to(folder, target_is_directory=True)
    for place in (folder, tmp_path / "other name"):
        table = read_dataset(place)
        assert "cat/again.png" in {table.name(i) for i in range(len(table))}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.timeout(20)
def test_a_pipe_that_is_called_a_picture_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "cat" / "pipe.png")
    table = read_dataset(folder)
    (pipe,) = (i for i in range(len(table)) if table.name(i) == "cat/pipe.png")
    with pytest.raises(UnreadableImageError, match="not a regular file"):
        table.read(pipe)
