"""Messages name what was wrong, the value received and what to do next."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from autotl.errors import (
    AutotlError,
    BackboneUnavailableError,
    DiskFullError,
    InputError,
    UnreadableImageError,
    is_disk_full,
    unknown,
)


@pytest.mark.parametrize("kind", [InputError, BackboneUnavailableError, UnreadableImageError])
def test_user_errors_are_ours_and_value_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, AutotlError)
    assert issubclass(kind, ValueError)


def test_one_problem_stands_alone() -> None:
    assert str(InputError.of(["no such column"])) == "no such column"


def test_several_problems_are_counted_and_listed() -> None:
    told = str(InputError.of(iter(["first", "second"])))
    assert told == "2 problems:\n  - first\n  - second"


def test_unknown_names_the_value_the_nearest_and_the_known() -> None:
    told = str(unknown("strategy", "finetun", ["scratch", "finetune", "bottleneck"]))
    assert "unknown strategy 'finetun'" in told
    assert "did you mean 'finetune'?" in told
    assert "(known: bottleneck, finetune, scratch)" in told


def test_unknown_suggests_nothing_where_nothing_is_near() -> None:
    told = str(unknown("strategy", "zzz", ["scratch"]))
    assert "did you mean" not in told
    assert "(known: scratch)" in told


def test_unknown_doesnt_list_hundreds_of_names() -> None:
    told = str(unknown("backbone", "resnet_18", [f"resnet{i}" for i in range(300)]))
    assert "'resnet18'" in told
    assert "known:" not in told
    assert len(told) < 200


def test_unknown_takes_any_value() -> None:
    assert "unknown metric 3" in str(unknown("metric", 3, ["accuracy"]))


def chained(cause: BaseException) -> BaseException | None:
    """An error that came of another one."""
    try:
        try:
            raise cause
        except BaseException as error:
            raise ValueError("of it") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "it"), True),
        (OSError(errno.EDQUOT, "it"), True),
        (OSError(errno.EACCES, "it"), False),
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("database is locked"), False),
        (DiskFullError("it"), True),
        (None, False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error: BaseException | None, expected: bool) -> None:
    assert is_disk_full(error) is expected
    if error is not None:
        assert is_disk_full(chained(error)) is expected
