"""A model's figures as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from autotl.recommend.calibration import expected_calibration_error
from autotl.recommend.evaluation import write_evaluation

NAMES = ("cat, wild", "dog", "$x$ <never>")


def test_tables_and_pictures(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0, 1, 1])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]],
        dtype=np.float32,
    )
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "old").touch()
    folder = write_evaluation(tmp_path / "evaluation", labels, probabilities, NAMES)
    classes = pd.read_csv(folder / "per_class_metrics.csv", index_col="class")
    assert list(classes.index) == list(NAMES)
    assert list(classes["n_samples"]) == [3, 2, 0]
    assert classes["recall"].tolist() == pytest.approx([2 / 3, 1, 0])
    assert classes["precision"].tolist() == pytest.approx([1, 2 / 3, 0])
    assert classes["f1_score"].tolist() == pytest.approx([0.8, 0.8, 0])
    matrix = pd.read_csv(folder / "confusion_matrix.csv", index_col="true class")
    assert matrix.to_numpy().tolist() == [[2, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert list(matrix.columns) == list(NAMES)
    curve = pd.read_csv(folder / "calibration_curve.csv")
    gaps = (curve["mean_probability"] - curve["share_right"]).abs()
    error = np.average(gaps, weights=curve["n_samples"])
    assert error == pytest.approx(expected_calibration_error(labels, probabilities))
    assert curve["n_samples"].sum() == 5
    for name in ("confusion_matrix.png", "calibration_curve_plot.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 300
    assert not (folder / "old").exists()


def test_many_classes_are_shown_without_names(tmp_path: Path) -> None:
    n = 60
    labels = np.arange(n)
    folder = write_evaluation(
        tmp_path, labels, np.eye(n, dtype=np.float32), [str(i) for i in labels]
    )
    with Image.open(folder / "confusion_matrix.png") as picture:
        assert max(picture.size) < 1200
