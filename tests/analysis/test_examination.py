"""Similarity and transferability from one pass, on bounded samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from autotl.analysis import examination
from autotl.analysis.channels import ChannelWatcher
from autotl.analysis.examination import LINEAR, Transferability, examine, linear_accuracy, score
from autotl.analysis.labelled import stratified_rows
from autotl.analysis.reference import Reference, place_of
from autotl.analysis.similarity import DomainSimilarity
from autotl.analysis.transferability import SCORES
from autotl.backbones.zoo import Backbone, open_backbone, random_backbone
from autotl.strategies.base import Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig

MakeTask = Callable[..., Task]


@pytest.fixture(scope="session")
def backbone(weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """The tiny backbone with running statistics that aren't a new layer's."""
    state = load_file(weights_file)
    for name in state:
        if name.endswith("running_mean"):
            state[name] += 0.05
    with safe_open(weights_file, "pt") as opened:
        header = opened.metadata()
    file = tmp_path_factory.mktemp("weights") / "measured.safetensors"
    save_file(state, file, header)
    return open_backbone(f"resnet10t@{file}")


class Silent:
    """A reporter that nobody reads."""

    def check(self) -> None:
        """Nothing to check."""

    def report(self, progress: float, score: float, figures: dict[str, float]) -> None:
        """Nobody listens."""


def examined(
    task: Task, backbone: Backbone, **options: Any
) -> tuple[DomainSimilarity, Transferability]:
    return examine(backbone, task.store, task.labels, task.folds[0].train, **options)


def test_both_are_measured(make_task: MakeTask, backbone: Backbone) -> None:
    similarity, transferability = examined(make_task(), backbone)
    assert similarity.value is not None
    assert similarity.n_samples == 60
    assert transferability.n_samples == 60
    assert transferability.scores.keys() == {*SCORES, LINEAR}
    assert np.isfinite(list(transferability.scores.values())).all()
    assert transferability.scores["k_nn_accuracy"] > 0.5
    assert transferability.accuracy_error == pytest.approx(0.05, abs=0.03)


def test_the_linear_accuracy_is_of_samples_that_were_left_out(
    make_task: MakeTask, backbone: Backbone
) -> None:
    """Against one fit for each sample left out; labels that the pictures don't tell give chance."""
    task = make_task()
    rows, depths = task.folds[0].train, range(1, backbone.num_stages + 1)
    found = linear_accuracy(backbone, task.store, task.labels, rows)
    features = task.store.features(backbone, list(depths)[-4:], rows)
    right = []
    for i in range(len(rows)):
        others = np.delete(np.arange(len(rows)), i)
        scaler = StandardScaler().fit(features)
        fit = RidgeClassifier(alpha=1.0).fit(
            scaler.transform(features[others]), task.labels[rows[others]]
        )
        right.append(fit.predict(scaler.transform(features[[i]]))[0] == task.labels[rows[i]])
    assert found == pytest.approx(np.mean(right), abs=0.05)
    drawn = np.random.default_rng(0).integers(3, size=len(task.labels))
    assert linear_accuracy(backbone, task.store, drawn, rows) < 0.6


def test_the_bottleneck_strategy_finds_all_features_there(
    make_task: MakeTask, backbone: Backbone
) -> None:
    task = make_task()
    examined(task, backbone)
    assert task.store.meter.n_computed == len(task.labels)
    config = BottleneckConfig(
        backbone=backbone.name, layers="last_4", head="svm", C=1.0, balanced=False
    )
    train = task.folds[0].train
    Bottleneck().fit(config, task, train, None, Silent())  # type: ignore[arg-type]
    assert task.store.meter.n_computed == len(task.labels)
    assert task.store.features_held_share(backbone) == 1.0


def test_labels_and_pictures_of_validation_are_not_measured(
    make_task: MakeTask, backbone: Backbone, pictures: NDArray[np.uint8]
) -> None:
    """Fold 0 validates the samples 0 to 29."""
    plain = examined(make_task(), backbone)
    other = pictures.copy()
    other[:30] = 255
    labels = np.arange(90) % 3
    labels[:30] = 0
    assert examined(make_task(pixels=other, labels=labels, folder="other"), backbone) == plain


def test_what_an_earlier_pass_noted_is_enough(make_task: MakeTask, backbone: Backbone) -> None:
    task = make_task()
    train = task.folds[0].train
    watcher = ChannelWatcher(np.random.default_rng(0).permutation(90))
    task.store.features(backbone, range(1, backbone.num_stages + 1), watcher=watcher)
    similarity, _ = examined(task, backbone, noted=watcher.moments(train))
    assert task.store.meter.n_computed == 90
    watched, _ = examined(make_task(folder="again"), backbone)
    assert similarity.n_samples == watched.n_samples == len(train)
    assert similarity.distance == pytest.approx(watched.distance, rel=1e-4)
    unknown, _ = examined(task, backbone, noted=[])
    assert unknown.value is None


