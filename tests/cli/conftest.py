"""A stand-in for the api, so that the command line is tested without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import autotl
from autotl.cli import app

SUMMARY: Mapping[str, Any] = {
    "strategy": "bottleneck",
    "config": {"bottleneck.head": "svm"},
    "metric": "accuracy",
    "expected": {"value": 0.91, "low": 0.88, "high": float("nan")},
    "test": None,
    "seconds": 12.5,
    "best_per_strategy": {"bottleneck": {"value": 0.91}},
    "report": "runs/a/report.html",
    "model": "runs/a/model",
}


class FakeRecommendation:
    """What the command line asks of a recommendation."""

    report_path = Path("runs/a b/report.html")
    model_path = Path("runs/a b/model")
    tracking_uri = "sqlite:///runs/mlflow.db"
    class_names = ("cat", "dog")
    model = SimpleNamespace(backbone=SimpleNamespace(image_size=64))

    def explain(self) -> str:
        """Some sentences, one of them longer than a terminal is wide."""
        return "Use the bottleneck strategy. " + "It is the best of all that were tried. " * 4

    def summary(self) -> Mapping[str, Any]:
        """What --json prints."""
        return SUMMARY

    def predict_proba(self, images: list[Any]) -> np.ndarray:
        """Bright pictures are cats."""
        means = np.array([np.asarray(image).mean() / 255 for image in images])
        return np.stack([means, 1 - means], axis=1).astype(np.float32)


class FakeApi:
    """Records the calls; tells the progress a short story."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.recommendation = FakeRecommendation()

    def fit(self, dataset: Any, **settings: Any) -> FakeRecommendation:
        """Record and pretend."""
        progress = settings.pop("progress")
        self.calls.append((dataset, settings))
        if self.error is not None:
            raise self.error
        progress.phase("search", 60.0)
        progress.note("the hub can't be reached")
        progress.trial_started(0, "bottleneck")
        progress.epoch(0, 0.5, 0.8)
        progress.trial_ended(0, "bottleneck", "complete", 0.91, 2.0)
        progress.trial_started(1, "scratch")
        progress.trial_ended(1, "scratch", "pruned", None, 3.0)
        return self.recommendation

    def analyze(self, dataset: Any, **settings: Any) -> FakeAnalysis:
        """Record and pretend."""
        del settings["progress"]
        self.calls.append((dataset, settings))
        if settings["html"] is not None:
            settings["html"].write_text("<!doctype html>")
        return FakeAnalysis()

    def load(self, folder: Path) -> FakeRecommendation:
        """Record and pretend."""
        self.calls.append((folder, {}))
        return self.recommendation


class FakeAnalysis:
    """What the command line asks of an analysis."""

    def __str__(self) -> str:
        return "120 images; bottleneck"

    def as_json(self) -> Mapping[str, Any]:
        """What --json prints."""
        return {"strategy": "bottleneck", "n_samples": 120}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """The stand-in, in the place of autotl's functions."""
    fake = FakeApi()
    for name in ("fit", "analyze", "load"):
        monkeypatch.setitem(autotl.__dict__, name, getattr(fake, name))
    return fake


@pytest.fixture
def run() -> Callable[..., Result]:
    """Runs ``autotl`` with arguments, in this process."""
    return lambda *arguments: CliRunner().invoke(app, [str(part) for part in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that exists; nothing reads it."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
