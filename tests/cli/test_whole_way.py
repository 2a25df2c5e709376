"""The command line on the real api, once: fit, look back, predict."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def autotl(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from autotl.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of two kinds: noisy red ones and noisy blue ones; and a broken one."""
    folder = tmp_path_factory.mktemp("data set")
    rng = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blé bleu")):
        (folder / name).mkdir()
        for i in range(30):
            pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module")
def fitted(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """An output folder, and what the fit said."""
    output = tmp_path_factory.mktemp("runs") / "out"
    done = autotl(
        *("fit", pictures, "--trials", 2, "--budget", 60, "--backbones", "embedded"),
        *("--strategies", "bottleneck", "--output", output, "--study-name", "one", "--json"),
    )
    return output, done


def test_fit_ends_with_one_line_of_json(fitted):
    output, done = fitted
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["strategy"] == "bottleneck"
    assert 0.5 < values["expected"]["low"] <= values["expected"]["value"] <= 1.0
    assert values["test"]["value"] > 0.8
    assert Path(values["report"]) == output / "one" / "report.html"
    assert Path(values["report"]).is_file()
    assert Path(values["model"]).is_dir()


def test_fit_tells_how_it_goes(fitted):
    lines = fitted[1].stderr
    assert "trying strategies" in lines
    assert "trial 0 bottleneck: " in lines
    assert "broken.png" in lines
    assert "autotl ui --output" in lines
    assert "Traceback" not in lines


def test_the_study_can_be_looked_at(fitted):
    output, _ = fitted
    listed = autotl("study", "list", "--output", output)
    assert any(line.startswith("one ") for line in listed.stdout.splitlines())
    shown = autotl("study", "show", "one", "--output", output)
    assert shown.returncode == 0, shown.stderr
    assert f"report   {output}/one/report.html" in shown.stdout
    assert "decided  bottleneck: accuracy" in shown.stdout


def test_the_model_predicts_in_a_new_process(fitted, pictures, tmp_path):
    output, _ = fitted
    target = tmp_path / "out.csv"
    done = autotl("predict", output / "one" / "model", pictures, "--csv", target, "--proba")
    assert done.returncode == 1  # one picture is broken
    assert f"{pictures}/red/broken.png: " in done.stderr
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    right = [Path(row["path"]).parent.name == row["class"] for row in rows]
    assert sum(right) >= 58
    assert float(rows[0]["red"]) + float(rows[0]["blé bleu"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_study_name_is_not_used_twice(fitted, pictures):
    output, _ = fitted
    done = autotl("fit", pictures, "--output", output, "--study-name", "one")
    assert done.returncode == 2
    assert "study 'one' exists" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_pictures_leaves_nothing_behind(tmp_path):
    (tmp_path / "empty").mkdir()
    done = autotl("fit", tmp_path / "empty", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
