"""Pairs of arrays and map-style data sets."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from autotl.data import read_dataset
from autotl.errors import InputError, UnreadableImageError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


class TestArrays:
    @pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
    def test_shapes(self, channels: tuple[int, ...]) -> None:
        X = noise(6, 5, 4, *channels)
        table = read_dataset((X, [3, 20, 3, 20, 3, 20]))
        assert table.class_names == ("3", "20")
        assert table.labels.tolist() == [0, 1] * 3
        assert table.read(2).size == (4, 5)
        assert table.name(2) == "array[2]"
        assert table.source.array is X

    @pytest.mark.parametrize(
        "y",
        [
            np.array([0, 1, 0, 1]), np.array(["a", "b"] * 2), np.array(["a", "b"] * 2, object),
            ["a", "b"] * 2, np.array([0.0, 1.0] * 2), torch.tensor([0, 1, 0, 1]),
            np.array([True, False] * 2),
        ],
    )  # fmt: skip
    def test_labels(self, y: object) -> None:
        table = read_dataset((noise(4, 5, 5), y))
        assert table.n_classes == 2
        assert not any(name.endswith(".0") for name in table.class_names)

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.linspace(0, 1, 100).reshape(4, 5, 5), r"float64.*\(X \* 255\)"),
            (np.linspace(0, 255, 100).reshape(4, 5, 5), r"give X\.round\(\)\.astype"),
            (np.linspace(-2, 2, 100).reshape(4, 5, 5), "scale it"),
            (np.full((4, 5, 5), np.nan), "scale it"),
            (np.ones((4, 5, 5), bool), r"\* 255"),
            (np.arange(100).reshape(4, 5, 5), r"int64.*give X\.astype\(np\.uint8\)"),
            (np.full((4, 5, 5), 65535, np.uint16), r"/ 257"),
            (noise(4, 3, 9, 8), r"\(4, 3, 9, 8\): channels first.*transpose"),
            (noise(4, 9, 8, 2), r"\(4, 9, 8, 2\)"),
            (noise(4, 25), r"\(4, 25\)"),
            (noise(4, 0, 5), "no pixels"),
            (torch.zeros(4, 5, 5), "tensor"),
            ([noise(5, 5)] * 4, r"np\.stack"),
        ],
    )
    def test_bad_images(self, X: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_dataset((X, [0, 1, 0, 1]))

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            ([0, 1, 0], "X has 4 and y 3"),
            (np.eye(2)[[0, 1, 0, 1]], "argmax"),
            ([0, None, 1, 1], "no label in 1 of 4 .* index 1"),
            ([0, float("nan"), 1, 1], "no label"),
            ("abab", "must be a sequence"),
            (3, "must be a sequence"),
        ],
    )
    def test_bad_labels(self, y: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_dataset((noise(4, 5, 5), y))

    def test_groups(self) -> None:
        table = read_dataset((noise(4, 5, 5), [0, 1, 0, 1]), group=["p", "q", "q", None])
        assert table.groups.tolist() == [0, 1, 1, 2]
        with pytest.raises(InputError, match="group"):
            read_dataset((noise(4, 5, 5), [0, 1, 0, 1]), group="who")

    def test_problems_are_listed_together(self) -> None:
        with pytest.raises(InputError, match="2 problems"):
            read_dataset((np.zeros((4, 5, 5)), [0, 1]))

    def test_no_columns(self) -> None:
        with pytest.raises(InputError, match="only a table"):
            read_dataset((noise(4, 5, 5), [0, 1, 0, 1]), label="y")


class Pictures(Dataset):
    """A map-style data set of given items."""

    def __init__(self, items: list, classes: list[str] | None = None) -> None:
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item() if callable(item) else item


def pil(i: int) -> Image.Image:
    return Image.new("RGB", (6, 5), (i, 0, 0))


class TestTorch:
    def test_pil_and_class_names(self) -> None:
        data = Pictures([(pil(i), i % 2) for i in range(6)], ["zebra", "ape"])
        table = read_dataset(data)
        assert table.class_names == ("ape", "zebra")
        assert table.labels.tolist() == [1, 0] * 3
        assert table.read(3).getpixel((0, 0)) == (3, 0, 0)
        assert table.name(3) == "dataset[3]"
        assert read_dataset(Subset(data, [5, 4, 3, 2])).class_names == ("ape", "zebra")

    def test_text_labels_and_plain_lists(self) -> None:
        items = [(pil(i), "ab"[i % 2]) for i in range(4)]
        assert read_dataset(items).class_names == ("a", "b")
        assert read_dataset(Pictures(items, ["a", "b"])).labels.tolist() == [0, 1, 0, 1]

    @pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (3, 5, 6), (4, 5, 6)])
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
    def test_tensors(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        value = 200 if dtype == torch.uint8 else 200 / 255
        X = torch.full((4, *shape), value, dtype=dtype)
        if shape[0] == 4:
            X[:, 3] = 255 if dtype == torch.uint8 else 1
        table = read_dataset(TensorDataset(X, torch.tensor([0, 1, 0, 1])))
        image = table.read(0)
        assert image.size == (6, 5)
        assert np.unique(np.asarray(image)).tolist() == [200]

    @pytest.mark.parametrize(
        ("picture", "reason"),
        [
            (torch.full((3, 5, 6), -1.5), "normalisation"),
            (torch.zeros(5, 6, 3), r"\(1\|3\|4, h, w\)"),
            ("path.png", "got str"),
            (np.zeros((5, 6)), "uint8"),
        ],
    )
    def test_pictures_that_can_not_be_used(self, picture: object, reason: str) -> None:
        with pytest.raises(InputError, match=reason):
            read_dataset(Pictures([(picture, 0), (picture, 1)]))

    def test_few_damaged_items_are_left_out(self) -> None:
        items = [(pil(i), i % 2) for i in range(20)]
        items[4] = OSError("image file is truncated")
        table = read_dataset(Pictures(items))
        assert len(table) == 19
        assert table.quarantine[0].name == "dataset[4]"
        assert "truncated" in table.quarantine[0].reason
        assert table.read(4).getpixel((0, 0)) == (5, 0, 0)

    def test_item_that_fails_later_is_unreadable(self) -> None:
        data = Pictures([(pil(i), i % 2) for i in range(6)])
        table = read_dataset(data)
        data.items[2] = OSError("gone")
        with pytest.raises(UnreadableImageError, match="gone"):
            table.read(2)

    def test_other_errors_surface(self) -> None:
        with pytest.raises(ZeroDivisionError):
            read_dataset(Pictures([(pil(1), 0), ZeroDivisionError()]))

    def test_random_augmentation_is_refused(self) -> None:
        rng = np.random.default_rng(0)
        items = [lambda: (Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)), 0)] * 4
        with pytest.raises(InputError, match="another picture each time"):
            read_dataset(Pictures(items))

    @pytest.mark.parametrize(
        ("items", "message"),
        [
            ([(pil(0), 0), (pil(1), 5)], r"dataset\[1\] has label 5"),
            ([(pil(0), 0), (pil(1), -1)], "label -1"),
            ([(pil(0), 0), (pil(1), None)], "no label in 1 items"),
            ([pil(0), pil(1)], "must be a pair"),
            ([(pil(0), 0, 1)], "tuple of 3"),
            ([], "no labelled pictures"),
        ],
    )
    def test_bad_items(self, items: list, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_dataset(Pictures(items, ["a", "b"]))

    def test_other_kinds(self) -> None:
        class Stream(IterableDataset):
            def __iter__(self):
                yield pil(0), 0

        with pytest.raises(InputError, match="got a Stream"):
            read_dataset(Stream())
        with pytest.raises(InputError, match=r"give its \.dataset"):
            read_dataset(DataLoader(Pictures([(pil(0), 0)])))
        for strange in (None, 3, {"train": 1}, (1, 2, 3)):
            with pytest.raises(InputError, match="a data set may be"):
                read_dataset(strange)


def test_in_memory_tables_pickle() -> None:
    table = read_dataset(Pictures([(pil(i), i % 2) for i in range(6)]))
    assert pickle.loads(pickle.dumps(table)).read(3).getpixel((0, 0)) == (3, 0, 0)


def test_nothing_heavy_is_imported() -> None:
    heavy = "torch", "pandas", "sklearn", "datasets", "matplotlib"
    code = f"import sys, autotl.data; sys.exit(str([m for m in {heavy} if m in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
