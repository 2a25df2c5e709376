"""What a fit keeps of its settings."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from autotl.config import FitConfig
from autotl.recording import settings_of


@pytest.mark.parametrize("name", ["storage", "tracking_uri"])
def test_no_password_is_kept(name: str) -> None:
    prepared: Any = SimpleNamespace(source="/pictures", test_source="", name="pictures")

    def kept(uri: str) -> Any:
        settings = settings_of(FitConfig(**{name: uri}), prepared, test=None, group=None)
        assert "secret" not in json.dumps(settings)
        return settings[name]

    assert kept("postgresql://db/optuna") == "postgresql://db/optuna"
    assert kept("postgresql://me:secret@db/optuna") is None
