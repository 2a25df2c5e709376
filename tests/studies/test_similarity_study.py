"""What the analyzer's figures foretell: on tables whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from autotl.analysis import foretold as told
from autotl.backbones.zoo import EMBEDDED
from studies.outcomes import table
from studies.outcomes.tasks import IMAGENET
from studies.similarity import figures, foretold, plots, policies, truth
from studies.similarity.foretold import correlation
from studies.similarity.policies import POLICIES, by_evidence, learned, regrets

DATASETS = [f"set{i}" for i in range(8)]
ARMS = [
    (EMBEDDED, "bottleneck", "last_4-svm"),
    (IMAGENET, "bottleneck", "last_4-svm"),
    (EMBEDDED, "finetune", "full-1e-3"),
    (IMAGENET, "finetune", "full-1e-3"),
    (EMBEDDED, "scratch", "whole"),
]


@pytest.fixture
def measured() -> pd.DataFrame:
    """Half of the sets lie near to ImageNet, half far."""
    rows = [
        {
            "dataset": dataset,
            "n_train": n,
            "backbone": backbone,
            "n_samples": float(n),
            "distance": float(i % 2) if backbone == IMAGENET else 0.5,
            **dict.fromkeys(("ridge_accuracy", "linear_accuracy", "k_nn_accuracy", "log_me"), 0.7),
        }
        for i, dataset in enumerate(DATASETS)
        for n in (100, 1000)
        for backbone in (EMBEDDED, IMAGENET)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def found() -> pd.DataFrame:
    """Near sets are best by ImageNet's SVM, far ones from scratch."""
    rows = []
    for i, dataset in enumerate(DATASETS):
        for n in (100, 1000):
            for backbone, strategy, name in ARMS:
                far = i % 2
                score = 0.6
                if backbone == EMBEDDED:
                    score = 0.7 if far else 0.3
                if strategy == "scratch":
                    score = 0.8 if far else 0.4
                if (backbone, strategy) == (IMAGENET, "bottleneck"):
                    score = 0.4 if far else 0.8
                rows.append((dataset, n, backbone, strategy, name, score, score, 1.0, "{}"))
    columns = [*truth.TASK, *truth.ARM, "validation", "test", "seconds", "config"]
    return pd.DataFrame(rows, columns=columns)


def test_an_analysis_says_what_the_published_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, measured = table.read(table.FILE), figures.load()
    arms = truth.common_arms(truth.arms(rows))
    order = foretold.order_of_backbones(arms, measured, resamples=1)
    n = order.pop("n_tasks")
    assert n == told.N_ORDERED
    right = {name: round(n * value["right"]) for name, value in order.items()}
    del right["ridge_accuracy"]  # by the study's own folds
    assert right == told.N_RIGHT
    for backbone, words, name in (
        (IMAGENET, told.OF_SIMILARITY, "distance"),
        (EMBEDDED, told.OF_SIMILARITY, "distance"),
        (IMAGENET, told.OF_SIZE, "samples_per_class"),
        (EMBEDDED, told.OF_SIZE, "samples_per_class"),
    ):
        gain = truth.benefit(arms, backbone)
        own = measured[measured["backbone"] == backbone].set_index(truth.TASK).loc[gain.index]
        datasets = gain.index.get_level_values("dataset").to_numpy()
        found = correlation(own[name], gain, datasets, resamples=1)
        assert f"{found['tau']:.2f} [" in words
    bet = "backbone by linear accuracy, its best elsewhere"
    monkeypatch.setattr(policies, "POLICIES", {bet: POLICIES[bet]})
    assert f"{regrets(arms, measured)[bet].mean():.2f} points" in told.OF_BEST_BET


def test_benefit_is_the_lead_over_scratch_in_points(found: pd.DataFrame) -> None:
    gain = truth.benefit(found, IMAGENET)
    assert gain["set0", 100] == pytest.approx(40.0)
    assert gain["set1", 100] == pytest.approx(-20.0)


def test_benefit_is_that_of_what_validation_chose(found: pd.DataFrame) -> None:
    chosen = (found["strategy"] == "finetune") & (found["backbone"] == IMAGENET)
    found.loc[chosen, "validation"] = 1.0
    assert truth.benefit(found, IMAGENET)["set0", 100] == pytest.approx(20.0)


def test_tasks_that_lack_an_arm_are_left_out(found: pd.DataFrame) -> None:
    kept = truth.common_arms(found.drop(index=0))
    assert ("set0", 100) not in set(map(tuple, kept[truth.TASK].to_numpy()))
    assert len(kept) == len(found) - len(ARMS)


