"""Time and memory as the data grows: what the program measures, and what is read of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import autotl.candidates as candidates
import autotl.preparation as preparation
from autotl.backbones.speed import Speed
from autotl.backbones.zoo import open_backbone
from studies.reuse import growth


def test_the_program_measures_a_fit_on_the_folder(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
) -> None:
    embedded = open_backbone("embedded")
    speed = Speed("fp32", False, (0.0, *[1e-3] * embedded.num_stages), (4e-3,) * 9)
    monkeypatch.setattr(candidates, "measure_speed", lambda *_: speed)
    monkeypatch.setattr(preparation, "make_profile", lambda *_, **__: None)
    cache = tmp_path / "cache"
    monkeypatch.setattr(sys, "argv", ["-c", str(folder), str(cache), "0.0"])
    exec(growth._PROGRAM, {})
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not list(cache.rglob("*.*"))  # as much as it may hold
    assert found["feature_bytes"] == 72 * embedded.num_features * 4  # a fifth is locked
    assert found["accuracy"] > 0.6
    assert found["peak_bytes"] > 10**8
    assert min(found["analyse_s"], found["features_s"], found["fit_s"]) > 0


def test_the_last_line_of_a_process_of_its_own_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> Any:
        assert command == [sys.executable, "-c", growth._PROGRAM, "data", "cache", "0.5"]
        assert options["check"]
        return subprocess.CompletedProcess(command, 0, 'a warning\n{"fit_s": 2.0}\n')

    monkeypatch.setattr(subprocess, "run", run)
    assert growth.measure(Path("data"), Path("cache"), 0.5) == {"fit_s": 2.0}
