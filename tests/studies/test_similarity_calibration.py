"""The similarity's scale: the code has what the study makes, and the checks can fail."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisk

from autotl.analysis.similarity import CHANNELS, FRECHET, similarity_of
from autotl.backbones.zoo import EMBEDDED
from studies.similarity import calibration, figures, truth

DATASETS = [f"set{i}" for i in range(8)]


def test_the_code_has_what_the_study_makes() -> None:
    """If this fails: run ``python -m studies.similarity`` and put its scales into the code."""
    made = calibration.scales(figures.load())
    assert made == {"channels": CHANNELS, "frechet": FRECHET}


def test_a_scale_is_found_again() -> None:
    drawn = fisk.rvs(3.0, scale=0.4, size=4_000, random_state=0)
    scale = calibration.fit_scale(drawn)
    assert (scale.half, scale.shape) == pytest.approx((0.4, 3.0), rel=0.05)
    farther = (drawn[:, None] > [0.2, 0.4, 0.8]).mean(axis=0)
    told = [similarity_of(distance, scale) for distance in (0.2, 0.4, 0.8)]
    assert told == pytest.approx(farther.tolist(), abs=0.02)


def test_the_frechet_scale_takes_each_data_set_once_at_its_greatest_size() -> None:
    rows = [
        {"backbone": backbone, "dataset": dataset, "n_train": n, "frechet": value}
        for backbone, value in ((EMBEDDED, 0.7), ("other", None))
        for dataset in DATASETS
        for n in (100, 1000)
    ]
    table = pd.DataFrame(rows)
    table.loc[(table["n_train"] == 100) & (table["backbone"] == EMBEDDED), "frechet"] = 9.0
    found = calibration.frechet_distances(table)
    assert sorted(found.index) == DATASETS
    assert set(found) == {0.7}


def test_shares_are_even_where_the_distribution_is_right_and_not_where_it_is_not() -> None:
    rng = np.random.default_rng(0)
    right = pd.DataFrame({"a": fisk.rvs(2.0, scale=0.3, size=60, random_state=rng)})
    judged = calibration.left_out_shares(right)
    assert judged["gap"] < judged["critical"]
    assert judged["gain"] > 0
    two_heaps = pd.DataFrame({"a": np.r_[rng.uniform(0.1, 0.101, 50), rng.uniform(5, 5.01, 10)]})
    judged = calibration.left_out_shares(two_heaps)
    assert judged["gap"] > judged["critical"]


def test_a_kind_takes_no_part_in_its_own_share() -> None:
    known = pd.DataFrame({"a": np.r_[np.full(7, 0.3) + np.arange(7) / 100, 30.0]})
    shares = calibration.left_out_shares(known)["shares"]
    assert shares["7"][0] < 1e-6
    with_it = calibration.fit_scale(known.to_numpy().ravel())
    assert similarity_of(30.0, with_it) > 1e-4


def outcomes(gains: dict[tuple[str, int], float], n_test: int = 400) -> pd.DataFrame:
    """A table in which the network trained from scratch is right on half of the samples."""
    rows = []
    for (dataset, n_train), gain in gains.items():
        for strategy, share in (("scratch", 0.5), ("finetune", 0.5 + gain / 100)):
            for fold_share in (0.0, 1.0):  # two seeds; the mean of both has the share
                right = np.zeros(n_test, np.int8)
                right[: round(n_test * share)] = 2
                rows.append(
                    {
                        "dataset": dataset,
                        "n_train": n_train,
                        "backbone": EMBEDDED,
                        "strategy": strategy,
                        "name": "only",
                        "seed": int(fold_share),
                        "test": share,
                        "validation": share,
                        "seconds": 1.0,
                        "config": "{}",
                        "n_folds": 2,
                        "test_correct": right.tobytes(),
                    }
                )
    return pd.DataFrame(rows)


def test_a_gain_within_the_noise_is_not_won() -> None:
    gains = {("a", 100): 10.0, ("b", 100): 0.5, ("c", 100): 0.0, ("d", 100): -10.0}
    table = outcomes(gains)
    found = calibration.beyond_noise(table, truth.arms(table), EMBEDDED)
    assert found["gain"].tolist() == pytest.approx(list(gains.values()))
    assert found["won"].tolist() == [True, False, False, False]
    # of 400 answers 40 differ: the pairwise error, and not that of two separate samples (3.5)
    assert found.loc[("a", 100), "error"] == pytest.approx(100 * np.sqrt(0.1 * 0.9 / 399))


def by_task(values: dict[str, float]) -> pd.Series:
    index = pd.MultiIndex.from_product([list(values), [100, 1000]], names=truth.TASK)
    return pd.Series(np.repeat(list(values.values()), 2), index=index)


def test_a_distance_that_decides_is_found_to_help() -> None:
    far = {name: 0.1 * 2**i for i, name in enumerate(DATASETS)}
    won = {name: float(i < 4) for i, name in enumerate(DATASETS)}
    judged = calibration.chance_of_benefit(by_task(won), by_task(far))
    assert judged is not None
    assert judged["n_won"] == 8
    for loss in ("brier", "log_loss"):
        assert judged[loss]["model"] < judged[loss]["constant"]
        assert judged[loss]["high"] < 0
    assert judged["chances"]["set0-100"] > 0.8
    assert judged["chances"]["set7-1000"] < 0.2
    assert judged["won"]["set0-100"]
    assert not judged["won"]["set7-100"]


def test_a_distance_that_decides_nothing_is_not_found_to_help() -> None:
    far = {name: 0.1 * 2**i for i, name in enumerate(DATASETS)}
    won = {name: float(i % 2) for i, name in enumerate(DATASETS)}
    judged = calibration.chance_of_benefit(by_task(won), by_task(far))
    assert judged is not None
    assert judged["brier"]["high"] > 0


def test_a_data_set_takes_no_part_in_its_own_chance() -> None:
    far = {name: 0.1 * 2**i for i, name in enumerate(DATASETS)}
    won = {name: float(i < 4) for i, name in enumerate(DATASETS)}
    before = calibration.chance_of_benefit(by_task(won), by_task(far))
    after = calibration.chance_of_benefit(by_task({**won, "set2": 0.0}), by_task(far))
    assert before is not None
    assert after is not None
    assert before["chances"]["set2-100"] == after["chances"]["set2-100"]
    assert before["chances"]["set1-100"] != after["chances"]["set1-100"]


@pytest.mark.parametrize("won", [1.0, 0.0])
def test_nothing_is_told_where_everything_or_nothing_is_won(won: float) -> None:
    far = {name: 0.1 * 2**i for i, name in enumerate(DATASETS)}
    assert calibration.chance_of_benefit(by_task(dict.fromkeys(far, won)), by_task(far)) is None
