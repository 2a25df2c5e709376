"""The estimate of what a search knows beforehand: it finds what made-up tables were drawn from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autotl.search.knowledge import DRAWN, Arm, Deviations, Knowledge
from studies.knowledge.__main__ import main
from studies.knowledge.estimate import _left_out_noise, arm_of, estimate, left_out_of

TRUE = Knowledge(
    means={
        "bottleneck/a": 0.0,
        "bottleneck/b": -0.5,
        "finetune/a": 1.0,
        f"finetune/{DRAWN}": 0.0,
        "scratch/a": 0.3,
        f"bottleneck/{DRAWN}": 0.0,  # no row is drawn from these two
        f"scratch/{DRAWN}": 0.0,
    },
    slopes={"bottleneck": -0.3, "finetune": 0.2, "scratch": 0.5},
    deviations={
        "bottleneck": Deviations(0.4, 0.1, 0.2, 0.1, 0.1, 0.1),
        "finetune": Deviations(0.4, 0.1, 0.2, 0.1, 0.1, 0.4),
        "scratch": Deviations(0.0, 0.1, 0.5, 0.1, 0.1, 0.1),
    },
    noise=1.0,
)
ROWS = [
    ("bottleneck", "a"),
    ("bottleneck", "b"),
    ("finetune", "a"),
    *[("finetune", f"sobol-{k}") for k in range(4)],
    ("scratch", "a"),
]


def made_up(n_datasets: int, seed: int = 0) -> pd.DataFrame:
    """A table whose test scores are drawn from the model."""
    rng = np.random.default_rng(seed)
    rows = []
    for dataset in range(n_datasets):
        for n_train in (100, 1000):
            named = [(s, n, b) for s, n in ROWS for b in ("one", "two")]
            arms = [arm_of(*own) for own in named]
            covariance = TRUE.covariance(arms)
            covariance -= 8.9  # the level of a data set needn't be drawn so far off
            logits = rng.multivariate_normal(TRUE.mean(arms, n_train), covariance)
            for (strategy, name, backbone), logit in zip(named, logits, strict=True):
                p = 1 / (1 + np.exp(-logit))
                rows.append(
                    {
                        "dataset": f"d{dataset}",
                        "n_train": n_train,
                        "backbone": backbone,
                        "strategy": strategy,
                        "name": name,
                        "seed": 0,
                        "state": "complete",
                        "n_test": 1_000_000,
                        "n_development": n_train,
                        "n_folds": 4,
                        "test": p,
                        "validation": rng.binomial(n_train, p) / n_train,
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def found() -> Knowledge:
    return estimate(made_up(16))


def test_means_are_found_beside_each_other(found: Knowledge) -> None:
    leads = {name: mean - found.means["bottleneck/a"] for name, mean in found.means.items()}
    for name in ("bottleneck/b", "finetune/a", f"finetune/{DRAWN}", "scratch/a"):
        assert leads[name] == pytest.approx(TRUE.means[name], abs=0.25), name


def test_slopes_are_found_beside_each_other(found: Knowledge) -> None:
    steeper = found.slopes["scratch"] - found.slopes["bottleneck"]
    assert steeper == pytest.approx(0.8, abs=0.3)


def test_deviations_are_found(found: Knowledge) -> None:
    own = found.deviations
    assert own["finetune"].features == pytest.approx(0.4, rel=0.35)
    assert own["bottleneck"].features == pytest.approx(0.4, rel=0.35)
    assert own["scratch"].features == 0.0
    assert own["finetune"].drawn == pytest.approx(0.4, rel=0.25)
    assert own["finetune"].arm < 0.3


@pytest.mark.slow
def test_what_one_backbone_never_ran_is_no_worse_for_it() -> None:
    """One backbone is better throughout; a recipe that only the other ran isn't blamed for that."""
    frame = made_up(12)
    better = (frame["backbone"] == "one") & (frame["strategy"] == "finetune")
    logits = np.log(frame["test"] / (1 - frame["test"])) + 0.8 * better
    frame = frame.assign(test=1 / (1 + np.exp(-logits)))
    frame = frame[~(better & frame["name"].str.startswith("sobol"))]
    found = estimate(frame)
    ahead = found.beyond["finetune/a/one"] - found.beyond["finetune/a/two"]
    assert ahead == pytest.approx(0.8, abs=0.35)
    arms = [Arm("finetune", recipe, "two") for recipe in ("a", DRAWN)]
    a, drawn = found.mean(arms, 316)
    assert a - drawn == pytest.approx(1.0, abs=0.25)


