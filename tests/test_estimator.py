from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

import autotl
from autotl import TransferClassifier, estimator
from autotl.errors import InputError

UNFIT = {
    "check_array_api_input": "pictures are NumPy arrays or paths: autotl decodes them itself",
}
"""Checks of scikit-learn that can't pass, with the reasons; docs/scikit-learn.md tells them."""


class RowsAsPictures(TransferClassifier):
    """The estimator for scikit-learn's checks, which know no pictures: a row becomes a picture."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inputs = tags.input_tags
        inputs.one_d_array = inputs.three_d_array = inputs.string = False
        inputs.two_d_array = True
        return tags

    def _pictures(self, X: Any, *, is_fit: bool) -> Any:
        rows = validate_data(self, X, reset=is_fit, dtype=np.float64)
        grey = np.rint(255 / (1 + np.exp(-rows))).astype(np.uint8)
        return super()._pictures(np.repeat(grey[:, None, :], 2, axis=1), is_fit=is_fit)


class FakeRecommendation:
    """A logistic regression on pixels, for the protocol's sake."""

    def __init__(self, pictures: NDArray[np.uint8], names: NDArray[np.str_]) -> None:
        self.model = LogisticRegression(max_iter=500).fit(self._flat(pictures), names)
        self.class_names = tuple(str(name) for name in self.model.classes_[::-1])

    def predict_proba(self, pictures: Any) -> NDArray[np.float32]:
        found: NDArray[np.float64] = self.model.predict_proba(self._flat(pictures))[:, ::-1]
        return found.astype(np.float32)

    @staticmethod
    def _flat(pictures: Any) -> NDArray[np.float64]:
        if isinstance(pictures, list) and isinstance(pictures[0], str):
            pictures = [np.asarray(Image.open(path)) for path in pictures]
        flat: NDArray[np.float64] = np.asarray(pictures).reshape(len(pictures), -1) / 255
        return flat


CALLS: list[tuple[Any, dict[str, Any]]] = []


