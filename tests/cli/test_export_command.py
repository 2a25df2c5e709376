"""``autotl export``: a file, what it says about it, and wrong input."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from autotl.errors import InputError
from autotl.export.files import ExportedModel


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@pytest.fixture
def calls(api, monkeypatch):
    """Calls of ``Recommendation.export``: path, format, images."""
    made = []

    def export(path, format, *, images):
        made.append((path, format, images))
        return ExportedModel(path, format, 1_500_000, 32, 2e-7)

    monkeypatch.setattr(api.recommendation, "export", export, raising=False)
    return made


def test_the_file_is_named_with_its_check(calls, run, model, tmp_path):
    target = tmp_path / "out.onnx"
    result = run("export", model, "--output", target)
    assert result.exit_code == 0, result.output
    assert calls == [(target, "onnx", None)]
    said = " ".join(result.stdout.split())
    assert f"{target}: 1.5 MB; on 32 pictures the same labels, probabilities within 2e-07" in said


def test_formats_have_their_endings(calls, run, model):
    run("export", model)
    run("export", model, "--format", "torch")
    assert [str(path) for path, _, _ in calls] == ["model.onnx", "model.pt2"]


def test_json_and_pictures_of_one_s_own(calls, run, model, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    result = run("export", model, "--images", folder, "--json")
    assert calls[0][2] == [str(folder / "a.png")]
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["n_pictures"] == 32
    assert last["largest_difference"] == 2e-7


def test_wrong_input(api, run, model):
    assert run("export", "nowhere").exit_code == 2
    result = run("export", model, "--format", "onx")
    assert result.exit_code == 2
    assert "did you mean 'onnx'" in result.stderr
    assert not api.calls


def test_a_missing_extra_is_one_line(api, run, model, monkeypatch):
    def export(*_, **__):
        raise InputError("ONNX needs the extra autotl[onnx]")

    monkeypatch.setattr(api.recommendation, "export", export, raising=False)
    result = run("export", model)
    assert result.exit_code == 2
    assert "autotl[onnx]" in result.stderr
    assert "Traceback" not in result.stderr
