"""``autotl predict``: tables, CSV, and images that can't be read."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from autotl.cli.predict import image_paths
from autotl.errors import InputError


@pytest.fixture
def pictures(tmp_path):
    """A bright picture, a dark one below it, and a text."""
    folder = tmp_path / "new pictures"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (8, 8), "white").save(folder / "bright é.png")
    Image.new("L", (8, 8), 0).save(folder / "sub" / "dark.jpg")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


def test_a_line_for_each_picture(api, run, model, pictures):
    result = run("predict", model, pictures)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{pictures}/bright é.png\tcat\t1.0000",
        f"{pictures}/sub/dark.jpg\tdog\t1.0000",
    ]


def test_columns_of_probabilities_are_named(api, run, model, pictures):
    lines = run("predict", model, pictures, "--proba").stdout.splitlines()
    assert lines[0] == "path\tclass\tcat\tdog"
    assert lines[1] == f"{pictures}/bright é.png\tcat\t1.0000\t0.0000"


def test_brackets_in_a_path_are_no_markup(api, run, model, pictures, monkeypatch):
    (pictures / "bright é.png").rename(pictures / "[red]é.png")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "200")
    assert "[red]é.png" in run("predict", model, pictures).stdout


def test_csv_with_all_probabilities(api, run, model, pictures, tmp_path):
    target = tmp_path / "out.csv"
    result = run("predict", model, pictures, "--csv", target, "--proba")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    rows = list(csv.reader(target.open(encoding="utf-8", newline="")))
    assert rows[0] == ["path", "class", "cat", "dog"]
    assert rows[1] == [f"{pictures}/bright é.png", "cat", "1.000000", "0.000000"]
    assert len(rows) == 3
    assert not list(tmp_path.glob("*.tmp"))


def test_unreadable_pictures_are_named_and_passed_over(api, run, model, pictures):
    (pictures / "empty.png").touch()
    result = run("predict", model, pictures, pictures / "notes.txt")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "2 of 4 images can't be read" in result.stderr
    assert f"{pictures}/empty.png: the file is empty (0 bytes)" in result.stderr
    assert f"{pictures}/notes.txt: not a picture" in result.stderr


def test_only_unreadable_pictures(api, run, model, pictures):
    result = run("predict", model, pictures / "notes.txt")
    assert result.exit_code == 1
    assert result.stdout == ""


def test_many_pictures_go_in_batches(api, run, model, pictures, monkeypatch):
    monkeypatch.setattr("autotl.cli.predict.BATCH_SIZE", 2)
    monkeypatch.setattr("autotl.cli.predict.BATCH_PIXELS", 80)
    for i in range(5):
        Image.fromarray(np.full((4, 4), 50 * i, np.uint8)).save(pictures / f"{i}.png")
    result = run("predict", model, pictures)
    assert len(result.stdout.splitlines()) == 7


def test_a_path_named_twice_is_predicted_once(pictures):
    assert len(image_paths([str(pictures), str(pictures / "bright é.png")])) == 2


def test_missing_pictures_are_all_named(pictures):
    with pytest.raises(InputError, match=r"2 problems(.|\n)*nowhere(.|\n)*elsewhere is a URL"):
        image_paths(["nowhere", str(pictures), "s3://elsewhere"])


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(InputError, match="no pictures in the folder"):
        image_paths([str(tmp_path)])


def test_a_missing_model_is_named(api, run, pictures):
    result = run("predict", "nowhere", pictures)
    assert result.exit_code == 2
    assert "no such model folder: nowhere" in result.stderr
    assert not api.calls


def test_a_csv_in_a_missing_folder_is_refused_before_any_work(api, run, model, pictures, tmp_path):
    result = run("predict", model, pictures, "--csv", tmp_path / "no" / "out.csv")
    assert result.exit_code == 2
    assert "--csv: no such folder" in result.stderr
    assert not api.calls
