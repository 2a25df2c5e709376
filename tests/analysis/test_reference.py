"""Reference statistics come back from their file, and no other file passes for them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from autotl.analysis.frechet import frechet_distance
from autotl.analysis.reference import FORMAT, Reference, find_reference, place_of
from autotl.backbones.zoo import EMBEDDED_FILE, Backbone, open_backbone, random_backbone
from autotl.errors import InputError

N, D = 400, 32


def features_of(seed: int = 0, n: int = N) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, D)) * np.arange(1, D + 1) ** -0.7
    found: NDArray[np.float32] = (3 + mixed @ np.linalg.qr(np.eye(D) + 0.1)[0]).astype(np.float32)
    return found


@pytest.fixture
def own(backbone: Backbone) -> Reference:
    return Reference.measure(features_of(), np.arange(N) % 8, backbone, "drawn pictures")


def test_it_comes_back(own: Reference, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    own.save(file)
    back = Reference.load(file)
    covariance = own.statistics.covariance
    np.testing.assert_allclose(back.statistics.mean, own.statistics.mean, rtol=1e-5)
    np.testing.assert_allclose(
        back.statistics.covariance, covariance, atol=2e-3 * np.diag(covariance).max()
    )
    assert frechet_distance(own.statistics, back.statistics) < 1e-2 * np.trace(covariance)
    spread = np.abs(own.prototypes - own.statistics.mean).max()
    np.testing.assert_allclose(back.prototypes, own.prototypes, atol=spread / 200)
    assert back.weights.tolist() == own.weights.tolist() == [50.0] * 8
    assert back.summary() == own.summary()
    assert back.statistics.error == own.statistics.error


def test_a_summary_can_be_read(own: Reference, backbone: Backbone, tmp_path: Path) -> None:
    own.save(tmp_path / "own.safetensors")
    values = json.loads((tmp_path / "own.json").read_text())
    assert values["weights_hash"] == backbone.weights_hash
    assert (values["n_samples"], values["n_classes"], values["num_features"]) == (N, 8, D)
    assert values["source"] == "drawn pictures"
    assert sorted(os.listdir(tmp_path)) == ["own.json", "own.safetensors"]


def test_prototypes_are_the_classes_means(own: Reference) -> None:
    members = features_of()[np.arange(N) % 8 == 3]
    np.testing.assert_allclose(own.prototypes[3], members.mean(axis=0), rtol=1e-4)


def test_distance_grows_with_the_shift(own: Reference) -> None:
    labels = np.arange(N) % 4
    found = [own.distance(features_of(1) + np.float32(shift), labels) for shift in (0, 0.5, 1)]
    frechet = [one.frechet for one in found]
    assert frechet == sorted(frechet)
    assert frechet[0] < 0.05
    variance = np.trace(own.statistics.covariance)
    assert frechet[2] == pytest.approx(D / variance, rel=0.1)
    prototypes = [one.prototypes or 0.0 for one in found]
    assert prototypes == sorted(prototypes)
    assert prototypes[2] == pytest.approx(np.sqrt(D / variance), rel=0.3)


def test_many_classes_and_one(own: Reference, backbone: Backbone) -> None:
    many = own.distance(features_of(), np.arange(N))
    assert many.prototypes is not None
    alone = Reference.measure(features_of(), np.zeros(N, np.int64), backbone, "x")
    assert alone.distance(features_of(), np.arange(N) % 2).prototypes is None


def test_too_few_pictures(backbone: Backbone) -> None:
    with pytest.raises(InputError, match="at least 100 pictures, got 99"):
        Reference.measure(features_of(n=99), np.zeros(99, np.int64), backbone, "x")


@pytest.mark.parametrize("content", [b"", b"no safetensors at all"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(InputError, match="other"):
        Reference.load(tmp_path / "other")
    with pytest.raises(InputError, match="nowhere"):
        Reference.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "damage", ["format", "missing", "misshapen", "weights", "not finite", "header"]
)
def test_damaged_files_are_refused(damage: str, own: Reference, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    own.save(file)
    tensors = load_file(file)
    values = own.summary() | {"format": FORMAT, "error": 0.0}
    if damage == "format":
        values["format"] = "else"
    elif damage == "missing":
        del tensors["correlations"]
    elif damage == "misshapen":
        tensors["correlations"] = tensors["correlations"][:-1]
    elif damage == "weights":
        tensors["prototype_weights"] = tensors["prototype_weights"][:-1]
    elif damage == "not finite":
        tensors["mean"][0] = np.nan
    else:
        values["n_samples"] = "many"
    save_file(tensors, file, {name: json.dumps(value) for name, value in values.items()})
    with pytest.raises(InputError, match=r"own\.safetensors"):
        Reference.load(file)


def test_an_unwritable_place_is_named(own: Reference, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.own\.safetensors"):
        own.save(tmp_path / "absent" / "own.safetensors")
    (tmp_path / "own.safetensors").mkdir()
    with pytest.raises(InputError, match="can't be written"):
        own.save(tmp_path / "own.safetensors")
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture
def beside(backbone: Backbone, weights_file: Path, tmp_path: Path) -> Backbone:
    """A backbone whose weights lie in a folder of their own."""
    file = tmp_path / "weights.v2.safetensors"
    file.write_bytes(weights_file.read_bytes())
    return open_backbone(f"resnet10t@{file}")


def test_it_is_found_beside_the_weights(own: Reference, beside: Backbone, tmp_path: Path) -> None:
    assert find_reference(beside) == (None, "")
    assert place_of(beside) == tmp_path / "weights.v2.reference.safetensors"
    own.save(tmp_path / "weights.v2.reference.safetensors")
    found, problem = find_reference(beside)
    assert found is not None
    assert (found.source, problem) == ("drawn pictures", "")
    assert find_reference(random_backbone("resnet10t", 32)) == (None, "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights_hash": "1" * 16}, "made with other weights"),
        ({"image_size": 64}, "pictures of 64 px"),
    ],
)
def test_what_does_not_belong_to_the_backbone_is_told(
    change: dict[str, object], told: str, own: Reference, beside: Backbone
) -> None:
    place = place_of(beside)
    assert place is not None
    replace(own, **change).save(place)  # type: ignore[arg-type]
    found, problem = find_reference(beside)
    assert found is None
    assert told in problem
    place.write_bytes(b"damaged")
    found, problem = find_reference(beside)
    assert found is None
    assert "can't read reference statistics" in problem


def test_the_embedded_backbone_has_one_that_is_small_and_its_own() -> None:
    backbone = open_backbone("embedded")
    file = place_of(backbone)
    assert file is not None
    assert file.stat().st_size < 1_000_000
    found, problem = find_reference(backbone)
    assert problem == "", "make it again: python -m studies.pretrain_embedded.reference"
    assert found is not None
    assert found.statistics.n_samples >= 10_000
    assert file.parent == EMBEDDED_FILE.parent
