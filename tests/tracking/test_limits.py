"""What is made to fit is what MLflow takes: its own validation is asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.validation import (
    _validate_batch_log_data,
    _validate_batch_log_limits,
    _validate_metric,
    _validate_param,
    _validate_tag,
)

from autotl.tracking.limits import (
    MAX_NAME_CHARS,
    MAX_PARAM_CHARS,
    batches,
    finite,
    fitting_name,
    plain_text,
    shortened,
)

ANY_TEXT = st.text(st.characters(), max_size=400)


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT)
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    fit = fitting_name(name)
    assert len(fit) <= MAX_NAME_CHARS
    _validate_metric(fit, 1.0, 0, 0)
    _validate_param(fit, "x")
    _validate_tag(fit, "x")
    assert fitting_name(fit) == fit


@pytest.mark.parametrize("name", ["a", "validation_score", "environment.torch", "a b-c/d", "ünï"])
def test_names_that_fit_are_left_alone(name: str) -> None:
    assert fitting_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a", "a/", "a//b", "../a", "a/../b", "<b>", "x" * 251]
)
def test_names_that_do_not_fit(name: str) -> None:
    assert fitting_name(name) != name
    _validate_param(fitting_name(name), "x")


def test_different_names_stay_different() -> None:
    names = ["a<", "a>", "a_", "x" * 300, "x" * 301, "a/", "a//"]
    assert len({fitting_name(name) for name in names}) == len(names)


@given(ANY_TEXT)
def test_any_text_can_be_encoded(text: str) -> None:
    plain = plain_text(text)
    plain.encode("utf-8")
    assert "\0" not in plain


def test_shortened_text_shows_it() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_what_is_no_number(value: float) -> None:
    assert finite(value) is None


@pytest.mark.parametrize("value", [0.0, -1.5, 1.7e308, 3])
def test_what_is_a_number(value: float) -> None:
    assert finite(value) == value


@pytest.mark.parametrize(
    ("n_metrics", "n_params", "n_tags", "n_chars"),
    [
        (0, 0, 0, 1),
        (3, 2, 1, 5),
        (2500, 0, 0, 1),
        (0, 250, 130, 5),
        (900, 150, 150, MAX_PARAM_CHARS),
    ],
)
def test_batches_are_small_enough_and_complete(
    n_metrics: int, n_params: int, n_tags: int, n_chars: int
) -> None:
    metrics = [Metric(f"m{i}", float(i), 0, i) for i in range(n_metrics)]
    params = [Param(f"p{i}", "\U0001f600" * n_chars) for i in range(n_params)]
    tags = [RunTag(f"t{i}", "ü" * min(n_chars, 5000)) for i in range(n_tags)]
    found = list(batches(metrics, params, tags))
    for some in found:
        some_metrics, some_params, some_tags = some
        _validate_batch_log_limits(metrics=some_metrics, params=some_params, tags=some_tags)
        _validate_batch_log_data(metrics=some_metrics, params=some_params, tags=some_tags)
        size = sum(len(e.key) + len(str(e.value)) for entries in some for e in entries)
        assert size <= 100_000
    assert [m for some in found for m in some[0]] == metrics
    assert [p for some in found for p in some[1]] == params
    assert [t for some in found for t in some[2]] == tags
