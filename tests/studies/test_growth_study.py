from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import expit

from autotl.recommend.growth import KNOWN, Rise
from studies.growth.estimate import estimate, honesty, left_out, read, table_of


def outcome(dataset: str, rise: float, n_folds: int, seed: int) -> dict[str, object]:
    """A data set on which the logit rises so, as its curve says."""
    n, n_train = 300, 300 * (1 - 1 / n_folds)

    def logit_at(size: float) -> float:
        return 0.5 + rise * float(np.log10(size / 300))

    sizes = np.geomspace(20, 2 * n_train, 33)
    rng = np.random.default_rng(seed)
    return {
        "dataset": dataset,
        "n": n,
        "n_folds": n_folds,
        "n_train": n_train,
        "n_validated": n,
        "n_test": 1000,
        "design_effect": 1.0,
        "validated": rng.binomial(n, expit(logit_at(n_train))) / n,
        "fold_test": float(expit(logit_at(n_train))),
        "test": float(expit(logit_at(n))),
        "curve_n": [20, 40, 160],
        "curve_accuracy": [0.0, 0.0, 0.0],
        "curve_fitted": [[float(s), float(expit(logit_at(s))), 0.0, 1.0] for s in sizes],
    }


RISES = {"a": 0.4, "b": 0.9, "c": 1.3, "d": 2.0}
ROWS = [outcome(name, rise, 2, k) for name, rise in RISES.items() for k in range(40)]


def test_the_rise_that_made_the_scores_is_found() -> None:
    found = estimate(table_of(ROWS))
    assert found.mean == pytest.approx(np.mean(list(RISES.values())), abs=0.01)
    assert found.share == pytest.approx(1.0, abs=0.02)
    assert found.offset == pytest.approx(0.0, abs=0.02)
    assert found.left < 0.02


def test_what_was_validated_is_too_low_and_the_expectation_is_right() -> None:
    frame = table_of(ROWS)
    others = left_out(frame)
    before, after = honesty(frame, dict.fromkeys(others)), honesty(frame, others)
    assert before.bias < -5.0
    assert abs(after.bias) < 1.0
    assert before.covered < 0.8 < 0.9 < after.covered


def test_what_autotl_knows_is_what_was_measured() -> None:
    found = estimate(table_of(read()))
    assert asdict(KNOWN) == pytest.approx(asdict(found), abs=0.006)
    assert isinstance(KNOWN, Rise)