@pytest.mark.slow
def test_what_failed_to_learn_is_bad_however_bad() -> None:
    frame = made_up(8)
    failed = (frame["strategy"] == "scratch") & (frame["dataset"].isin(["d0", "d3"]))
    tests = [np.where(failed, guess, frame["test"]) for guess in (1e-3, 1e-5)]
    first, second = (estimate(frame.assign(test=test)) for test in tests)
    assert first.deviations["scratch"] == second.deviations["scratch"]


def test_the_noise_is_about_the_binomial_one(found: Knowledge) -> None:
    assert found.noise == pytest.approx(1.0, rel=0.3)
    assert found.shared_noise < 0.3


def test_noise_that_a_strategy_s_arms_share_is_told_from_their_own() -> None:
    frame = made_up(16)
    rng = np.random.default_rng(1)
    kinds = frame.groupby(["dataset", "n_train", "strategy", "backbone"]).ngroup()
    shift = rng.normal(0.0, 1.5, kinds.max() + 1)[kinds]
    n, p = frame["n_development"], frame["test"]
    off = frame["validation"] + shift * np.sqrt(p * (1 - p) / n)
    found = estimate(frame.assign(validation=np.clip(off, 0.0, 1.0)))
    assert found.shared_noise == pytest.approx(1.5**2, rel=0.5)
    assert found.noise == pytest.approx(1.0, rel=0.4)


def test_draws_of_a_strategy_without_any_are_like_its_recipes(found: Knowledge) -> None:
    assert found.means[f"scratch/{DRAWN}"] == pytest.approx(found.means["scratch/a"])


def test_further_seeds_are_not_evidence() -> None:
    frame = made_up(3)
    again = frame.assign(seed=1, test=0.01)
    assert estimate(pd.concat([frame, again])) == estimate(frame)


def test_a_sobol_point_is_drawn() -> None:
    assert arm_of("finetune", "sobol-3", "one") == Arm("finetune", DRAWN, "one")
    assert arm_of("finetune", "a", "one") == Arm("finetune", "a", "one")


def test_the_command_writes_what_the_search_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up(3).to_parquet(tmp_path / "table.parquet")
    main(["--table", str(tmp_path / "table.parquet"), "--to", str(tmp_path / "made.json")])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["tasks"] == 6
    assert Knowledge.from_json(json.loads((tmp_path / "made.json").read_text())).noise > 0


def test_the_noise_of_what_is_left_out_is_found_beside_its_offset() -> None:
    """Two backbones' accuracies, drawn with twice the binomial variance and shifted together."""
    rng = np.random.default_rng(0)
    rows, figures = [], []
    for k in range(400):
        common = {"dataset": f"d{k}", "n_train": 300, "n_development": 300, "n_folds": 3}
        shift = rng.normal(0, 0.8)
        for backbone in ("one", "two"):
            p = rng.uniform(0.4, 0.7)
            logit = np.log(p / (1 - p)) + shift + rng.normal(0, np.sqrt(2 / (200 * 0.25)))
            named = {"strategy": "bottleneck", "name": "last_4-svm", "backbone": backbone}
            rows.append({**common, **named, "test": p, "n_test": 10**6})
            told = {"backbone": backbone, "linear_accuracy": 1 / (1 + np.exp(-logit))}
            figures.append({**common, **told})
    frame, measured = pd.DataFrame(rows), pd.DataFrame(figures)
    assert _left_out_noise(frame, measured) == pytest.approx(2.0, rel=0.25)
    assert [e.n_samples for e in left_out_of("d0", 300, 200.0, measured)] == [200, 200]
    assert _left_out_noise(frame, measured[measured["backbone"] == "one"]) == np.inf
