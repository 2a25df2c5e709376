"""``autotl reference``: makes statistics beside the weights, and says what is wrong before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from autotl.analysis.reference import find_reference
from autotl.backbones.zoo import open_backbone
from autotl.cli import app

Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    """Runs the command in this process."""
    return lambda *arguments: CliRunner().invoke(app, ["reference", *map(str, arguments)])


@pytest.fixture
def images(tmp_path: Path, pictures: NDArray[np.uint8]) -> Path:
    """A folder of 120 pictures of three classes, one of them unreadable."""
    for i in range(120):
        folder = tmp_path / "source pictures" / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(pictures[i % 90], i // 90, axis=0)).save(folder / f"{i}.png")
    (tmp_path / "source pictures" / "a" / "0.png").write_bytes(b"x")
    return tmp_path / "source pictures"


@pytest.fixture
def weights(tmp_path: Path, weights_file: Path) -> Path:
    file = tmp_path / "tiny.safetensors"
    file.write_bytes(weights_file.read_bytes())
    return file


def test_it_is_made_beside_the_weights(call: Call, images: Path, weights: Path) -> None:
    result = call(f"resnet10t@{weights}", images, "--quiet", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert (values["n_samples"], values["n_classes"]) == (119, 3)
    assert values["source"] == "source pictures"
    assert Path(values["file"]) == weights.with_name("tiny.reference.safetensors")
    found, problem = find_reference(open_backbone(f"resnet10t@{weights}"))
    assert found is not None
    assert problem == ""
    assert "1 unreadable pictures are left out" in result.stderr


def test_elsewhere_it_says_how_it_is_used(
    call: Call, images: Path, weights: Path, tmp_path: Path
) -> None:
    file = tmp_path / "else.safetensors"
    result = call(f"resnet10t@{weights}", images, "--quiet", "--output", file)
    assert result.exit_code == 0, result.output
    assert file.is_file()
    assert "tiny.reference.safetensors" in result.stdout
    assert not weights.with_name("tiny.reference.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["resnet10t@W,embedded", "I"], "give one backbone"),
        (["auto", "I"], "give one backbone"),
        (["resnet81", "I"], "did you mean"),
        (["resnet10t@/absent.safetensors", "I"], "doesn't exist"),
        (["embedded", "/absent"], "no such file or folder"),
        (["embedded", "I", "--output", "a.npz"], "must end in .safetensors"),
        (["embedded", "I", "--output", "/absent/a.safetensors"], "no such folder"),
        (["embedded", "I", "--device", "tpu"], "tpu"),
        (["embedded", "I"], "aren't replaced; name another file with --output"),
        (["resnet10t@W", "FEW"], "at least 100 pictures, got 6"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], told: str, call: Call, images: Path, weights: Path, tmp_path: Path
) -> None:
    for i in range(6):
        folder = tmp_path / "few" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(folder / f"{i}.png")
    places = {"I": str(images), "FEW": str(tmp_path / "few")}
    given = [places.get(one, one).replace("@W", f"@{weights}") for one in arguments]
    result = call(*given, "--quiet")
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("output", [[], ["--output", "a.safetensors"]])
def test_a_closed_folder_is_told_before_anything_is_measured(
    output: list[str], call: Call, images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    result = call(f"resnet10t@{weights}", images, "--quiet", *output)
    assert result.exit_code == 2
    assert "closed to you; name another file with --output" in result.stderr.replace("\n", " ")
    assert "decoding" not in result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from autotl.cli import app\n"
        "try: app(['reference', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
