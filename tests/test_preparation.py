from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

import autotl.analysis.ranking as ranking
import autotl.candidates as candidates
import autotl.preparation as preparation
import autotl.profiling as profiling
from autotl.analysis.analysis import analyse
from autotl.backbones.speed import Speed, Way
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.weights import read_header, read_state
from autotl.candidates import scoring_s
from autotl.config import make_config
from autotl.data import pictures as pictures_module
from autotl.errors import BackboneUnavailableError, InputError
from autotl.preparation import Prepared, prepare
from autotl.progress import Progress
from autotl.reuse.activations import ActivationStore
from autotl.runtime import Deadline
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig

CPU = torch.device("cpu")
Prepare = Callable[..., Prepared]


class Notes(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []

    def phase(self, name: str, time_left_s: float | None = None) -> None:
        self.phases.append(name)

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def speed() -> list[Speed]:
    """What each backbone is said to cost; a test may put another one."""
    return [Speed("fp32", False, (0.0, 1e-4), (4e-4, 0.0))]


@pytest.fixture
def make(
    tmp_path: Path,
    weights_file: Path,
    notes: Notes,
    speed: list[Speed],
    monkeypatch: pytest.MonkeyPatch,
) -> Prepare:
    """Prepares a data set with the tiny backbone, no time limit unless one is given."""
    monkeypatch.setattr(candidates, "measure_speed", lambda *_: speed[0])

    def run(dataset: Any, *, test: Any = None, group: Any = None, **settings: Any) -> Prepared:
        limit = settings.pop("time_budget_s", None)
        folder = settings.pop("folder", tmp_path / "cache")
        only_measured = settings.pop("only_measured", False)
        config = make_config(
            {"backbones": [f"resnet10t@{weights_file}"], "device": "cpu", **settings}
        )
        return prepare(
            *(dataset, test, group, config, folder, Deadline.after(limit), notes),
            only_measured=only_measured,
        )

    return run


def digests(prepared: Prepared) -> tuple[list[bytes], list[bytes]]:
    """Contents of the development and of the test pictures."""
    development = prepared.task.pixels(32)[prepared.task.all_samples]
    test = prepared.test.pixels(32)[np.arange(len(prepared.test.samples))]
    return [p.tobytes() for p in development], [p.tobytes() for p in test]


def test_a_data_set_becomes_a_task(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64], notes: Notes
) -> None:
    prepared = make((pictures, picture_labels))
    task, profile = prepared.task, prepared.profile
    assert len(task.labels) + len(prepared.test.samples) == 90
    assert profile.size.n_samples == len(task.labels)
    assert profile.size.n_test == len(prepared.test.samples) == 18
    assert profile.class_names == ("0", "1", "2")
    assert profile.n_folds == len(task.folds)
    assert task.metric.name == "accuracy"
    assert profile.size.n_distinct == len(task.labels)
    assert profile.sufficiency is not None
    assert profile.sufficiency.learning_curve.n_train == len(task.folds[0].train)
    assert set(profile.sufficiency.capacity) == set(task.backbones)
    assert prepared.quarantine == ()
    assert prepared.name == "pictures"
    assert notes.phases == ["read", "decode", "profile"]


def test_of_many_pictures_that_are_only_measured_a_sample_passes(
    make: Prepare,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    notes: Notes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiling, "MAX_IMAGES", 40)
    monkeypatch.setattr(profiling, "MAX_COMPARED", 60)
    twice = np.concatenate([pictures, pictures[:1, :, ::-1]]), np.append(picture_labels, 0)
    prepared = make(twice, only_measured=True)
    task, profile = prepared.task, prepared.profile
    assert task.store.meter.n_computed == 40 + 10  # of validation samples, for the learning curve
    assert profile.sufficiency is not None
    assert profile.sufficiency.learning_curve.n_train == len(task.folds[0].train) > 40
    crops, sample = profile.not_looked_for
    assert "crops" in crops
    assert "more than 40 pictures" in crops
    assert "among 60 of the 91 pictures" in sample
    assert set(notes.notes) >= {crops, sample}
    assert crops in str(analyse(profile))