def test_of_many_pictures_a_stratified_sample_passes(
    make_task: MakeTask, backbone: Backbone
) -> None:
    task = make_task()
    similarity, transferability = examined(task, backbone, max_images=30)
    assert task.store.meter.n_computed == 30
    assert similarity.n_samples == transferability.n_samples == 30


def test_samples_are_bounded(
    make_task: MakeTask, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "MAX_WATCHED", 12)
    monkeypatch.setattr(examination, "MAX_SCORED", 30)
    similarity, transferability = examined(make_task(), backbone)
    assert (similarity.n_samples, transferability.n_samples) == (12, 30)


def test_the_seed_decides(make_task: MakeTask, backbone: Backbone) -> None:
    first, again, other = (
        examined(make_task(folder=str(i)), backbone, max_images=40, seed=seed)
        for i, seed in enumerate((1, 1, 2))
    )
    assert first == again
    assert first != other


def spoilt(backbone: Backbone, file: Path) -> Backbone:
    """The backbone with a layer that isn't finite."""
    assert backbone.weights_file is not None
    state = load_file(backbone.weights_file)
    state["layer3.0.conv1.weight"][:] = float("nan")
    header = {"timm_kwargs": json.dumps(backbone.architecture_options), "image_size": "32"}
    save_file(state, file, header)
    return open_backbone(f"{backbone.architecture}@{file}")


def with_backbone(task: Task, backbone: Backbone) -> Task:
    """The task with a store that knows another backbone's speed."""
    speed = next(iter(task.speeds.values()))
    even = (0.0,) * (backbone.num_stages + 1)
    speeds = {backbone.name: replace(speed, forward_to=even, train_from=even)}
    return replace(task, store=task.store.with_speeds(speeds))


def test_features_that_are_not_finite_are_told_with_the_layer(
    make_task: MakeTask, backbone: Backbone, tmp_path: Path
) -> None:
    broken = spoilt(backbone, tmp_path / "broken.safetensors")
    similarity, transferability = examined(with_backbone(make_task(), broken), broken)
    assert similarity.value is None
    assert "'layer3.0.bn1'" in similarity.reason
    assert "60 of 60 pictures aren't finite, from stage 4 of 5 on" in transferability.reason
    assert transferability.scores == {}


def test_of_copies_of_a_picture_one_is_scored(
    make_task: MakeTask, backbone: Backbone, pictures: NDArray[np.uint8]
) -> None:
    """Thirty pictures thrice, with labels drawn for each: a copy would tell its copy's label."""
    labels = np.tile(np.random.default_rng(0).integers(2, size=30), 3)
    copied = make_task(pixels=np.tile(pictures[:30], (3, 1, 1, 1)), labels=labels)
    _, told = examined(copied, backbone, pictures=np.arange(90) % 30)
    _, alone = examined(copied, backbone)
    assert (told.n_samples, alone.n_samples) == (30, 60)
    assert told.scores[LINEAR] < 0.7 < 0.9 < alone.scores[LINEAR]
    _, none = examined(copied, backbone, pictures=np.zeros(90, np.int64))
    assert none.reason == "fewer than two classes of different pictures"


def test_groups_are_left_out_whole(
    make_task: MakeTask, backbone: Backbone, pictures: NDArray[np.uint8]
) -> None:
    """Each group's pictures look alike and have one label, drawn for the group."""
    groups = np.arange(90) // 6
    labels = np.random.default_rng(0).permutation(15)[groups] % 3
    alike = (0.1 * pictures + 0.9 * pictures[6 * groups]).astype(np.uint8)
    task = make_task(pixels=alike, labels=labels)
    _, found = examined(task, backbone, groups=groups)
    assert found.new_groups_accuracy is not None
    assert found.scores[LINEAR] > 0.9
    assert found.new_groups_accuracy < 0.7
    _, apart = examined(task, backbone)
    assert (apart.scores, apart.new_groups_accuracy) == (found.scores, None)


@pytest.mark.parametrize("value", [0, 128])
@pytest.mark.filterwarnings("error")
def test_constant_pictures(make_task: MakeTask, backbone: Backbone, value: int) -> None:
    flat = np.full((90, 32, 32, 3), value, dtype=np.uint8)
    similarity, transferability = examined(make_task(pixels=flat), backbone)
    assert similarity.value is not None
    assert similarity.interval is not None
    assert transferability.scores["k_nn_accuracy"] == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.filterwarnings("error")
