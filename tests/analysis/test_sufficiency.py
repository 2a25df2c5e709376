"""What is said of how far the samples go."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest

from autotl.analysis.analysis import analyse
from autotl.analysis.capacity import Capacity
from autotl.analysis.profile import DatasetProfile
from autotl.analysis.sufficiency import Sufficiency, measure_sufficiency

CAPACITY = Capacity((99, 300), (5000, 99), (5000, 3000, 2000))


def measured(n: int = 400) -> Sufficiency:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 4
    features = (rng.normal(size=(4, 20))[labels] + 2 * rng.normal(size=(n, 20))).astype(np.float32)
    rows = rng.permutation(n)
    return measure_sufficiency(
        "one", features, labels, rows[n // 4 :], rows[: n // 4], {"one": CAPACITY}
    )


def test_figures() -> None:
    found = measured()
    assert found.num_features == 20
    assert found.two_nn is not None
    assert found.levina_bickel is not None
    assert 5 < found.levina_bickel < 25
    assert found.learning_curve.n_train == 300
    assert found.capacity == {"one": CAPACITY}


def test_what_is_unknown_is_none_and_not_nan() -> None:
    found = measured(8)
    assert found.two_nn is None
    assert found.levina_bickel is None
    assert "NaN" not in json.dumps(asdict(found))


def test_features_that_are_not_finite_are_told() -> None:
    features = np.full((30, 3), np.inf, dtype=np.float32)
    rows = np.arange(30)
    found = measure_sufficiency("one", features, rows % 2, rows[:20], rows[20:], {})
    assert "finite" in found.learning_curve.reason
    assert found.two_nn is None


def test_copies_do_not_lower_the_dimension() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8)).astype(np.float32)
    copied = np.concatenate([features, features + np.float32(1e-3)])
    rows = np.arange(600)
    alone, with_copies, told = (
        measure_sufficiency("one", x, np.arange(len(x)) % 2, train, train[:50], {}, pictures=shown)
        for x, train, shown in (
            (features, rows[:300], None),
            (copied, rows, None),
            (copied, rows, rows % 300),
        )
    )
    assert alone.two_nn == told.two_nn
    assert with_copies.two_nn is not None
    assert with_copies.two_nn < 0.5 * told.two_nn


def test_the_analysis_tells_it(make_profile: Callable[..., DatasetProfile]) -> None:
    profile = make_profile("one", n_samples=1000, n_distinct=987)
    profile = replace(
        profile,
        size=replace(
            profile.size,
            side_quantiles=(20, 30, 40, 50, 60),
            aspect_quantiles=(0.5, 0.8, 1.0, 1.2, 2.0),
        ),
        sufficiency=measured(),
    )
    told = str(analyse(profile))
    assert "987 different pictures among the 1,000" in told
    assert "shorter side of 20 to 60 pixels" in told
    assert "0.50 to 2.00 times the height" in told
    assert "20 features of one spread on about" in told
    assert "twice as many labels" in told
    assert "with one: bottleneck 10, finetune 0.2, scratch 0.2" in told
    values = json.loads(json.dumps(analyse(profile).as_json()))
    assert values["profile"]["sufficiency"]["capacity"]["one"]["bottleneck"] == [99, 300]


@pytest.mark.parametrize("n_distinct", [None, 1000])
def test_nothing_is_said_where_all_pictures_differ(
    n_distinct: int | None, make_profile: Callable[..., DatasetProfile]
) -> None:
    told = str(analyse(make_profile(n_samples=1000, n_distinct=n_distinct)))
    assert "different pictures" not in told
