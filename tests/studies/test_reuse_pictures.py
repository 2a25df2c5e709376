"""JPEG folders: the same for a seed, made once, completed when half made, never mixed up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from autotl.errors import InputError
from studies.reuse import pictures
from studies.reuse.pictures import as_jpeg, jpeg_folder, real_folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.glob("*/*")}


def test_folder_has_the_pictures_that_were_asked_for(tmp_path: Path) -> None:
    listed = ImageFolder(jpeg_folder(tmp_path / "a", 8, 24, 3, 0))
    assert len(listed.classes) == 3
    assert np.bincount(listed.targets).tolist() == [3, 3, 2]
    assert {image.size for image, _ in listed} == {(24, 24)}
    with Image.open(listed.samples[0][0]) as image:
        assert image.format == "JPEG"


def test_same_seed_same_files_and_another_seed_others(tmp_path: Path) -> None:
    first = contents(jpeg_folder(tmp_path / "a", 4, 24, 2, 0))
    assert len(set(first.values())) == 4
    assert contents(jpeg_folder(tmp_path / "b", 4, 24, 2, 0)) == first


def test_another_seed_draws_other_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_OPACITY", (1.0, 1.0))  # nothing shines through
    first = contents(jpeg_folder(tmp_path / "a", 4, 24, 2, 0))
    other = contents(jpeg_folder(tmp_path / "b", 4, 24, 2, 1))
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())


def test_a_picture_depends_on_its_class_and_number_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = contents(jpeg_folder(tmp_path / "few", 4, 24, 2, 0))
    monkeypatch.setattr(pictures, "_CHUNK", 1)
    many = contents(jpeg_folder(tmp_path / "many", 9, 24, 3, 0))
    assert {name: many[name] for name in few} == few


@pytest.mark.parametrize("again", [False, True])
def test_finished_folder_is_not_made_again_and_half_made_one_is_completed(
    tmp_path: Path, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jpeg_folder(tmp_path / "a", 4, 24, 2, 0)
    before = contents(folder)
    victim = sorted(folder.glob("*/*.jpg"))[1]
    victim.unlink()
    if again:  # as an interrupted making leaves it
        marker = folder / "made.json"
        marker.write_text(marker.read_text().replace("true", "false"))
    jpeg_folder(folder, 4, 24, 2, 0)
    assert victim.is_file() is again
    if again:
        assert contents(folder) == before


def test_interrupted_making_does_not_count_as_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = jpeg_folder(tmp_path / "a", 4, 24, 2, 0)
    write = pictures._write

    def fails(image: Image.Image, file: Path, quality: int) -> None:
        if file.parent.name.endswith("1"):
            raise KeyboardInterrupt
        write(image, file, quality)

    monkeypatch.setattr(pictures, "_write", fails)
    with pytest.raises(KeyboardInterrupt):
        as_jpeg(source, tmp_path / "b", 32)
    monkeypatch.undo()
    assert len(ImageFolder(as_jpeg(source, tmp_path / "b", 32))) == 4


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = jpeg_folder(tmp_path / "a", 4, 24, 2, 0)
    with pytest.raises(InputError, match="was made with"):
        jpeg_folder(folder, 5, 24, 2, 0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        jpeg_folder(tmp_path / "mine", 4, 24, 2, 0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda folder: jpeg_folder(folder, 4, 24, 1, 0), "n_classes"),
        (lambda folder: jpeg_folder(folder, 2, 24, 3, 0), "n must"),
        (lambda folder: jpeg_folder(folder, 4, 7, 2, 0), "side"),
        (lambda folder: jpeg_folder(folder, 4, 24, 2, -1), "seed"),
        (lambda folder: as_jpeg(folder, folder, 4), "side"),
        (lambda folder: as_jpeg(folder, folder / "b"), "no pictures"),
    ],
)
def test_arguments_out_of_range_are_refused(
    tmp_path: Path, make: Callable[[Path], Path], name: str
) -> None:
    with pytest.raises(InputError, match=name):
        make(tmp_path / "a")
    assert not list(tmp_path.rglob("*.jpg"))


def test_as_jpeg_enlarges_and_keeps_classes_and_aspect(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, size in (("a/1.png", (30, 20)), ("a/1.jpg", (20, 40)), ("b/deep/2.png", (10, 10))):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "red").save(source / name)
    (source / "a" / "notes.txt").write_text("x")
    (source / "meta.csv").write_text("x")
    target = as_jpeg(source, tmp_path / "target", 60)
    found = {str(f.relative_to(target)): Image.open(f) for f in target.rglob("*.jpg")}
    assert {name: image.size for name, image in found.items()} == {
        "a/1.png.jpg": (60, 40),
        "a/1.jpg": (30, 60),
        "b/deep/2.png.jpg": (60, 60),
    }
    assert {image.format for image in found.values()} == {"JPEG"}
    assert ImageFolder(target).classes == ["a", "b"]


def test_real_folder_is_there_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "DATA", tmp_path)
    (tmp_path / "cats").mkdir()
    assert real_folder("cats") == tmp_path / "cats"
    assert real_folder("dogs") is None