def test_few_samples(make_task: MakeTask, backbone: Backbone, pictures: NDArray[np.uint8]) -> None:
    from autotl.data import Fold

    fold = Fold(np.array([0, 1, 3]), np.array([2]))
    task = make_task(pixels=pictures[:4], labels=np.arange(4) % 2, folds=(fold,))
    similarity, transferability = examined(task, backbone)
    assert "too few pictures (3" in similarity.reason
    assert transferability.n_samples == 3


@pytest.mark.filterwarnings("error")
def test_very_many_classes_are_sampled_by_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10_000), 3)
    means = rng.normal(size=(10_000, 16))
    features = (means[labels] + 0.05 * rng.normal(size=(30_000, 16))).astype(np.float32)
    found = score(features, labels, rng)
    assert found.n_samples == 600  # 200 classes of three
    assert found.scores["centroid_accuracy"] > 0.9


@pytest.mark.parametrize("labels", [np.zeros(20, np.int64), np.zeros(1, np.int64)])
def test_nothing_to_tell_apart(labels: NDArray[np.int64]) -> None:
    features = np.ones((len(labels), 3), np.float32)
    found = score(features, labels, np.random.default_rng(0))
    assert found.scores == {}
    assert found.reason


def test_strata_have_their_share() -> None:
    labels = np.repeat([7, 3, 9], [500, 300, 200])
    rows = stratified_rows(labels, 100, np.random.default_rng(0))
    assert np.unique(labels[rows], return_counts=True)[1].tolist() == pytest.approx(
        [30, 50, 20], abs=1
    )
    assert len(np.unique(rows)) == 100
    assert (np.diff(rows) > 0).all()
    assert rows.max() > 900
    assert stratified_rows(labels[:5], 9, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


class TestReference:
    """Reference statistics beside the weights."""

    @pytest.fixture
    def own(self, backbone: Backbone, tmp_path: Path, pictures: NDArray[np.uint8]) -> Backbone:
        """A copy of the backbone with reference statistics of the pictures."""
        file = tmp_path / "own.safetensors"
        assert backbone.weights_file is not None
        file.write_bytes(backbone.weights_file.read_bytes())
        opened = open_backbone(f"resnet10t@{file}")
        with torch.no_grad():
            network = opened.create(1, pretrained=True).eval()
            features = network.features(opened.normalise(torch.from_numpy(pictures)), [5])[0]
        twice = np.concatenate([features.numpy()] * 2)
        place = place_of(opened)
        assert place is not None
        Reference.measure(twice, np.arange(180) % 3, opened, "pictures").save(place)
        return opened

    def test_the_distance_is_told(self, make_task: MakeTask, own: Backbone) -> None:
        similarity, _ = examined(with_backbone(make_task(), own), own)
        assert similarity.source is not None
        assert similarity.source.frechet < 0.1
        assert similarity.source.prototypes is not None
        assert similarity.source.n_source == 180
        assert (similarity.note, similarity.reason) == ("", "")
        flat = np.full((90, 32, 32, 3), 255, dtype=np.uint8)
        task = with_backbone(make_task(pixels=flat, folder="flat"), own)
        far, _ = examined(task, own)
        assert far.source is not None
        assert far.source.frechet > 10 * similarity.source.frechet

    def test_those_of_other_weights_are_not_used(self, make_task: MakeTask, own: Backbone) -> None:
        other = replace(own, weights_hash="0" * 16)
        similarity, _ = examined(with_backbone(make_task(), other), other)
        assert similarity.source is None
        assert similarity.value is not None
        assert "made with other weights" in similarity.note
        assert own.weights_hash in similarity.note

    def test_without_batch_norm_the_value_comes_from_them(
        self, make_task: MakeTask, tmp_path: Path
    ) -> None:
        source = random_backbone("convnext_atto", 32)
        file = tmp_path / "convnext.safetensors"
        save_file(source.create(2, pretrained=False, seed=3).model.state_dict(), file)
        opened = open_backbone(f"convnext_atto@{file}")
        opened = replace(opened, image_size=32)
        unknown, _ = examined(with_backbone(make_task(), opened), opened)
        assert unknown.value is None
        assert "no BatchNorm" in unknown.reason
        task = with_backbone(make_task(folder="again"), opened)
        features = task.store.features(opened, [opened.num_stages])
        place = place_of(opened)
        assert place is not None
        labels = np.tile(task.labels, 2)
        Reference.measure(np.concatenate([features] * 2), labels, opened, "x").save(place)
        known, _ = examined(task, opened)
        assert known.value is not None
        assert known.value > 0.7
        assert (known.interval, known.reason) == (None, "")
