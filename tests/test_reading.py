"""What is read and decoded is what the settings ask for; data sets have names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from autotl.backbones.zoo import Backbone
from autotl.config import FitConfig
from autotl.data import ImageTable, Mirrors, Part
from autotl.errors import InputError
from autotl.progress import Progress
from autotl.reading import decode, name_of, read
from autotl.reuse.quota import DiskQuota


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return Mirrors(tmp_path / "mirrors")


@pytest.fixture
def folder(pictures: NDArray[np.uint8], tmp_path: Path) -> Path:
    """Forty pictures of two classes in turn, ``a/00.png``, ``b/01.png``, ..."""
    for i in range(40):
        place = tmp_path / "data" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(place / f"{i:02}.png")
    return tmp_path / "data"


def decoded(folder: Path, backbone: Backbone, **settings: Any) -> ImageTable:
    config = FitConfig(**settings)
    table = read(folder, None, None, config, Mirrors())
    quota = DiskQuota(folder.parent / "cache", 0)
    table, stores = decode(table, {backbone.name: backbone}, quota, config, Progress())
    assert len(stores[backbone.image_size].digests) == len(table)
    return table


def test_every_setting_of_reading_counts(folder: Path, mirrors: Mirrors) -> None:
    files = sorted(str(file) for file in folder.glob("*/*.png"))
    rows = {"image": [0] * 40, "picture": files, "label": [1] * 40, "kind": ["x", "y"] * 20}
    table = pd.DataFrame(rows | {"patient": np.arange(40) // 4})
    table.loc[:9, "picture"] = "/absent.png"
    (folder.parent / "tables").mkdir()
    places = [folder.parent / "tables" / name for name in ("a.csv", "b.csv")]
    table[:30].to_csv(places[0])
    table[30:].to_csv(places[1])
    config = FitConfig(image="picture", label="kind", trust_paths=True, max_unreadable=0.5)
    found = read(*places, "patient", config, mirrors)
    assert found.class_names == ("x", "y")
    assert len(found.quarantine) == 10
    assert found.groups is not None
    assert len(np.unique(found.groups)) == 8
    assert found.parts is not None
    assert (found.parts == Part.TEST).sum() == 10


def test_copies_are_kept_where_the_mirrors_are(
    folder: Path, mirrors: Mirrors, tmp_path: Path
) -> None:
    url = f"memory://{tmp_path.name}/pictures"
    fsspec.filesystem("memory").put(f"{folder}/", f"{url}/", recursive=True)
    assert len(read(url, None, None, FitConfig(), mirrors)) == 40
    assert len(list((tmp_path / "mirrors").rglob("*.png"))) == 40


@pytest.mark.parametrize(("limit", "fine"), [(0.1, False), (0.15, True)])
def test_more_unreadable_pictures_than_allowed_stop_with_the_reasons(
    limit: float, fine: bool, folder: Path, backbone: Backbone
) -> None:
    for i in range(5):
        (folder / "ab"[i % 2] / f"{i:02}.png").write_bytes(b"" if i < 2 else b"x" * i)
    if fine:
        assert len(decoded(folder, backbone, max_unreadable=limit).quarantine) == 5
        return
    with pytest.raises(InputError, match=r"5 of 40 .*more than 10 %.*max_unreadable") as caught:
        decoded(folder, backbone, max_unreadable=limit)
    assert "3 x not a picture in a known format" in str(caught.value)
    assert "2 x the file is empty (0 bytes) [a/00.png, b/01.png]" in str(caught.value)


def test_a_class_whose_pictures_are_all_unreadable_is_named(
    folder: Path, backbone: Backbone
) -> None:
    (folder / "lost").mkdir()
    for i in range(4):
        file = (folder / "ab"[i % 2] / f"{i:02}.png").rename(folder / "lost" / f"{i}.png")
        if i < 3:
            file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"fewer than 2 readable pictures.*'lost'"):
        decoded(folder, backbone)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("/data/my set/", "my set"),
        (Path("/data/a.csv"), "a"),
        (pd.DataFrame(), "pictures"),
        ((np.zeros(1), [0]), "pictures"),
        ("/", "pictures"),
        ("s3://bucket/my set/", "my set"),
        ("https://me:hush@host/a.csv?key=hush", "a"),
    ],
)
def test_the_name_of_a_data_set(dataset: Any, name: str) -> None:
    assert name_of(dataset) == name