def test_the_learned_rule_finds_what_decides_on_other_sets(
    found: pd.DataFrame, measured: pd.DataFrame
) -> None:
    policy = learned(("log_n", "distance"))
    for i, dataset in enumerate(DATASETS):
        others = found[found["dataset"] != dataset]
        arm = policy(others, measured, dataset, 100)
        assert arm == (ARMS[4] if i % 2 else ARMS[1])


def test_regret_is_measured_from_the_best_arm(found: pd.DataFrame, measured: pd.DataFrame) -> None:
    lost = regrets(found, measured)
    assert list(lost.columns) == list(POLICIES)
    assert lost["analyzer: size, similarity"].max() == 0.0
    assert lost.loc[("set1", 100), "always SVM (ImageNet)"] == pytest.approx(40.0)
    assert lost.loc[("set0", 100), "always SVM (ImageNet)"] == 0.0
    np.testing.assert_allclose(lost.loc["set0", "always fine-tune all (embedded)"], 50.0)
    np.testing.assert_allclose(lost.loc["set1", "always fine-tune all (embedded)"], 10.0)
    # few samples: the SVM, else fine-tuning
    assert lost.loc[("set1", 100), "size rule (ImageNet)"] == pytest.approx(40.0)
    assert lost.loc[("set1", 1000), "size rule (ImageNet)"] == pytest.approx(20.0)


def test_evidence_chooses_the_backbone(found: pd.DataFrame, measured: pd.DataFrame) -> None:
    first = (measured["dataset"] == "set1") & (measured["backbone"] == EMBEDDED)
    measured.loc[first, "log_me"] = 0.8
    others = found[found["dataset"] != "set1"]
    assert by_evidence("log_me")(others, measured, "set1", 100)[0] == EMBEDDED
    measured.loc[first, "log_me"] = 0.6
    assert by_evidence("log_me")(others, measured, "set1", 100)[0] == IMAGENET


def test_nothing_of_a_set_decides_on_it(found: pd.DataFrame, measured: pd.DataFrame) -> None:
    before = regrets(found, measured)
    changed = found.copy()
    own = changed["dataset"] == "set0"
    changed.loc[own, "validation"] = 0.0
    pd.testing.assert_frame_equal(before, regrets(changed, measured))


def test_correlation_has_an_interval_over_data_sets() -> None:
    x = pd.Series(np.arange(24.0))
    datasets = np.repeat(np.arange(8), 3).astype(str)
    found = correlation(x, x * 2, datasets, resamples=50)
    assert found["tau"] == 1.0
    noise = pd.Series(np.random.default_rng(0).random(24))
    found = correlation(x, noise, datasets, resamples=200)
    assert found["low"] < 0 < found["high"]
    assert correlation(x * 0, x, datasets)["tau"] is None


def test_the_better_backbone_is_named(found: pd.DataFrame, measured: pd.DataFrame) -> None:
    """ImageNet's best leads by 20 points on half of the sets and loses by 10 on the others."""
    for score in foretold.figures.SCORES:
        measured[score] = 0.5
    for i, dataset in enumerate(DATASETS):
        own = (measured["dataset"] == dataset) & (measured["backbone"] == EMBEDDED)
        measured.loc[own, "log_me"] = 0.9 + i / 100 if i % 2 else 0.1 + i / 100
    order = foretold.order_of_backbones(found, measured, 50)
    assert order["n_tasks"] == 16
    assert order["log_me"]["right"] == 1.0
    assert order["log_me"]["lead"]["tau"] > 0.5
    assert order["linear_accuracy"]["right"] == 0.0
    assert order["linear_accuracy"]["lead"]["tau"] is None
    # near sets are at distance 0 from ImageNet, far ones at 1, all at 0.5 from the other
    assert order["distance"]["right"] == 1.0


def test_pictures_show_what_is_known(
    found: pd.DataFrame, measured: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    add = Figure.add_subplot

    def noted(figure: Figure, *args: int) -> object:
        shown.append(args)
        return add(figure, *args)

    monkeypatch.setattr(Figure, "add_subplot", noted)
    gain = truth.benefit(found, EMBEDDED)
    own = measured[measured["backbone"] == EMBEDDED].set_index(truth.TASK).loc[gain.index]
    inputs = own[["distance", "log_me"]].assign(frechet=np.nan)
    plots._panels(gain, inputs, "title", tmp_path / "page.png")
    assert len(shown) == 2
    assert (tmp_path / "page.png").stat().st_size > 1_000
