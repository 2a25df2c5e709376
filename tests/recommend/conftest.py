"""Synthetic trials: predictions with a chosen share of right ones, and what surrounds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.analysis.profile import BackboneProfile, DatasetProfile
from autotl.analysis.similarity import DomainSimilarity, distance_of
from autotl.analysis.size import SizeProfile
from autotl.backbones.speed import Speed
from autotl.metrics import METRICS, all_metrics
from autotl.strategies.base import CurvePoint, TrialRecord, TrialResult

CONFIGS: dict[str, dict[str, Any]] = {
    "bottleneck": {
        "backbone": "embedded",
        "layers": "last_4",
        "head": "svm",
        "C": 0.003,
        "balanced": False,
    },
    "finetune": {
        "backbone": "embedded",
        "freeze_depth": 2,
        "lr": 2e-3,
        "lr_ratio": 0.1,
        "head": "random",
        "epochs": 20,
        "augmentation": "light",
        "mirror": False,
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "balanced": False,
    },
    "scratch": {
        "backbone": "embedded",
        "n_removed": 1,
        "lr": 3e-3,
        "epochs": 30,
        "augmentation": "medium",
        "mirror": True,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "balanced": False,
    },
}


def predictions(
    labels: NDArray[np.int64], n_classes: int, wrong: NDArray[np.int64], seed: int = 0
) -> NDArray[np.float32]:
    """Probabilities that miss exactly the samples ``wrong``, by the next class."""
    rng = np.random.default_rng(seed)
    predicted = labels.copy()
    predicted[wrong] = (labels[wrong] + 1) % n_classes
    noise = rng.random((len(labels), n_classes)) * 0.5
    noise[np.arange(len(labels)), predicted] += 1.0
    return (noise / noise.sum(axis=1, keepdims=True)).astype(np.float32)


def _record(
    number: int,
    strategy: str,
    labels: NDArray[np.int64],
    n_wrong: int | None,
    *,
    seconds: float = 10.0,
    state: str = "complete",
    n_classes: int | None = None,
    first_wrong: int = 0,
    metric: str = "accuracy",
    n_points: int = 6,
    error: str | None = None,
    **config: Any,
) -> TrialRecord:
    """A trial that misses ``n_wrong`` samples from ``first_wrong`` on; None: no result."""
    n_classes = n_classes or int(labels.max()) + 1
    result = None
    final = 0.6
    if n_wrong is not None:
        wrong = np.arange(first_wrong, first_wrong + n_wrong) % len(labels)
        probabilities = predictions(labels, n_classes, wrong, seed=number)
        final = METRICS[metric].score(labels, probabilities)
        result = TrialResult(
            score=final,
            metrics=all_metrics(labels, probabilities),
            samples=np.arange(len(labels)),
            probabilities=probabilities,
            seconds=seconds,
            peak_bytes=1_000_000,
            n_trainable=12_345,
        )
    curve = tuple(
        CurvePoint((i + 1) / n_points, seconds * (i + 1) / n_points, final * (1 - 0.5 ** (i + 1)))
        for i in range(n_points)
    )
    return TrialRecord(
        number=number,
        strategy=strategy,
        config=CONFIGS.get(strategy, {"backbone": "embedded"}) | config,
        state=state,
        seconds=seconds,
        curve=curve,
        result=result,
        error=error,
    )


def _profile(
    labels: NDArray[np.int64],
    class_names: tuple[str, ...] | None = None,
    *,
    similarity: float | None = 0.5,
    n_folds: int = 1,
    n_samples: int | None = None,
    n_parameters: int = 1_400_000,
    n_quarantined: int = 0,
) -> DatasetProfile:
    counts = np.bincount(labels)
    names = class_names or tuple(f"class {i}" for i in range(len(counts)))
    measured = (
        DomainSimilarity(None, reason="the backbone has no BatchNorm")
        if similarity is None
        else DomainSimilarity(
            similarity,
            (similarity - 0.05, similarity + 0.05),
            distance_of(similarity),
            (0.1, 0.2, float("nan"), 0.3, 0.4),
        )
    )
    backbone = BackboneProfile(
        num_stages=5,
        n_parameters=n_parameters,
        image_size=64,
        samples_per_parameter=(n_samples or len(labels)) / n_parameters,
        similarity=measured,
        speed=Speed("fp32", False, (0.0, *[1e-4] * 5), (4e-4,) * 6),
        max_epochs=40,
    )
    return DatasetProfile(
        size=SizeProfile(
            n_samples=n_samples or len(labels),
            n_test=100,
            samples_per_class=tuple(int(n) for n in counts),
            imbalance=float(counts.max() / max(1, counts.min())),
            median_size=(400, 300),
            size_range=(120, 800),
            grey_share=0.1,
            n_duplicates=3,
        ),
        backbones={"embedded": backbone},
        n_folds=n_folds,
        class_names=names,
        fingerprint="0123456789abcdef" * 4,
        n_quarantined=n_quarantined,
    )


@pytest.fixture
def labels() -> NDArray[np.int64]:
    """Four classes of a hundred samples each, in turn."""
    return np.arange(400, dtype=np.int64) % 4


@pytest.fixture
def make_record() -> Callable[..., TrialRecord]:
    return _record


@pytest.fixture
def make_profile() -> Callable[..., DatasetProfile]:
    return _profile
