"""The whole way, on 90 small pictures and a tiny backbone, so that a fit takes seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from PIL import Image

import autotl
import autotl.api as api
import autotl.candidates as candidates
import autotl.recording as recording
from autotl.backbones.speed import Speed
from autotl.errors import AutotlError, InputError
from autotl.preparation import LockedTest
from autotl.progress import Progress
from autotl.recommend.model import Recommendation
from autotl.search.records import TrialStore
from autotl.tracking.base import NullFitRun

NAMES = ("lying stripes", "blocks ü", "upright")
N_TRIALS = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, pictures: NDArray[np.uint8]) -> Path:
    """The pictures as an image folder."""
    folder = tmp_path_factory.mktemp("data") / "my stripes"
    for i, picture in enumerate(pictures):
        place = folder / NAMES[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{i}.png")
    return folder


SPEED = Speed("fp32", False, (0.0, *[0.002] * 5), (*[0.03] * 5, 0.01))
"""One that allows few epochs in a budget of 100 s."""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All fits of this module share an output folder, since a new MLflow store takes seconds."""
    return tmp_path_factory.mktemp("runs") / "out"


@pytest.fixture(scope="module", autouse=True)
def _speeds() -> Iterator[None]:
    """Speeds that allow few epochs in a budget of 100 s, the same in every fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "measure_speed", lambda *_: SPEED)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def fit(output: Path, weights_file: Path) -> Callable[..., Recommendation]:
    """``autotl.fit`` with the tiny backbone."""

    def run(dataset: Any, **settings: Any) -> Recommendation:
        values: dict[str, Any] = {
            "time_budget_s": 100.0,
            "n_trials": N_TRIALS,
            "backbones": [f"resnet10t@{weights_file}"],
            "device": "cpu",
            "output_dir": output,
            "warm_start": False,  # what a test finds doesn't depend on those before it
        }
        return autotl.fit(dataset, **values | settings)

    return run


@dataclass
class Fitted:
    """A fit, and in which order it decided, trained the final model and read the test set."""

    recommendation: Recommendation
    events: list[str]
    folder: Path


@pytest.fixture(scope="module")
def fitted(fit: Callable[..., Recommendation], data: Path, output: Path) -> Fitted:
    events: list[str] = []

    def spied(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            events.append(name)
            return function(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LockedTest, "pixels", spied("test pixels", LockedTest.pixels))
        labels = LockedTest.labels.fget  # type: ignore[attr-defined]
        patch.setattr(LockedTest, "labels", property(spied("test labels", labels)))
        patch.setattr(api, "search", spied("search", api.search))
        patch.setattr(api, "decide", spied("decide", api.decide))
        patch.setattr(api, "refit", spied("refit", api.refit))
        recommendation = fit(data, study_name="whole way")
    return Fitted(recommendation, events, output / "whole way")


def runs_of(recommendation: Recommendation, study: str) -> tuple[Run, list[Run]]:
    """The parent run of a study and its children."""
    client = MlflowClient(recommendation.tracking_uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    (parent,) = client.search_runs(experiments, f"run_name = '{study}'")
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return parent, list(client.search_runs(experiments, query))


def test_all_three_strategies_finish_trials_in_mlflow(fitted: Fitted) -> None:
    parent, runs = runs_of(fitted.recommendation, "whole way")
    children = [run for run in runs if run.data.tags["autotl.kind"] == "trial"]
    assert len(children) == N_TRIALS
    finished = [run for run in children if run.data.tags["state"] == "complete"]
    assert {run.data.params["strategy"] for run in finished} == {
        "bottleneck",
        "finetune",
        "scratch",
    }
    for run in finished:
        assert run.info.status == "FINISHED"
        assert 0 <= run.data.metrics["validation_accuracy"] <= 1
        assert run.data.metrics["seconds"] > 0
        assert run.data.metrics["peak_bytes"] > 0
        assert run.data.params["backbone"].startswith("resnet10t@")
    best = max(children, key=lambda run: run.data.metrics.get("validation_score", -1))
    score = parent.data.metrics["validation_score"]
    assert score <= best.data.metrics["validation_score"]


def test_the_best_are_run_again_with_other_seeds(fitted: Fitted) -> None:
    _, runs = runs_of(fitted.recommendation, "whole way")
    repeats = [run for run in runs if run.data.tags["autotl.kind"] == "repeat"]
    assert {run.data.params["seed"] for run in repeats} == {"1", "2"}
    decision = fitted.recommendation.decision
    assert decision is not None
    assert {run.data.tags["repeat_of"] for run in repeats} == set(map(str, decision.n_seeds))
    assert set(decision.n_seeds.values()) == {3}
    seeds = fitted.recommendation.leaderboard().set_index("trial")["n_seeds"]
    assert {number: seeds[number] for number in decision.n_seeds} == decision.n_seeds


def test_the_parent_run_holds_the_whole_fit(fitted: Fitted) -> None:
    recommendation = fitted.recommendation
    parent, children = runs_of(recommendation, "whole way")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["state"] == "complete"
    assert parent.data.tags["strategy"] == recommendation.strategy
    assert parent.data.params["seed"] == "0"
    assert parent.data.params["dataset"] == "my stripes"
    assert parent.data.params["dataset_fingerprint"] == recommendation.profile.fingerprint
    assert parent.data.params["resolved_metric"] == "accuracy"
    assert parent.data.metrics["test_accuracy"] == recommendation.summary()["test"]["value"]
    assert "environment.torch" in parent.data.tags
    client = MlflowClient(recommendation.tracking_uri)
    kept = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "analysis.html", "decision.json", "profile.json", "model"} <= kept
    model = {file.path for file in client.list_artifacts(parent.info.run_id, "model")}
    assert {"model/model.json", "model/model.safetensors"} <= model
    finalists = [run for run in children if "finalist" in run.data.tags]
    assert len({run.data.params["strategy"] for run in finalists}) == len(finalists) == 3
    assert sum(run.data.tags["winner"] == "True" for run in finalists) == 1
    for run in children:
        has_model = bool(client.list_artifacts(run.info.run_id, "model"))
        assert has_model is ("finalist" in run.data.tags)


def test_the_test_set_is_read_after_the_decision_and_the_final_fit(fitted: Fitted) -> None:
    first = next(i for i, event in enumerate(fitted.events) if event.startswith("test"))
    assert fitted.events[:first] == ["search", "decide", "refit"]
    assert not {"search", "decide", "refit"} & set(fitted.events[first:])


def test_what_the_user_holds(fitted: Fitted, data: Path, pictures: NDArray[np.uint8]) -> None:
    recommendation = fitted.recommendation
    assert recommendation.strategy in {"bottleneck", "finetune", "scratch"}
    assert set(recommendation.class_names) == set(NAMES)
    assert "Recommended" in recommendation.explain()
    table = recommendation.leaderboard()
    assert len(table) == N_TRIALS
    assert recommendation.report_path == fitted.folder / "report.html"
    assert "my stripes" in (fitted.folder / "report.html").read_text(encoding="utf-8")
    assert recommendation.predict(data / NAMES[0] / "0.png").shape == (1,)
    right = recommendation.predict(pictures) == np.array(NAMES)[np.arange(90) % 3]
    assert recommendation.score(data) == pytest.approx(right.mean(), abs=0.03)
    assert right.mean() > 0.6
    summary = json.loads((fitted.folder / "decision.json").read_text(encoding="utf-8"))
    assert summary == json.loads(json.dumps(recommendation.summary()))
    low, value, high = (summary["expected"][key] for key in ("low", "value", "high"))
    assert low <= value <= high


def test_only_the_results_are_left_on_disk(fitted: Fitted, output: Path) -> None:
    left = {path.name for path in fitted.folder.iterdir()}
    assert left == {
        *("profile.json", "analysis.html", "trials", "decision.json", "report.html", "model"),
        *("study.json", "split.npz", ".lock", "mlflow", "served", "evaluation"),
    }
    assert not list(fitted.folder.rglob("*.part*"))
    assert {"optuna.db", "mlflow.db", "mlartifacts"} <= {path.name for path in output.iterdir()}


@pytest.mark.slow
def test_a_new_process_predicts_the_same(
    fitted: Fitted, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    np.save(tmp_path / "pictures.npy", pictures)
    code = (
        "import sys, numpy, autotl, torch; torch.set_num_threads(1)\n"
        "model = autotl.load(sys.argv[1], device='cpu')\n"
        "pictures = numpy.load(sys.argv[2] + '/pictures.npy')\n"
        "numpy.save(sys.argv[2] + '/found.npy', model.predict_proba(pictures))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(fitted.folder), str(tmp_path)], check=True, timeout=200
    )
    expected = fitted.recommendation.predict_proba(pictures)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_the_same_seed_finds_the_same(
    fitted: Fitted, fit: Callable[..., Recommendation], data: Path, output: Path
) -> None:
    again = fit(data, study_name="again")
    first = TrialStore(fitted.folder / "trials").load()
    second = TrialStore(output / "again" / "trials").load()
    assert [r.config for r in first] == [r.config for r in second]
    assert [r.state for r in first] == [r.state for r in second]
    for one, other in zip(first, second, strict=True):
        assert (one.result is None) is (other.result is None)
        if one.result and other.result:
            np.testing.assert_allclose(
                one.result.probabilities, other.result.probabilities, atol=1e-4
            )
            assert one.result.score == pytest.approx(other.result.score, abs=1e-6)
    assert again.summary()["test"]["value"] == fitted.recommendation.summary()["test"]["value"]


class InterruptAt(Progress):
    """Ctrl-C when that trial has reported once."""

    def __init__(self, strategy: str) -> None:
        self.strategy = strategy
        self.number = -1
        self.interrupted = 0

    def trial_started(self, number: int, strategy: str) -> None:
        self.number = number if strategy == self.strategy else -1

    def epoch(self, number: int, progress: float, score: float) -> None:
        if number == self.number:
            self.interrupted += 1
            raise KeyboardInterrupt


def test_an_interrupt_in_mid_trial_returns_the_best_so_far(
    fit: Callable[..., Recommendation], data: Path, output: Path, pictures: NDArray[np.uint8]
) -> None:
    progress = InterruptAt("finetune")
    recommendation = fit(data, study_name="interrupted", progress=progress)
    assert progress.interrupted == 1
    assert recommendation.strategy == "bottleneck"
    assert len(recommendation.predict(pictures)) == 90
    assert any("interrupted" in note for note in recommendation.summary()["notes"])
    states = [record.state for record in TrialStore(output / "interrupted" / "trials").load()]
    assert states[-1] == "interrupted"
    assert set(states[:-1]) == {"complete"}
    parent, children = runs_of(recommendation, "interrupted")
    assert parent.data.tags["state"] == "interrupted"
    assert {run.info.status for run in (parent, *children)} == {"FINISHED", "KILLED"}
    assert (output / "interrupted" / "report.html").is_file()


def test_a_budget_too_small_for_anything_still_gives_a_model(
    fit: Callable[..., Recommendation], data: Path, pictures: NDArray[np.uint8]
) -> None:
    recommendation = fit(data, study_name="hurry", time_budget_s=0.1, n_trials=None)
    assert recommendation.strategy == "bottleneck"
    assert len(recommendation.leaderboard()) == 1
    assert any("left no time" in note for note in recommendation.summary()["notes"])
    assert len(recommendation.predict(pictures)) == 90


def test_the_time_budget_is_kept(fit: Callable[..., Recommendation], data: Path) -> None:
    started = time.perf_counter()
    recommendation = fit(data, study_name="timed", time_budget_s=12.0, n_trials=None)
    assert time.perf_counter() - started < 24  # loosely: this machine has other work too
    assert len(recommendation.leaderboard()) >= 1


def test_a_store_that_is_down_is_told_once_and_the_fit_goes_on(
    fit: Callable[..., Recommendation], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    with pytest.warns(UserWarning, match="autotl sync") as caught:
        recommendation = fit(
            data, study_name="alone", n_trials=1, strategies="bottleneck", tracking_uri=uri
        )
    assert sum("autotl sync" in str(w.message) for w in caught) == 1
    assert recommendation.strategy == "bottleneck"


def test_a_bug_in_the_search_surfaces_and_closes_the_record(
    fit: Callable[..., Recommendation],
    fitted: Fitted,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(api, "decide", fail)
    with pytest.raises(ZeroDivisionError):
        fit(data, study_name="bug", n_trials=1)
    parent, _ = runs_of(fitted.recommendation, "bug")
    assert parent.info.status == "FAILED"


def test_figures_that_are_unknown_leave_valid_json(fitted: Fitted, tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    recording.log_json(NullFitRun(), file, {"a": float("nan"), "b": [1.5, float("inf")], "c": 2})  # type: ignore[arg-type]
    assert json.loads(file.read_text()) == {"a": None, "b": [1.5, None], "c": 2}

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for name in ("profile.json", "decision.json"):
        content = (fitted.folder / name).read_text(encoding="utf-8")
        json.loads(content, parse_constant=refuse)


def arrays(n: int, labels: list[Any], shape: tuple[int, ...] = (32, 32, 3)) -> Any:
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (n, *shape), dtype=np.uint8), labels


def empty_folder(tmp_path: Path) -> Any:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def not_pictures(tmp_path: Path) -> Any:
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "data" / name / f"{i}.png").write_bytes(b"not a picture")
    return tmp_path / "data"


def csv(tmp_path: Path, columns: dict[str, list[Any]]) -> Any:
    pd.DataFrame(columns).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


BAD: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "absent": (lambda p: p / "absent", {}),
    "empty folder": (empty_folder, {}),
    "not pictures": (not_pictures, {}),
    "one class": (lambda p: arrays(8, [0] * 8), {}),
    "a class with one picture": (lambda p: arrays(9, [0] * 4 + [1] * 4 + [2]), {}),
    "too few labels": (lambda p: arrays(8, [0, 1] * 3), {}),
    "NaN labels": (lambda p: arrays(8, [0.0, 1.0, float("nan"), 0.0] * 2), {}),
    "wrong shape": (lambda p: arrays(8, [0, 1] * 4, (32,)), {}),
    "floats": (lambda p: (np.zeros((8, 4, 4)) + 0.5, [0, 1] * 4), {}),
    "missing column": (lambda p: csv(p, {"path": ["a.png"], "y": [1]}), {"label": "class"}),
    "missing files": (
        lambda p: csv(p, {"path": [f"{i}.png" for i in range(8)], "label": [0, 1] * 4}),
        {},
    ),
    "not a data set": (lambda p: 42, {}),
    "unknown backbone": (lambda p: arrays(8, [0, 1] * 4), {"backbones": ["resnet81"]}),
    "unreadable weights": (
        lambda p: arrays(8, [0, 1] * 4),
        {"backbones": [f"resnet18@{__file__}"]},
    ),
    "unknown strategy": (lambda p: arrays(8, [0, 1] * 4), {"strategies": "finetuning"}),
    "unknown metric": (lambda p: arrays(8, [0, 1] * 4), {"metric": "fame"}),
    "unknown device": (lambda p: arrays(8, [0, 1] * 4), {"device": "tpu9"}),
    "no end": (lambda p: arrays(8, [0, 1] * 4), {"time_budget_s": None, "n_trials": None}),
    "no time": (lambda p: arrays(8, [0, 1] * 4), {"time_budget_s": 0}),
    "bad name": (lambda p: arrays(8, [0, 1] * 4), {"study_name": "../up"}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    name: str, fit: Callable[..., Recommendation], tmp_path: Path
) -> None:
    make, settings = BAD[name]
    folder = tmp_path / "runs" / "out"
    with pytest.raises(AutotlError) as error:
        fit(make(tmp_path), output_dir=folder, **settings)
    assert isinstance(error.value, ValueError)
    assert len(str(error.value)) > 20
    assert not (tmp_path / "runs").exists()


def test_a_search_without_an_end_is_refused_by_name(fit: Callable[..., Recommendation]) -> None:
    with pytest.raises(InputError, match="time_budget_s and n_trials"):
        fit("/absent", time_budget_s=None, n_trials=None)


def test_analyze_trains_nothing_and_writes_nothing(
    data: Path, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(candidates, "measure_speed", None)  # which times training steps
    found = autotl.analyze(data, backbones=[f"resnet10t@{weights_file}"], device="cpu")
    assert isinstance(found, autotl.Analysis)
    assert "bottleneck" in str(found)
    assert list(tmp_path.iterdir()) == []


def test_analyze_writes_one_page_if_asked(data: Path, weights_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(InputError, match="no folder"):
        autotl.analyze("/absent", html=tmp_path / "absent" / "page.html")
    autotl.analyze(data, backbones=[f"resnet10t@{weights_file}"], device="cpu", html=str(page))
    assert list(tmp_path.iterdir()) == [page]
    html = page.read_text("utf-8")
    assert "by t-SNE" in html
    assert "unknown: the backbone has no BatchNorm" in html  # its running statistics are untrained
    assert html.count("<svg") == 1  # the map
    assert "data:image/png;base64," in html


@pytest.mark.parametrize("n_different", [1, 2])
@pytest.mark.filterwarnings("error")
def test_copies_of_few_pictures_are_analysed_but_not_fitted(
    fit: Callable[..., Recommendation], weights_file: Path, tmp_path: Path, n_different: int
) -> None:
    """Nothing can be held out: each figure is told, or unknown with its reason."""
    rng = np.random.default_rng(0)
    some = rng.integers(0, 256, (n_different, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(20) % 2
    pictures = some[labels % n_different]
    page, grouped = tmp_path / "page.html", n_different == 2
    found = autotl.analyze(
        (pictures, labels),
        backbones=[f"resnet10t@{weights_file}"],
        device="cpu",
        html=page,
        group=labels if grouped else None,
    )
    assert found.profile.has_groups == grouped
    assert found.profile.size.n_samples == 20
    assert found.profile.size.n_test == 0
    assert found.profile.size.n_distinct == n_different
    different = "2 different pictures" if grouped else "1 different picture"
    assert f"{different} among the 20" in str(found)
    assert "what more labels would bring is unknown" in str(found)
    few = "different pictures of a class" if grouped else "classes of different pictures"
    assert f"fewer than two {few}" in str(found)
    assert page.is_file()
    with pytest.raises(InputError, match="no test set can be held out"):
        fit((pictures, labels))


def test_copies_of_a_given_test_part_are_never_measured(
    data: Path, weights_file: Path, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        shutil.copytree(data, tmp_path / "parts" / part)
    with pytest.raises(InputError, match="with the given test part"):
        autotl.analyze(tmp_path / "parts", backbones=[f"resnet10t@{weights_file}"], device="cpu")
