from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from autotl.analysis.profile import DatasetProfile
from autotl.errors import AutotlError, InputError, UnreadableImageError
from autotl.recommend.decision import TestScore
from autotl.recommend.model import FORMAT, Recommendation, load
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig

NAMES = ("blé", "hay bale", "straw")


@pytest.fixture
def recommendation(
    make_task: Callable[..., Task], make_profile: Callable[..., DatasetProfile]
) -> Recommendation:
    """A bottleneck model of stripes and blocks."""
    task = make_task()
    config = BottleneckConfig(
        backbone=next(iter(task.backbones)), layers="all", head="svm", C=0.01, balanced=False
    )
    model = Bottleneck().fit(config, task, task.all_samples, None, SilentReporter())
    return Recommendation(
        strategy="bottleneck",
        config=config.model_dump(),
        class_names=NAMES,
        model=model,
        profile=make_profile(task.labels, NAMES),
        metric="accuracy",
        text="Use the bottleneck.\nIt is übergut.",
        table=pd.DataFrame({"trial": [0, 1], "score": [0.9, np.nan], "error": ["", "a, b"]}),
        figures={"strategy": "bottleneck", "test": None},
        device="cpu",
        tracking_uri="sqlite:///x.db",
    )


@pytest.fixture
def saved(recommendation: Recommendation, tmp_path: Path) -> Path:
    return recommendation.save(tmp_path / "a b" / "model")


def test_its_repr_fits_on_a_line_of_a_notebook(recommendation: Recommendation) -> None:
    figures = {"expected": {"value": 0.9123}, "test": None}
    shown = repr(dataclasses.replace(recommendation, figures=figures))
    assert shown.startswith("Recommendation('bottleneck', backbone='")
    assert shown.endswith("', accuracy=0.912)")
    assert len(shown) < 120
    tested = dataclasses.replace(recommendation, figures={**figures, "test": {"value": 0.8}})
    assert repr(tested).endswith("accuracy=0.800)")
    assert "=" not in repr(dataclasses.replace(recommendation, figures={})).split("backbone=")[1]


def test_a_saved_model_predicts_as_before(
    recommendation: Recommendation, saved: Path, pictures: NDArray[np.uint8]
) -> None:
    again = load(saved, "cpu")
    before, after = recommendation.predict_proba(pictures), again.predict_proba(pictures)
    np.testing.assert_array_equal(after, before)
    assert before.dtype == np.float32
    np.testing.assert_allclose(before.sum(axis=1), 1.0, atol=1e-5)
    for name in ("strategy", "config", "class_names", "metric", "figures", "tracking_uri"):
        assert getattr(again, name) == getattr(recommendation, name), name
    assert again.explain() == recommendation.explain()
    assert again.summary() == recommendation.summary()
    assert again.leaderboard()["score"].tolist()[0] == 0.9
    assert again.model_path == saved
    assert again.profile.class_names == NAMES


def test_a_profile_with_unknown_figures_is_saved(
    recommendation: Recommendation, tmp_path: Path
) -> None:
    (stages,) = [b.similarity.per_stage for b in recommendation.profile.backbones.values()]
    assert np.isnan(stages).any()
    again = load(recommendation.save(tmp_path / "m"))
    (found,) = [b.similarity.per_stage for b in again.profile.backbones.values()]
    np.testing.assert_array_equal(found, stages)


def test_it_learnt_something(
    recommendation: Recommendation,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
) -> None:
    right = recommendation.predict(pictures) == np.array(NAMES)[picture_labels]
    assert right.mean() > 0.9


def test_no_pickle_and_no_half_file_is_written(saved: Path) -> None:
    assert sorted(file.name for file in saved.iterdir()) == [
        "leaderboard.csv",
        "model.json",
        "model.safetensors",
        "model_card.md",
    ]


def test_saving_over_an_earlier_model_replaces_it(
    recommendation: Recommendation, saved: Path, pictures: NDArray[np.uint8]
) -> None:
    recommendation.save(saved)
    np.testing.assert_array_equal(
        load(saved).predict_proba(pictures[:3]), recommendation.predict_proba(pictures[:3])
    )


def test_the_folder_of_a_fit_is_taken_too(saved: Path) -> None:
    assert load(saved.parent).model_path == saved


