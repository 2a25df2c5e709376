"""What the tests of the search share: a study's spec, scripted strategies, an MLflow store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from search_helpers import (
    KNOWLEDGE,
    NAMES,
    Scripted,
    ScriptedConfig,
    drawn_arms,
    result_of,
)

import autotl.search.allocation as allocation_module
import autotl.search.study as study_module
from autotl.runtime import Deadline
from autotl.search.study import StudySpec
from autotl.strategies.base import Reporter, Task, TrialResult


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task()


@pytest.fixture
def make_spec(tmp_path: Path) -> Callable[..., StudySpec]:
    """Makes a study's spec, without a time limit unless one is given."""

    def make(**changes: Any) -> StudySpec:
        values: dict[str, Any] = {
            "name": "study",
            "storage": f"sqlite:///{tmp_path / 'optuna.db'}",
            "folder": tmp_path / "study",
            "strategies": NAMES,
            "seed": 0,
            "n_trials": 6,
            "deadline": Deadline(None),
        }
        return StudySpec(**values | changes)

    return make


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Scripted]]:
    """Puts scripted strategies in the place of the real ones; by default each reaches its x."""

    def put(**behaviours: Callable[..., TrialResult]) -> dict[str, Scripted]:
        def reach_x(config: ScriptedConfig, task: Task, reporter: Reporter) -> TrialResult:
            return result_of(task, config.x)

        found = {name: Scripted(name, behaviours.get(name, reach_x)) for name in NAMES}
        monkeypatch.setattr(study_module, "STRATEGIES", found)
        monkeypatch.setattr(allocation_module, "shipped", lambda: KNOWLEDGE)
        monkeypatch.setattr(study_module, "arms_of", lambda names, *_: drawn_arms(names))
        config = ScriptedConfig(backbone="embedded", x=0.5)
        monkeypatch.setattr(study_module, "config_of", lambda *_: config)
        monkeypatch.setattr(study_module, "params_of", lambda *_: {})
        return found

    return put


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for all tests of a session: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
