"""What the analysis' page shows of a prepared data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import autotl.candidates as candidates
import autotl.illustrating as illustrating
from autotl.analysis.analysis import analyse
from autotl.backbones.speed import Speed
from autotl.config import make_config
from autotl.illustrating import illustrate
from autotl.preparation import Prepared, prepare
from autotl.progress import Progress
from autotl.recommend.analysis_page import AnalysisContents
from autotl.runtime import NEVER


@pytest.fixture
def prepared(
    tmp_path: Path,
    weights_file: Path,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    monkeypatch: pytest.MonkeyPatch,
) -> Prepared:
    """Of 90 pictures the last 12 are the first 12 again, two of them under another label."""
    speed = Speed("fp32", False, (0.0, 1e-4), (4e-4, 0.0))
    monkeypatch.setattr(candidates, "measure_speed", lambda *_: speed)
    shown, labels = pictures.copy(), picture_labels.copy()
    shown[78:], labels[78:] = shown[:12], labels[:12]
    labels[[78, 79]] = (labels[[78, 79]] + 1) % 3
    config = make_config({"backbones": [f"resnet10t@{weights_file}"], "device": "cpu"})
    return prepare((shown, labels), None, None, config, tmp_path, NEVER, Progress())


@pytest.fixture
def shown(prepared: Prepared) -> AnalysisContents:
    return illustrate(prepared, analyse(prepared.profile), thorough=False)


def index_of(name: str) -> int:
    """Of ``array[12]``."""
    return int(name.partition("[")[2].rstrip("]"))


def test_only_development_samples_are_shown(prepared: Prepared, shown: AnalysisContents) -> None:
    test = {prepared.test.table.name(int(sample)) for sample in prepared.test.samples}
    repeated = [picture for found in shown.repeated for picture in found.pictures]
    assert shown.pictures
    assert repeated
    assert not test & {picture.name for picture in (*shown.pictures, *repeated)}
    assert len(shown.feature_map.points) == len(prepared.task.labels)
    assert np.array_equal(shown.feature_map.labels, prepared.task.labels)


def test_pictures_have_their_own_names_and_labels(
    prepared: Prepared, shown: AnalysisContents, pictures: NDArray[np.uint8]
) -> None:
    table = prepared.test.table
    for picture in shown.pictures:
        index = index_of(picture.name)
        assert np.array_equal(picture.pixels, pictures[index % 78])
        assert picture.label == table.class_names[table.labels[index]]
    labels = [picture.label for picture in shown.pictures]
    assert {label: labels.count(label) for label in labels} == dict.fromkeys("012", 12)


def test_repeated_pictures_are_found_with_different_labels_first(
    prepared: Prepared, shown: AnalysisContents
) -> None:
    hidden = sum(index < 12 for index in prepared.test.samples)
    assert shown.n_repeated_in_test == hidden
    assert shown.n_repeated == len(shown.repeated) == 12 - hidden
    order = [found.same_label for found in shown.repeated]
    assert order == sorted(order)
    for found in shown.repeated:
        first, second = sorted(index_of(picture.name) for picture in found.pictures)
        assert second == first + 78
        assert (found.n_samples, found.same_pixels) == (2, True)
        assert found.same_label == (first not in (0, 1))


def test_pictures_in_other_pixels_count_by_their_links(prepared: Prepared) -> None:
    none = dataclasses.replace(prepared, links=np.empty((0, 2), dtype=np.int64))
    before = illustrate(none, analyse(prepared.profile), thorough=False)
    alone = [i for i in prepared.development if 12 <= i < 78][:3]
    links = np.array([[alone[0], alone[1]], [alone[1], alone[2]]])
    linked = dataclasses.replace(prepared, links=links)
    shown = illustrate(linked, analyse(prepared.profile), thorough=False)
    assert shown.n_repeated == before.n_repeated + 1
    (found,) = [found for found in shown.repeated if not found.same_pixels]
    assert found.n_samples == 3
    assert {index_of(picture.name) for picture in found.pictures} == {int(i) for i in alone}


def test_a_map_whose_features_must_be_made_first_is_of_fewer_samples(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(illustrating, "_MIN_MAPPED", 20)
    slow = {name: Speed("fp32", False, (0.0, 1.0), (4.0, 0.0)) for name in prepared.task.backbones}
    task = dataclasses.replace(prepared.task, speeds=slow)
    later = dataclasses.replace(prepared, task=task)

    def n_mapped() -> int:
        found = illustrate(later, analyse(prepared.profile), thorough=False).feature_map
        assert found.n_all == len(task.labels)
        return len(found.points)

    assert n_mapped() == len(task.labels)
    monkeypatch.setattr(type(task.store), "features_held_share", lambda *_: 0.5)
    assert n_mapped() == 20


def test_a_thorough_map_keeps_neighbours(prepared: Prepared, shown: AnalysisContents) -> None:
    assert "principal components" in shown.feature_map.method
    thorough = illustrate(prepared, analyse(prepared.profile), thorough=True)
    assert thorough.feature_map.method == "t-SNE"
