"""``autotl doctor``: lines for people, JSON, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotl import doctor
from autotl.doctor import Finding


@pytest.fixture
def shown(monkeypatch):
    """Sets the findings; gives the calls."""
    calls = []

    def show(*found):
        def examine(place, **settings):
            calls.append((place, settings))
            return iter(found)

        monkeypatch.setattr(doctor, "examine", examine)
        return calls

    return show


OK = Finding("disk", "ok", "5 GB free for [red]x")
NOTE = Finding("hub", "note", "no", "set HTTPS_PROXY")
MISSING = Finding("torch", "missing", "absent", "pip install torch")


def test_what_is_found_is_told(shown, run):
    calls = shown(OK, NOTE)
    result = run("doctor", "--output", "a b", "--storage", "sqlite:///x.db")
    assert result.exit_code == 0, result.output
    assert "disk: 5 GB free for [red]x" in result.stdout
    assert "-> set HTTPS_PROXY" in result.stdout
    assert "autotl can work here" in result.stdout
    assert calls == [(Path("a b"), {"tracking_uri": None, "storage": "sqlite:///x.db"})]


def test_something_missing_is_exit_code_1(shown, run):
    shown(OK, MISSING)
    result = run("doctor")
    assert result.exit_code == 1
    assert "-> pip install torch" in result.stdout
    assert "missing: torch" in result.stdout


def test_json_is_the_last_line(shown, run):
    shown(NOTE, MISSING)
    result = run("doctor", "--json")
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert json.loads(line) == {"ok": False, "findings": [NOTE.as_json(), MISSING.as_json()]}