def test_pixels_and_labels_stay_together(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    prepared = make((pictures, picture_labels))
    label_of = {p.tobytes(): int(label) for p, label in zip(pictures, picture_labels, strict=True)}
    development, test = digests(prepared)
    assert [label_of[content] for content in development] == prepared.task.labels.tolist()
    assert [label_of[content] for content in test] == prepared.test.labels.tolist()


def test_no_picture_of_the_test_set_is_reachable_from_the_task(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    prepared = make((pictures, picture_labels))
    development, test = digests(prepared)
    assert not set(development) & set(test)
    view = prepared.task.pixels(32)
    assert len(view) == len(prepared.task.labels)
    with pytest.raises(IndexError):
        view[np.array([len(view)])]


def test_equal_pictures_never_stand_on_two_sides(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    twice = np.concatenate([pictures[:45], pictures[:45]])
    labels = np.concatenate([picture_labels[:45], picture_labels[:45]])
    prepared = make((twice, labels))
    development, test = digests(prepared)
    assert len(test) > 0
    assert not set(development) & set(test)
    assert prepared.profile.size.n_duplicates == len(development) // 2
    for fold in prepared.task.folds:
        train = {development[i] for i in fold.train}
        assert not train & {development[i] for i in fold.validation}


def test_groups_never_stand_on_two_sides(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    groups = np.arange(90) // 6  # fifteen patients of six pictures each, two of every class
    group_of = {p.tobytes(): int(group) for p, group in zip(pictures, groups, strict=True)}
    prepared = make((pictures, picture_labels), group=groups)
    development, test = ([group_of[c] for c in side] for side in digests(prepared))
    assert test
    assert not set(development) & set(test)
    for fold in prepared.task.folds:
        train = {development[i] for i in fold.train}
        assert not train & {development[i] for i in fold.validation}


def test_a_given_test_set_is_the_test_set(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64], notes: Notes
) -> None:
    train = (np.concatenate([pictures[:60], pictures[85:]]), [*picture_labels[:60], 1, 2, 0, 1, 2])
    prepared = make(train, test=(pictures[60:], picture_labels[60:]))
    development, test = digests(prepared)
    assert sorted(test) == sorted(p.tobytes() for p in pictures[60:])
    assert len(development) == 60  # five occur in the test set
    (note,) = (note for note in notes.notes if "5 training pictures are left out" in note)
    assert "array[60] has the same pixels as array[25] of the test part" in note
    assert [name for name, _ in prepared.quarantine] == [f"array[{60 + i}]" for i in range(5)]
    assert prepared.quarantine[4][1] == "has the same pixels as array[29] of the test part"
    assert prepared.profile.n_quarantined == 0


def test_what_a_given_test_set_nearly_repeats_is_named(
    make: Prepare, scenes: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    train = np.concatenate([scenes[:60], (scenes[70:71] * 0.8).astype(np.uint8)])
    labels = [*picture_labels[:60], picture_labels[70]]
    prepared = make((train, labels), test=(scenes[60:], picture_labels[60:]))
    assert prepared.quarantine == (
        ("array[60]", "shows nearly the same picture as array[10] of the test part"),
    )
    assert len(prepared.task.labels) == 60


def test_what_a_given_validation_part_repeats_is_named(
    make: Prepare, pictures: NDArray[np.uint8], tmp_path: Path, notes: Notes
) -> None:
    for i, picture in enumerate(np.concatenate([pictures, pictures[:1]])):
        part = "val" if 60 <= i < 90 else "train"
        folder = tmp_path / "data" / part / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{i}.png")
    shutil.copy(tmp_path / "data/val/a/60.png", tmp_path / "data/train/a/copy.png")
    prepared = make(tmp_path / "data")
    (note,) = (note for note in notes.notes if "don't train" in note)
    assert note.startswith("1 training pictures")
    assert "train/a/copy.png has the same pixels as val/a/60.png of the validation part" in note
    assert prepared.quarantine == ()


def test_the_same_seed_makes_the_same_split(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    splits = [make((pictures, picture_labels), seed=seed).test.samples for seed in (0, 0, 1)]
    np.testing.assert_array_equal(splits[0], splits[1])
    assert not np.array_equal(splits[0], splits[2])


def test_unreadable_pictures_are_listed_and_left_out(
    make: Prepare, pictures: NDArray[np.uint8], tmp_path: Path, notes: Notes
) -> None:
    data = tmp_path / "my data"
    for i in range(40):
        folder = data / ("ä b" if i % 2 else "c")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(folder / f"{i}.png")
    (data / "c" / "0.png").write_bytes(b"")
    content = (data / "c" / "2.png").read_bytes()
    (data / "c" / "2.png").write_bytes(content[: len(content) // 2])
    prepared = make(data)
    assert sorted(Path(name).name for name, _ in prepared.quarantine) == ["0.png", "2.png"]
    assert all(reason for _, reason in prepared.quarantine)
    assert len(prepared.task.labels) + len(prepared.test.samples) == 38
    assert prepared.profile.n_quarantined == 2
    assert any("2 unreadable pictures are left out" in note for note in notes.notes)
    assert prepared.name == "my data"


def test_equal_pictures_under_different_labels_are_told(
    make: Prepare, pictures: NDArray[np.uint8], picture_labels: NDArray[np.int64], notes: Notes
) -> None:
    labels = picture_labels.copy()
    twice = pictures.copy()
    twice[1] = twice[0]
    make((twice, labels))
    assert any("under different labels" in note for note in notes.notes)


@pytest.fixture
def scenes(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The stripes and blocks, each with blobs of its own."""
    coarse = np.random.default_rng(0).integers(0, 128, (90, 8, 8, 3))
    return (pictures // 2 + coarse.repeat(4, axis=1).repeat(4, axis=2)).astype(np.uint8)


def test_nearly_equal_pictures_never_stand_on_two_sides(
    make: Prepare, scenes: NDArray[np.uint8], picture_labels: NDArray[np.int64]
) -> None:
    """Each picture once more, darker, or mirrored."""
    darker = (scenes[:40] * 0.8).astype(np.uint8)
    shown = np.concatenate([scenes[:80], darker, scenes[40:80, :, ::-1]])
    prepared = make((shown, np.tile(picture_labels[:80], 2)))
    number = {p.tobytes(): i % 80 for i, p in enumerate(shown)}
    development, test = ([number[c] for c in side] for side in digests(prepared))
    assert test
    assert not set(development) & set(test)
    assert prepared.profile.size.n_distinct == len(set(development))
    assert prepared.profile.size.n_duplicates == 0
    for fold in prepared.task.folds:
        train = {development[i] for i in fold.train}
        assert not train & {development[i] for i in fold.validation}


def test_nearly_equal_pictures_under_different_labels_are_told(
    make: Prepare, scenes: NDArray[np.uint8], picture_labels: NDArray[np.int64], notes: Notes
) -> None:
    shown = scenes.copy()
    shown[1] = scenes[0] * 0.8
    make((shown, picture_labels))
    (note,) = (note for note in notes.notes if "under different labels" in note)
    assert "1 picture occurs" in note
    assert "array[0] and array[1]" in note


@pytest.mark.parametrize(
    ("train_s", "n_folds", "told"),
    [
        (1e-4, 5, None),
        (2e-2, 3, "by 3-fold instead of 5-fold"),
        (4e-2, 2, "by 2-fold instead of 5-fold"),
        (5.5e-2, 1, "on one hold-out, not by 5-fold"),
        (1.0, 5, None),  # networks can't be trained either way
    ],
)
def test_little_time_means_fewer_folds(
    train_s: float,
    n_folds: int,
    told: str | None,
    make: Prepare,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    speed: list[Speed],
    notes: Notes,
) -> None:
    speed[0] = Speed("fp32", False, (0.0, 1e-5), (train_s, 0.0))
    prepared = make((pictures, picture_labels), time_budget_s=150.0)
    assert len(prepared.task.folds) == n_folds
    assert [told in note for note in notes.notes if "validating" in note] == [True] * bool(told)


def test_a_wrong_backbone_is_told_before_anything_is_read(make: Prepare, notes: Notes) -> None:
    with pytest.raises(InputError, match="did you mean"):
        make("/absent", backbones=["resnet81"])
    with pytest.raises(BackboneUnavailableError):
        make("/absent", backbones=["resnet18@/absent.safetensors"])
    assert notes.phases == []


def test_one_network_at_two_sizes(
    make: Prepare,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    weights_file: Path,
) -> None:
    own = f"resnet10t@{weights_file}"
    prepared = make((pictures, picture_labels), backbones=[own, f"{own}@48px"])
    sizes = {name: entry.image_size for name, entry in prepared.profile.backbones.items()}
    assert sizes == {own: 32, f"{own}@48px": 48}
    one, two = prepared.task.backbones.values()
    assert one.weights_hash == two.weights_hash
    found = [prepared.task.store.features(backbone, [3]) for backbone in (one, two)]
    assert found[0].shape == found[1].shape
    assert not np.allclose(found[0], found[1])
    assert prepared.test.pixels(48)[np.arange(2)].shape == (2, 48, 48, 3)


def test_one_network_twice_at_one_size_is_refused(make: Prepare, weights_file: Path) -> None:
    own = f"resnet10t@{weights_file}"
    with pytest.raises(InputError, match="the same weights at the same 32 px"):
        make("/absent", backbones=[own, f"{own}@32px"])


def test_auto_without_a_hub_is_the_embedded_backbone_and_says_so(
    monkeypatch: pytest.MonkeyPatch, notes: Notes
) -> None:
    monkeypatch.setattr(candidates, "hub_reachable", lambda: False)
    found = candidates.open_backbones(make_config({}), "cpu", notes)
    assert list(found) == ["embedded"]
    (note,) = notes.notes
    assert "can't be reached" in note


def test_auto_goes_on_without_what_the_hub_does_not_give(
    monkeypatch: pytest.MonkeyPatch, notes: Notes
) -> None:
    def refuse(name: str, *, device_type: str) -> Any:
        if name == "embedded":
            return name
        raise BackboneUnavailableError("gone")

    monkeypatch.setattr(candidates, "hub_reachable", lambda: True)
    monkeypatch.setattr(candidates, "open_backbone", refuse)
    found = candidates.open_backbones(make_config({}), "cpu", notes)
    assert list(found) == ["embedded"]
    assert notes.notes
    assert all("gone" in note for note in notes.notes)


def test_a_test_set_is_scored_in_fp32_by_whichever_backbone_is_slowest() -> None:
    slow = Speed("fp32", False, (0.0, 1e-3), (4e-3, 0.0))
    quick = Speed("bf16", True, (0.0, 5e-4), (4e-3, 0.0))
    assert scoring_s(1000, {"slow": slow}) == pytest.approx(1.0)
    assert scoring_s(1000, {"slow": slow, "quick": quick}) == pytest.approx(1.2)


@pytest.fixture
def picture_folder(tmp_path: Path, pictures: NDArray[np.uint8]) -> Path:
    for i in range(40):
        folder = tmp_path / "data" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).resize((40, 50)).save(folder / f"{i}.png")
    return tmp_path / "data"


def test_a_second_time_nothing_is_decoded(
    make: Prepare, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = digests(make(picture_folder))

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr("autotl.data.pictures.decode", refuse)
    assert digests(make(picture_folder)) == first


def test_without_a_cache_all_goes_on(make: Prepare, picture_folder: Path, tmp_path: Path) -> None:
    expected = digests(make(picture_folder))
    (tmp_path / "file").write_text("")
    none = tmp_path / "none"
    assert digests(make(picture_folder, folder=none, disk_cache_gb=0)) == expected
    assert not none.exists()
    with pytest.warns(UserWarning, match="can't be written"):
        prepared = make(picture_folder, folder=tmp_path / "file" / "cache")
    assert digests(prepared) == expected


def test_no_picture_is_decoded_or_passed_twice(
    make: Prepare, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The analyzer's pass makes what the bottleneck strategy reads."""
    decoded: list[str] = []
    passed: list[int] = []
    decode, features = pictures_module.decode, StagedNetwork.features

    def counted(source: Any, *rest: Any, **named: Any) -> Any:
        decoded.append(str(source))
        return decode(source, *rest, **named)

    def watched(self: StagedNetwork, x: torch.Tensor, *rest: Any) -> list[torch.Tensor]:
        passed.append(len(x))
        return features(self, x, *rest)

    monkeypatch.setattr(pictures_module, "decode", counted)
    monkeypatch.setattr(StagedNetwork, "features", watched)
    prepared = make(picture_folder)
    task = prepared.task
    (backbone,) = task.backbones.values()
    (profile,) = prepared.profile.backbones.values()
    n = len(decoded)  # copies of a test picture would have to be found
    assert profile.transferability.n_samples == len(task.folds[0].train)
    assert task.store.meter.n_computed == n
    config = BottleneckConfig(
        backbone=backbone.name, layers="all", head="svm", C=1.0, balanced=False
    )
    reporter: Any = SimpleNamespace(check=lambda: None, report=lambda *_: None)
    Bottleneck().fit(config, task, task.folds[0].train, None, reporter)
    assert task.store.meter.n_computed == n
    assert sum(k for k in passed if k > 1) == n  # single blank pictures tell the channels
    assert len(decoded) == len(set(decoded)) == 40


def test_little_time_means_a_sample_is_analysed(
    make: Prepare,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    speed: list[Speed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiling, "MAX_WATCHED", 20)
    speed[0] = Speed("fp32", False, (0.0, 1.0), (1e-4, 0.0))
    prepared = make((pictures, picture_labels), time_budget_s=300.0)
    (profile,) = prepared.profile.backbones.values()
    assert 20 <= profile.transferability.n_samples <= 30
    assert prepared.task.store.meter.n_computed == profile.transferability.n_samples


@pytest.fixture
def many(weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Six tiny backbones, of which the last one's features aren't finite; small rounds."""
    monkeypatch.setattr(ranking, "FIRST_PICTURES", 16)
    monkeypatch.setattr(ranking, "MAX_PICTURES", 32)
    header, names = read_header(weights_file), []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        state = {
            name: value + 0.3 * value.std() * torch.randn(value.shape, generator=generator)
            if value.ndim == 4
            else value
            for name, value in read_state(weights_file).items()
        }
        if seed == 5:
            state["conv1.0.weight"] = state["conv1.0.weight"] * float("nan")
        file = tmp_path / f"{seed}.safetensors"
        save_file(state, file, header)
        names.append(f"resnet10t@{file}")
    return names


def test_of_many_backbones_a_few_are_tried(
    make: Prepare,
    many: list[str],
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    speed: list[Speed],
    notes: Notes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed: list[str] = []

    def timing(backbone: Any, *_: Any) -> Speed:
        timed.append(backbone.name)
        return speed[0]

    monkeypatch.setattr(candidates, "measure_speed", timing)
    prepared = make((pictures, picture_labels), backbones=many)
    entries = prepared.profile.ranking
    kept = [entry.name for entry in entries if entry.kept]
    assert sorted(entry.name for entry in entries) == sorted(many)
    assert 2 <= len(kept) <= 3
    assert list(prepared.task.backbones) == list(prepared.profile.backbones) == kept == timed
    assert set(prepared.task.speeds) == set(kept)
    assert entries[-1].name == many[5]
    assert entries[-1].accuracy is None
    assert any("of 6 backbones" in note and kept[0] in note for note in notes.notes)
    assert any(many[5] in note and "finite" in note for note in notes.notes)
    told = str(analyse(prepared.profile))
    assert f"{len(kept)} of 6 backbones were kept" in told
    assert "5.safetensors" in told


def test_precisions_are_compared_once_and_never_in_a_hurry(
    make: Prepare,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    speed: list[Speed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways: list[Any] = []

    def timing(backbone: Any, device: Any, way: Any) -> Speed:
        ways.append(way)
        return speed[0]

    monkeypatch.setattr(candidates, "measure_speed", timing)
    for budget_s in (20.0, 60.0, 60.0, 20.0, None):
        make((pictures, picture_labels), time_budget_s=budget_s)
    assert ways[0] == Way("fp32", True)
    assert ways[1] is None  # the first one with time finds out
    assert ways[2] == ways[3] is not None
    assert ways[2].precision == speed[0].precision
    assert ways[4] == Way("fp32", True) != ways[3]  # without a time, no clock chooses


def test_the_same_are_kept_in_whichever_order_they_are_given(
    make: Prepare,
    many: list[str],
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    tmp_path: Path,
) -> None:
    found = [
        make((pictures, picture_labels), backbones=names, folder=tmp_path / key)
        for key, names in (("a", many), ("b", many[::-1]))
    ]
    first, second = (
        [(e.name, e.kept, e.accuracy, e.n_pictures) for e in prepared.profile.ranking]
        for prepared in found
    )
    assert first == second
    assert list(found[0].task.backbones) == list(found[1].task.backbones)


@pytest.mark.parametrize("train_s", [1e-4, 5.5e-2])
def test_backbones_are_ranked_by_training_pictures_of_the_first_fold(
    train_s: float,
    make: Prepare,
    many: list[str],
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    speed: list[Speed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By cross-validation and, with little time, by one hold-out: that is decided afterwards."""
    looked_at: list[NDArray[np.int64]] = []
    pairs = np.arange(90) // 2
    rank = profiling.rank_backbones

    def noting(*arguments: Any, **options: Any) -> Any:
        looked_at.append(arguments[3])
        assert (np.diff(arguments[4])[::2] == 0).all()
        return rank(*arguments, **options)

    monkeypatch.setattr(profiling, "rank_backbones", noting)
    speed[0] = Speed("bf16", False, (0.0, 1e-5), (train_s, 0.0))
    prepared = make((pictures, picture_labels), backbones=many, group=pairs, time_budget_s=150.0)
    assert (len(prepared.task.folds) == 1) == (train_s > 1e-3)
    (samples,) = looked_at
    assert not np.isin(samples, prepared.test.samples).any()
    assert np.isin(samples, prepared.development[prepared.task.folds[0].train]).all()
    assert len(samples) > 30
    first = next(iter(prepared.task.backbones.values()))  # runs as was measured
    assert prepared.task.store.activations(first, 1, np.arange(2)).dtype == torch.bfloat16


def test_the_first_pass_is_that_of_the_embedded_backbone_or_the_smallest(
    weights_file: Path,
) -> None:
    small = candidates.open_backbone(f"resnet10t@{weights_file}")
    large = replace(small, name="a", n_parameters=small.n_parameters + 1)
    twin = replace(small, name="z")
    embedded = replace(large, name="embedded")
    for given, expected in (
        ([large, twin, small], small),
        ([twin, large], twin),
        ([small, twin, embedded], embedded),
    ):
        named = {backbone.name: backbone for backbone in given}
        assert profiling.looking_backbone(named) is expected


def test_pictures_of_many_backbones_pass_once_and_of_the_dropped_only_some(
    make: Prepare, many: list[str], picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled = ActivationStore._pooled
    passed: dict[str, list[int]] = {name: [] for name in many}
    n_networks = []

    def noting(store: Any, backbone: Any, samples: Any, *rest: Any) -> Any:
        passed[backbone.name].append(len(samples))
        n_networks.append(len(store._networks._whole))
        return pooled(store, backbone, samples, *rest)

    monkeypatch.setattr(ActivationStore, "_pooled", noting)
    prepared = make(picture_folder, backbones=many)
    assert max(n_networks) <= 3
    n = len(prepared.task.labels)
    entries = {entry.name: entry for entry in prepared.profile.ranking}
    looking = min(many)  # equally many parameters
    for name in many:
        if name == looking:
            assert n <= sum(passed[name]) <= 40 + n  # all, the test's too; and what is watched
        elif entries[name].kept:
            assert sum(passed[name]) <= n + 32  # what is watched again
        else:
            assert sum(passed[name]) <= entries[name].n_pictures + 2
    assert any(not entries[name].kept for name in many if name != looking)


def test_few_backbones_are_not_ranked(
    make: Prepare,
    many: list[str],
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparation, "rank_candidates", None)
    prepared = make((pictures, picture_labels), backbones=many[3:])
    assert list(prepared.task.backbones) == many[3:]
    assert prepared.profile.ranking == ()
