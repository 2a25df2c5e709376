"""How stores are opened."""

from __future__ import annotations

import os

import pytest

from autotl.tracking.connection import load

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"


def test_mlflow_s_patience_is_cut_and_the_user_s_own_respected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(RETRIES, "5")
    monkeypatch.setenv(TIMEOUT, "120")  # so that what was there comes back
    monkeypatch.delenv(TIMEOUT)
    load("http://127.0.0.1:9")
    assert os.environ[RETRIES] == "5"
    assert os.environ[TIMEOUT] == "10"
