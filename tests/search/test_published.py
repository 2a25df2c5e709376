"""What workers are told of a study, and what they are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import autotl.search.published as published_module
from autotl.errors import InputError
from autotl.runtime import Deadline
from autotl.search.published import PublishedStudy, close, wait_for_study
from autotl.search.storage import open_storage
from autotl.search.study import StudySpec, create_study

PUBLISHED = PublishedStudy(
    version="1",
    host="there",
    data="/data",
    test=None,
    folder="/runs/study",
    split="abc",
    config={"seed": 3},
    backbones={"embedded": "embedded"},
    device_type="cpu",
    profile={"n": 1},
    tracking_uri="sqlite:///mlflow.db",
    run_id="r",
)


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    own = open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    optuna.create_study(study_name="study", storage=own)
    return own


def test_a_study_is_read_as_it_was_published_until_it_is_closed(storage: Any) -> None:
    PUBLISHED.publish(storage, "study", Deadline(None))
    assert wait_for_study(storage, "study", 0.0, print) == PUBLISHED
    close(storage, "study")
    assert wait_for_study(storage, "study", 0.0, print) is None
    PUBLISHED.publish(storage, "study", Deadline(None))  # it goes on
    assert wait_for_study(storage, "study", 0.0, print) == PUBLISHED


def test_a_deadline_does_not_hang_on_equal_clocks(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit's clock is an hour behind the storage's, the worker's two hours ahead of it."""
    now = time.time()
    monkeypatch.setattr(published_module, "clock_ahead_s", lambda _: 3600.0)
    PUBLISHED.publish(storage, "study", Deadline(now + 60.0))
    found = wait_for_study(storage, "study", 0.0, print)
    assert found is not None
    monkeypatch.setattr(published_module, "clock_ahead_s", lambda _: -7200.0)
    at = found.deadline(storage).at
    assert at == pytest.approx(now + 60.0 + 3600.0 + 7200.0)


def test_a_study_that_is_not_there_is_waited_for(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(
        published_module.time, "sleep", lambda _: PUBLISHED.publish(storage, "study", Deadline(1.0))
    )
    assert wait_for_study(storage, "study", 5.0, notes.append) is not None
    assert notes == ["waiting for study 'study', at most 5 s"]
    with pytest.raises(InputError, match=r"no study 'other' .* \(known: study\); start `autotl"):
        wait_for_study(storage, "other", 0.0, notes.append)


def test_a_specification_of_another_make_is_refused(storage: Any) -> None:
    study_id = storage.get_study_id_from_name("study")
    storage.set_study_user_attr(study_id, "autotl.spec", {"version": "9.9"})
    with pytest.raises(InputError, match=r"run by autotl 9\.9"):
        wait_for_study(storage, "study", 0.0, print)


def test_a_name_in_a_shared_storage_is_taken(
    make_spec: Callable[..., StudySpec], make_profile: Callable[..., Any], tmp_path: Path
) -> None:
    spec, profile = make_spec(), make_profile()
    create_study(spec, profile)
    storage = open_storage(spec.storage)
    replace(PUBLISHED, folder=str(spec.folder)).publish(storage, spec.name, spec.deadline)
    with pytest.raises(InputError, match=f"that of a fit on 'there' in '{spec.folder}'"):
        create_study(spec, profile)
    other = replace(profile, fingerprint="e" * 64)
    with pytest.raises(InputError, match=r"about another data set \(ffffffff, not eeeeeeee\)"):
        create_study(replace(spec, is_resumed=True), other)
    create_study(replace(spec, is_resumed=True), profile)