@pytest.mark.slow
def test_export_is_checked_on_one_s_own_pictures(
    recommendation: Recommendation, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    file = tmp_path / "one.png"
    Image.fromarray(pictures[0]).save(file)
    grey = pictures[1, :, :, 0]
    done = recommendation.export(
        tmp_path / "model.pt2", "torch", images=[file, pictures[2, :20], grey]
    )
    assert done.n_pictures == 3
    assert done.largest_difference < 1e-4
    module = torch.export.load(done.path).module()
    found = module(torch.from_numpy(pictures[:6])).numpy()
    np.testing.assert_allclose(found, recommendation.predict_proba(pictures[:6]), atol=1e-4)
    with pytest.raises(InputError, match="at least one picture"):
        recommendation.export(tmp_path / "other.pt2", "torch", images=[])


def test_a_bottleneck_of_all_layers_is_no_timm_model(recommendation: Recommendation) -> None:
    with pytest.raises(InputError, match="last layer of the whole backbone"):
        recommendation.to_timm()


def test_figures_of_the_test_come_back(recommendation: Recommendation, tmp_path: Path) -> None:
    metrics = {"accuracy": 0.75, "expected_calibration_error": 0.0625}
    labels, probabilities = np.array([0]), np.array([[1, 0, 0]], dtype=np.float32)
    test = TestScore("accuracy", 0.75, (0.7, 0.8), labels, probabilities, metrics)
    again = load(dataclasses.replace(recommendation, test=test).save(tmp_path / "m"))
    assert again.test_metrics == metrics
    assert again.model_card() == (tmp_path / "m" / "model_card.md").read_text(encoding="utf-8")
    assert "6.2 points" in again.model_card()


def test_a_folder_that_can_t_be_written(recommendation: Recommendation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be saved"):
        recommendation.save(tmp_path / "file" / "model")


def test_every_kind_of_picture_is_the_same_picture(
    recommendation: Recommendation, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    shown = pictures[4]
    file = tmp_path / "a b ü.png"
    Image.fromarray(shown).save(file)
    expected = recommendation.predict_proba(pictures[4:5])
    opaque = np.concatenate([shown, np.full((32, 32, 1), 255, np.uint8)], axis=2)
    for image in (file, str(file), Image.open(file), shown, [shown], [file], opaque):
        np.testing.assert_allclose(recommendation.predict_proba(image), expected, atol=1e-6)


def test_grey_pictures_by_themselves_and_in_a_stack(recommendation: Recommendation) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (5, 32, 32), dtype=np.uint8)
    stack = recommendation.predict_proba(grey)
    assert stack.shape == (5, 3)
    one = recommendation.predict_proba(grey[2])
    np.testing.assert_allclose(one, stack[2:3], atol=1e-6)
    as_colour = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_allclose(recommendation.predict_proba(as_colour), stack, atol=1e-6)


def test_no_pictures_no_predictions(recommendation: Recommendation) -> None:
    assert recommendation.predict_proba([]).shape == (0, 3)
    assert recommendation.predict([]).shape == (0,)


def test_more_pictures_than_a_batch(
    recommendation: Recommendation, pictures: NDArray[np.uint8]
) -> None:
    many = np.concatenate([pictures] * 4)
    found = recommendation.predict_proba(iter(many))
    assert len(found) == 360
    np.testing.assert_allclose(found[270:], found[:90], atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_picture_that_can_t_be_read(
    content: bytes, recommendation: Recommendation, tmp_path: Path
) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(content)
    with pytest.raises(UnreadableImageError):
        recommendation.predict(file)
    with pytest.raises(AutotlError):
        recommendation.predict(tmp_path / "absent.png")


def write(folder: Path, pictures: NDArray[np.uint8], labels: list[str]) -> Path:
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / label / f"{i}.png")
    return folder


def test_score_is_the_metric_on_labelled_pictures(
    recommendation: Recommendation, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    predicted = recommendation.predict(pictures[:20]).tolist()
    folder = write(tmp_path / "all right", pictures[:20], predicted)
    assert recommendation.score(folder) == 1.0
    others = {"blé": "hay bale", "hay bale": "straw", "straw": "blé"}
    wrong = [others[name] for name in predicted[:5]] + predicted[5:]
    folder = write(tmp_path / "a quarter wrong", pictures[:20], wrong)
    assert recommendation.score(folder) == pytest.approx(0.75)
    assert recommendation.score((pictures[:20], predicted)) == 1.0


def test_score_on_some_of_the_classes(
    recommendation: Recommendation, pictures: NDArray[np.uint8]
) -> None:
    predicted = recommendation.predict(pictures)
    some = np.isin(predicted, ["blé", "straw"])  # their numbers differ from the model's
    assert recommendation.score((pictures[some], predicted[some].tolist())) == 1.0


def test_score_refuses_classes_that_the_model_does_not_know(
    recommendation: Recommendation, pictures: NDArray[np.uint8]
) -> None:
    with pytest.raises(InputError, match=r"doesn't know the classes \['oats'\].*straw"):
        recommendation.score((pictures[:6], ["blé", "oats", "straw"] * 2))


def test_score_names_the_picture_that_can_t_be_read(
    recommendation: Recommendation, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = write(tmp_path / "data", pictures[:6], ["blé", "straw"] * 3)
    (folder / "straw" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nxxxx")
    with pytest.raises(InputError, match=r"1\.png can't be read"):
        recommendation.score(folder)


def test_score_sees_large_pictures_as_the_training_did(
    recommendation: Recommendation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A JPEG is decoded at the smallest sufficient scale in training; so it is here."""
    from autotl.data.table import ImageTable

    sizes: list[int | None] = []
    real = ImageTable.read

    def read(self: ImageTable, sample: int, min_size: int | None = None) -> Image.Image:
        sizes.append(min_size)
        return real(self, sample, min_size)

    noise = np.random.default_rng(0).integers(0, 255, (6, 300, 300, 3), dtype=np.uint8)
    folder = write(tmp_path / "data", noise, ["blé", "straw"] * 3)
    monkeypatch.setattr(ImageTable, "read", read)
    recommendation.score(folder)
    assert sizes == [32] * 6


def edit(saved: Path, **changes: Any) -> None:
    file = saved / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut JSON": (lambda saved: cut(saved, "model.json"), "damaged"),
    "a list": (lambda saved: (saved / "model.json").write_text("[]"), "damaged"),
    "not UTF-8": (lambda saved: (saved / "model.json").write_bytes(b"\xff\xfe{"), "damaged"),
    "cut weights": (lambda saved: cut(saved, "model.safetensors"), "damaged"),
    "empty weights": (lambda saved: (saved / "model.safetensors").write_bytes(b""), "damaged"),
    "no weights": (lambda saved: (saved / "model.safetensors").unlink(), "damaged"),
    "no leaderboard": (lambda saved: (saved / "leaderboard.csv").unlink(), "damaged"),
    "newer format": (lambda saved: edit(saved, format=FORMAT + 1), "format 2.* reads 1"),
    "no format": (lambda saved: edit(saved, format=None), "format None"),
    "unknown metric": (lambda saved: edit(saved, metric="fame"), "damaged"),
    "too few names": (lambda saved: edit(saved, class_names=["one"]), "damaged"),
    "no model": (lambda saved: edit(saved, model=None), "damaged"),
    "wrong profile": (lambda saved: edit(saved, profile={"size": 3}), "damaged"),
    "no folder": (lambda saved: (saved / "model.json").unlink(), "no saved model"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_refused_by_name(name: str, saved: Path) -> None:
    damage, said = DAMAGES[name]
    damage(saved)
    with pytest.raises(InputError, match=said) as error:
        load(saved)
    assert str(saved) in str(error.value)


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    values = json.loads((saved / "model.json").read_text())["model"]
    edit(saved, model=values | {"depths": [1]})
    with pytest.raises(InputError, match="don't fit"):
        load(saved)


def test_a_network_that_would_fill_the_memory_is_refused_before_it_does(saved: Path) -> None:
    description = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    options = description["model"]["backbone"]["architecture_options"]
    options["channels"] = [2_000_000] * 4  # tens of terabytes
    (saved / "model.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(InputError, match=r"don't fit its description: .* should have shape"):
        load(saved)


def test_an_architecture_that_timm_does_not_know_is_refused(saved: Path) -> None:
    values = json.loads((saved / "model.json").read_text())["model"]
    backbone = values["backbone"] | {"architecture": "resnet_of_tomorrow"}
    edit(saved, model=values | {"backbone": backbone})
    with pytest.raises(InputError, match=r"damaged.*resnet_of_tomorrow"):
        load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "hf-hub:someone/model"},
        {"architecture": "local-dir:/tmp/model"},
        {"architecture_options": {"checkpoint_path": "/tmp/evil.pth"}},
        {"architecture_options": {"pretrained": True}},
    ],
)
def test_a_model_that_would_fetch_something_from_elsewhere_is_refused(
    changes: dict[str, Any], saved: Path
) -> None:
    values = json.loads((saved / "model.json").read_text())["model"]
    edit(saved, model=values | {"backbone": values["backbone"] | changes})
    with pytest.raises(InputError, match="nothing is fetched"):
        load(saved)


def test_an_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no saved model"):
        load(tmp_path / "absent")


def test_the_leaderboard_is_the_user_s_own_copy(recommendation: Recommendation) -> None:
    table = recommendation.leaderboard()
    table.loc[0, "score"] = 0.0
    assert recommendation.leaderboard().loc[0, "score"] == 0.9
