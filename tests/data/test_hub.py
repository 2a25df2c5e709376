"""Hugging Face data sets."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.data import Part, read_dataset
from autotl.errors import InputError

datasets = pytest.importorskip("datasets")


def stored(i: int) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (i, 0, 0)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def make(n: int = 6, first: int = 0, **columns: object):
    label = datasets.ClassLabel(names=["zebra", "ape", "unused"])
    features = {"picture": datasets.Image(), "species": label}
    data = {
        "picture": [stored(first + i) for i in range(n)],
        "species": [i % 2 for i in range(n)],
    }
    data |= columns
    features |= {name: datasets.Value("string") for name in columns}
    return datasets.Dataset.from_dict(data, features=datasets.Features(features))


def test_columns_are_found_by_type() -> None:
    table = read_dataset(make())
    assert table.class_names == ("ape", "zebra")
    assert table.labels.tolist() == [1, 0] * 3
    assert table.parts is None
    assert table.read(4).getpixel((0, 0)) == (4, 0, 0)
    assert table.name(4) == "dataset[4]"
    assert pickle.loads(pickle.dumps(table)).read(4).size == (6, 5)


def test_transforms_and_formats_are_left_out() -> None:
    data = make()
    plain = read_dataset(data)
    data = data.with_transform(lambda rows: {"picture": [None] * len(rows["picture"])})
    assert read_dataset(data).fingerprint == plain.fingerprint
    assert read_dataset(make().with_format("numpy")).fingerprint == plain.fingerprint


def test_pictures_stored_as_paths(folder: Path) -> None:
    paths = [str(folder / c / f"{i}.png") for c in ("cat", "dog") for i in range(3)]
    data = datasets.Dataset.from_dict({"image": paths, "label": list("aaabbb")})
    table = read_dataset(data.cast_column("image", datasets.Image()))
    assert table.class_names == ("a", "b")
    assert table.read(5).size == (9, 7)
    assert len(set(read_dataset(folder).labels)) == 2
    with pytest.raises(InputError, match="cast_column"):
        read_dataset(data, image="image")


def test_dict_of_parts() -> None:
    both = datasets.DatasetDict(train=make(6), validation=make(4, 50), test=make(4, 100))
    table = read_dataset(both)
    assert table.parts.tolist() == [Part.TRAIN] * 6 + [Part.VALIDATION] * 4 + [Part.TEST] * 4
    assert table.read(10).getpixel((0, 0)) == (100, 0, 0)
    assert table.name(10) == "test[0]"
    with pytest.raises(InputError, match=r"parts extra"):
        read_dataset(datasets.DatasetDict(train=make(), extra=make()))


def test_groups_and_named_label() -> None:
    data = make(who=["p", "q", "p", None, "q", None], other=list("xyxyxy"))
    table = read_dataset(data, group="who", label="other")
    assert table.class_names == ("x", "y")
    assert table.groups.tolist() == [0, 1, 0, 2, 1, 3]


def test_missing_labels() -> None:
    data = make().remove_columns("species").add_column("label", ["a", "b", None, "a", "b", "a"])
    with pytest.raises(InputError, match=r"no label in column 'label' .* row 2"):
        read_dataset(data)
    hidden = datasets.Dataset.from_dict(
        {"image": [stored(i) for i in range(3)], "label": [0, 1, -1]},
        features=datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
        ),
    )
    with pytest.raises(InputError, match="no label"):
        read_dataset(hidden)


@pytest.mark.parametrize("option", ["image", "label", "group"])
def test_columns_that_are_not_there(option: str) -> None:
    with pytest.raises(InputError, match=rf"no column 'none' for {option}=.*'picture' \(Image\)"):
        read_dataset(make(), **{option: "none"})


def test_columns_that_can_not_be_found() -> None:
    with pytest.raises(InputError, match="2 problems"):
        read_dataset(datasets.Dataset.from_dict({"a": [1], "b": [2]}))


def test_sixteen_bit_cells_are_scaled() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(buffer, "PNG")
    data = datasets.Dataset.from_dict(
        {"image": [{"bytes": buffer.getvalue(), "path": None}] * 4, "label": [0, 1] * 2}
    ).cast_column("image", datasets.Image())
    assert read_dataset(data).read(0).getpixel((0, 0)) == 128
