"""The study of schedules: what is made once isn't made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.schedule import __main__ as schedule


def test_it_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[int, int]] = []

    def run(opened: object, n_epochs: int, seed: int) -> dict[str, float]:
        made.append((n_epochs, seed))
        return {"test": n_epochs / 100, "seconds": 1.0}

    monkeypatch.setattr(schedule, "_open", lambda name, cache: name)
    monkeypatch.setattr(schedule, "run", run)
    common = ["--datasets", "clothing10", "--work", str(tmp_path / "runs.jsonl")]
    schedule.main([*common, "--epochs", "8"])
    schedule.main([*common, "--epochs", "8", "16", "--seeds", "2"])
    assert made == [(8, 0), (16, 0), (8, 1), (16, 1)]
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == {"8": 0.08, "16": 0.16}
