"""A leak of each kind is planted, and is caught or does no harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import autotl.candidates as candidates
from autotl.backbones.speed import Speed
from autotl.config import make_config
from autotl.preparation import Prepared, prepare
from autotl.progress import Progress
from autotl.runtime import NEVER
from autotl.strategies.base import SilentReporter
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig

Pictures = NDArray[np.uint8]
Make = Callable[..., Prepared]


@pytest.fixture
def make(tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Prepares a data set with the tiny backbone, each time in a cache of its own."""
    speed = Speed("fp32", False, (0.0, 1e-4), (4e-4, 0.0))
    monkeypatch.setattr(candidates, "measure_speed", lambda *_: speed)
    places = iter(range(100))

    def run(dataset: Any, *, test: Any = None, group: Any = None) -> Prepared:
        config = make_config({"backbones": [f"resnet10t@{weights_file}"], "device": "cpu"})
        folder = tmp_path / f"cache{next(places)}"
        return prepare(dataset, test, group, config, folder, NEVER, Progress())

    return run


@pytest.fixture
def scenes() -> Pictures:
    return blobs(0)


def blobs(seed: int) -> Pictures:
    """``(90, 32, 32, 3) uint8``, blobs of different places and colours; no two are alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (90, 8, 8, 3))
    return coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


def sides(prepared: Prepared) -> list[tuple[set[bytes], set[bytes]]]:
    """What is learnt from against what is predicted: in every fold, and in the end."""
    shown = [p.tobytes() for p in prepared.task.pixels(32)[prepared.task.all_samples]]
    locked = prepared.test.pixels(32)[np.arange(len(prepared.test.samples))]
    found = [
        ({shown[i] for i in fold.train}, {shown[i] for i in fold.validation})
        for fold in prepared.task.folds
    ]
    return [*found, (set(shown), {p.tobytes() for p in locked})]


def fitted(prepared: Prepared, train: Any = None, held_out: Any = None) -> dict[str, Any]:
    """Everything that a bottleneck model has learnt, by name."""
    task = prepared.task
    name = next(iter(task.backbones))
    config = BottleneckConfig(backbone=name, layers="all", head="svm", C="auto", balanced=True)
    samples = task.all_samples if train is None else train
    return Bottleneck().fit(config, task, samples, held_out, SilentReporter()).tensors()


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("kind", ["duplicate", "near-duplicate", "group"])
def test_what_belongs_together_never_stands_on_two_sides(
    kind: str, make: Make, scenes: Pictures, picture_labels: NDArray[np.int64]
) -> None:
    one, labels = scenes[:45], picture_labels[:45]
    other = {
        "duplicate": one,
        "near-duplicate": (one * 0.85).astype(np.uint8),
        "group": scenes[45:],
    }[kind]
    partner = {a.tobytes(): b.tobytes() for a, b in zip(one, other, strict=True)}
    groups = np.tile(np.arange(45), 2) if kind == "group" else None
    prepared = make((np.concatenate([one, other]), np.concatenate([labels, labels])), group=groups)
    n_checked = 0
    for learnt, predicted in sides(prepared):
        both = learnt | predicted
        for first, second in partner.items():
            if first in both and second in both:
                assert (first in learnt) == (second in learnt)
                n_checked += 1
    assert n_checked > 45


@pytest.mark.parametrize("kind", ["duplicate", "near-duplicate"])
def test_what_a_given_test_set_repeats_is_not_trained_on_and_named(
    kind: str, make: Make, scenes: Pictures, picture_labels: NDArray[np.int64]
) -> None:
    copy = scenes[60:63] if kind == "duplicate" else (scenes[60:63] * 0.85).astype(np.uint8)
    train = np.concatenate([scenes[:60], copy])
    labels = np.concatenate([picture_labels[:60], picture_labels[60:63]])
    prepared = make((train, labels), test=(scenes[60:], picture_labels[60:]))
    assert len(prepared.task.labels) == 60
    assert [name for name, _ in prepared.quarantine] == ["array[60]", "array[61]", "array[62]"]
    assert [reason.split()[-5] for _, reason in prepared.quarantine] == [
        *("array[0]", "array[1]", "array[2]")
    ]


def test_a_label_in_the_path_is_not_learnt(make: Make, tmp_path: Path, scenes: Pictures) -> None:
    """Pictures without a sign of their class, named after it, and by number: no difference."""
    labels = np.random.default_rng(1).permutation(np.arange(90) % 2)
    models, profiles = [], []
    for kind in ("telling", "silent"):
        folder = tmp_path / kind
        folder.mkdir()
        names = [f"{'cat' if y else 'dog'}-{i}.png" if kind == "telling" else f"{i}.png"
                 for i, y in enumerate(labels)]  # fmt: skip
        for name, picture in zip(names, scenes, strict=True):
            Image.fromarray(picture).save(folder / name)
        pd.DataFrame({"path": names, "label": labels}).to_csv(folder / "a.csv", index=False)
        prepared = make(folder / "a.csv")
        models.append(fitted(prepared))
        profiles.append(prepared.profile.as_json())
    assert_same(*models)
    assert profiles[0] == profiles[1]


def test_no_fitted_number_depends_on_the_locked_test_set(
    make: Make, scenes: Pictures, picture_labels: NDArray[np.int64]
) -> None:
    """Neither a scaler nor anything else: other test pictures, and all that is learnt stays.

    (Test pictures only count, without labels, for what is a near-duplicate; here there is none.)
    """
    train, test_labels = (scenes[:60], picture_labels[:60]), picture_labels[60:]
    found = [
        make(train, test=(held_out, test_labels))
        for held_out in (scenes[60:], blobs(1)[60:], 255 - blobs(2)[60:] // 3)
    ]
    first, numbers = fitted(found[0]), found[0].profile.as_json()
    for prepared in found[1:]:
        assert_same(fitted(prepared), first)
        assert {**prepared.profile.as_json(), "fingerprint": numbers["fingerprint"]} == numbers


def test_no_fitted_number_depends_on_the_validation_part(
    make: Make, pictures: Pictures, picture_labels: NDArray[np.int64], scenes: Pictures
) -> None:
    models, means = [], []
    for shown in (pictures[60:], scenes[60:]):
        data = in_parts(pictures[:60], shown, picture_labels)
        held_out = in_parts(scenes[:30], scenes[:0], picture_labels[:30])["train"]
        prepared = make(data, test=held_out)
        (fold,) = prepared.task.folds
        assert len(fold.train) == 60
        assert len(fold.validation) == 30
        models.append(fitted(prepared, fold.train, fold.validation))
        means.append(fitted(prepared)["mean"])  # a scaler that sees the validation part too
    assert_same(*models)
    assert not torch.equal(*means)


def in_parts(train: Pictures, validation: Pictures, labels: NDArray[np.int64]) -> Any:
    """A Hugging Face data set that comes in parts."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )

    def part(shown: Pictures, own: NDArray[np.int64]) -> Any:
        rows = {"image": [Image.fromarray(p) for p in shown], "label": own.tolist()}
        return datasets.Dataset.from_dict(rows, features=features)

    return datasets.DatasetDict(
        {
            "train": part(train, labels[: len(train)]),
            "validation": part(validation, labels[len(train) :]),
        }
    )


def test_the_task_of_a_strategy_names_no_file_and_no_test_picture(
    make: Make, pictures: Pictures, picture_labels: NDArray[np.int64]
) -> None:
    order = np.random.default_rng(0).permutation(90)
    prepared = make((pictures[order], picture_labels[order]))
    held = {name for name in vars(prepared.task) if not name.startswith("_")}
    assert not {"table", "test", "names", "source"} & held
    assert len(prepared.task.pixels(32)) == len(prepared.development)
    assert not np.isin(prepared.development, prepared.test.samples).any()