@pytest.fixture
def fake_fit(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """In the place of autotl.fit; gives its calls."""

    def fit(dataset: Any, **settings: Any) -> FakeRecommendation:
        CALLS.append((dataset, settings))
        if isinstance(dataset, tuple):
            return FakeRecommendation(*dataset)
        paths, names = dataset["image"].tolist(), dataset["label"].to_numpy()
        return FakeRecommendation(FakeRecommendation._flat(paths) * 255, names)

    monkeypatch.setitem(autotl.__dict__, "fit", fit)
    monkeypatch.setattr(estimator, "_homeless", lambda found: found)
    CALLS.clear()
    return CALLS


@parametrize_with_checks(
    [TransferClassifier(), RowsAsPictures()], expected_failed_checks=lambda _: UNFIT
)
def test_scikit_learn_s_checks(
    estimator: TransferClassifier, check: Any, fake_fit: list[Any]
) -> None:
    check(estimator)


@pytest.mark.parametrize("labels", [["b", "a", "c"], [7, -1, 30], [2.0, 1.0, 0.0], ["", "a", "b"]])
def test_labels_of_any_kind_come_back(
    labels: list[Any],
    fake_fit: list[Any],
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
) -> None:
    y = np.array(labels)[picture_labels]
    fitted = TransferClassifier().fit(pictures, y)
    assert fitted.classes_.tolist() == sorted(labels)
    found = fitted.predict_proba(pictures)
    assert (fitted.classes_[found.argmax(axis=1)] == y).all()
    assert fitted.predict(pictures).dtype == y.dtype
    assert fitted.score(pictures, y) == 1.0


def test_settings_reach_fit_and_fits_stand_alone(
    fake_fit: list[Any], pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    settings = {"time_budget_s": 9, "n_trials": 2, "strategies": "scratch", "workers": 2}
    TransferClassifier(**settings, random_state=5, output_dir="x").fit(pictures, picture_labels)  # type: ignore[arg-type]
    ((_, given),) = fake_fit
    assert given | settings == given
    assert given["seed"] == 5
    assert given["output_dir"] == "x"
    assert given["warm_start"] is False


def test_seeds_of_every_kind(
    fake_fit: list[Any], pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    for random_state in (np.random.RandomState(3), np.random.RandomState(3), None, np.int64(4)):
        TransferClassifier(random_state=random_state).fit(pictures, picture_labels)
    seeds = [given["seed"] for _, given in fake_fit]
    assert seeds[0] == seeds[1] >= 0
    assert seeds[3] == 4
    assert all(type(seed) is int for seed in seeds)


def test_nothing_is_left_without_an_output_dir(
    fake_fit: list[Any], pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    TransferClassifier().fit(pictures, picture_labels)
    assert not Path(fake_fit[0][1]["output_dir"]).exists()


def test_paths_in_lists_arrays_and_columns(
    fake_fit: list[Any],
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    for path, picture in zip(paths, pictures, strict=False):
        Image.fromarray(picture).save(path)
    y = picture_labels[:30]
    column = np.array([str(path) for path in paths], dtype=object)[:, None]
    for X in (paths, [str(path) for path in paths], column):
        fitted = TransferClassifier().fit(X, y)
        assert fitted.score(X, y) == 1.0
    assert fake_fit[0][1]["image"] == "image"


def test_cross_validation_pipelines_and_clones(
    fake_fit: list[Any], pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    darker = make_pipeline(FunctionTransformer(lambda X: X // 2), TransferClassifier(n_trials=3))
    scores = cross_val_score(darker, pictures, picture_labels, cv=3)
    assert scores.shape == (3,)
    assert (scores > 0.5).all()
    assert len(fake_fit) == 3
    assert {len(dataset[1]) for dataset, _ in fake_fit} == {60}
    copied = clone(TransferClassifier(n_trials=3, prefer="cheap"))
    assert copied.get_params()["n_trials"] == 3
    assert copied.get_params()["prefer"] == "cheap"


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (np.zeros((6, 8, 8)), r"uint8 array.*got float64 \(6, 8, 8\)"),
        (np.zeros((6, 8), np.uint8), r"got uint8 \(6, 8\)"),
        ([1, 2, 3, 4, 5, 6], "got int64"),
        (["a.png", 3, None, "b", "c", "d"], "got a int among paths"),
        ("pictures/", "got one path"),
    ],
)
def test_what_isn_t_pictures_is_refused(X: Any, said: str, fake_fit: list[Any]) -> None:
    with pytest.raises(InputError, match=said):
        TransferClassifier().fit(X, [0, 1] * 3)


def test_lengths_and_labels_are_checked(fake_fit: list[Any], pictures: NDArray[np.uint8]) -> None:
    for y, said in (
        (np.zeros(5), "inconsistent numbers of samples"),
        (np.zeros(90), "two classes"),
        (np.linspace(0, 1, 90), "continuous"),
        (np.full(90, np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=said):
            TransferClassifier().fit(pictures, y)
    assert not fake_fit


@pytest.mark.parametrize("width", [3, pytest.param(7, marks=pytest.mark.slow)])
def test_narrow_grey_pictures_are_a_stack(width: int, weights_file: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    X = (rng.integers(0, 100, (24, 9, width)) + 150 * y[:, None, None]).astype(np.uint8)
    assert real(weights_file).fit(X, y).score(X, y) > 0.9


def real(weights_file: Path) -> TransferClassifier:
    return TransferClassifier(
        time_budget_s=None,
        n_trials=1,
        strategies="bottleneck",
        backbones=[f"resnet10t@{weights_file}"],
        device="cpu",
    )


def test_a_real_fit(
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    weights_file: Path,
) -> None:
    y = np.array(["blocks", "lying", "upright"])[picture_labels]
    fitted = real(weights_file).fit(pictures, y)
    assert fitted.score(pictures, y) > 0.9
    found = fitted.recommendation_
    assert found.strategy == "bottleneck"
    assert found.report_path is None
    assert found.test is not None
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(pictures), fitted.predict_proba(pictures))
