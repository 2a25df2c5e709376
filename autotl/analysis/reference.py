"""Reference statistics of a backbone's source domain, made beforehand where its pictures are.

A file beside the weights, ``NAME.reference.safetensors`` for weights ``NAME.safetensors``, holds
mean and covariance of the penultimate features and the mean of each class. It belongs to those
weights and that image size alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.frechet import (
    MAX_PAIRS,
    GaussianStatistics,
    frechet_distance,
    prototype_distance,
)
from autotl.analysis.labelled import draw_rows
from autotl.analysis.moments import Features, Labels, Matrix, class_sums
from autotl.analysis.similarity import SourceDistance
from autotl.backbones.zoo import Backbone
from autotl.errors import InputError

FORMAT = "autotl-reference-1"
SUFFIX = ".reference.safetensors"
MIN_IMAGES = 100
MAX_TARGET_CLASSES = 25
"""The earth mover's distance looks at the means of at most so many classes of the data set."""
_LEVELS = 127


@dataclass(frozen=True)
class Reference:
    """What a backbone's penultimate features are like on its source domain.

    Attributes:
        statistics: of the features.
        prototypes: ``(n_classes, d) float64``, the mean of each class; one row: no classes.
        weights: ``(n_classes,)``, pictures per class.
        weights_hash: of the backbone's weights file.
        image_size: side of the pictures, in pixels.
        source: what the pictures were, in a few words.
    """

    statistics: GaussianStatistics
    prototypes: Matrix
    weights: NDArray[np.float64]
    weights_hash: str
    image_size: int
    source: str

    @classmethod
    def measure(
        cls, features: Features, labels: Labels, backbone: Backbone, source: str
    ) -> Reference:
        """Statistics of penultimate features.

        Args:
            features: ``(n, d) float32``.
            labels: ``(n,) int64``, from 0; every class occurs.
            backbone: that made them.
            source: what the pictures are.

        Raises:
            InputError: fewer than :data:`MIN_IMAGES` pictures, or features that aren't finite.
        """
        if len(features) < MIN_IMAGES:
            raise InputError(
                f"reference statistics of {features.shape[1]} features need at least {MIN_IMAGES} "
                f"pictures, got {len(features)}; give more of what the backbone was trained on"
            )
        statistics = GaussianStatistics.from_features(features)
        counts = np.bincount(labels).astype(np.float64)
        sums = class_sums(features, labels, len(counts), statistics.mean)
        prototypes = statistics.mean + sums / counts[:, None]
        return cls(
            statistics, prototypes, counts, backbone.weights_hash, backbone.image_size, source
        )

    def distance(self, features: Features, labels: Labels) -> SourceDistance:
        """How far a data set's penultimate features are from the source's.

        The means of small classes are uncertain, which adds to the prototypes' distance.

        Args:
            features: ``(n, d) float32``, at least two samples.
            labels: ``(n,) int64``, any numbers.

        Raises:
            InputError: features of another width, or that aren't finite.
        """
        own = GaussianStatistics.from_features(features)
        variance = max(float(np.trace(self.statistics.covariance)), np.finfo(np.float64).tiny)
        frechet = frechet_distance(self.statistics, own) / variance
        prototypes = None
        if len(self.prototypes) > 1:
            names, renumbered = np.unique(labels, return_inverse=True)
            counts = np.bincount(renumbered).astype(np.float64)
            sums = class_sums(features, renumbered, len(names), own.mean)
            chosen = draw_rows(len(names), MAX_TARGET_CLASSES, seed=0)
            heaviest = np.argsort(-self.weights, kind="stable")[: MAX_PAIRS // len(chosen)]
            prototypes = prototype_distance(
                self.prototypes[heaviest],
                self.weights[heaviest],
                own.mean + sums[chosen] / counts[chosen, None],
                counts[chosen],
            ) / float(np.sqrt(variance))
        return SourceDistance(float(frechet), prototypes, self.statistics.n_samples)

    def save(self, file: Path) -> None:
        """Write ``file`` and beside it a readable summary, ``file`` with the suffix ``.json``.

        The covariance is stored as standard deviations and the upper triangle of correlations in
        half precision, prototypes with 8 bits of each feature's range: 256 features and 1,500
        classes take 0.5 MB.

        Raises:
            InputError: if it can't be written.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        deviation = np.sqrt(np.diag(self.statistics.covariance))
        unit = np.where(deviation > 0, deviation, 1.0)
        correlations = self.statistics.covariance / np.outer(unit, unit)
        offsets = self.prototypes - self.statistics.mean
        step = np.abs(offsets).max(axis=0) / _LEVELS
        codes = np.round(offsets / np.where(step > 0, step, 1.0)).astype(np.int8)
        upper = np.triu_indices(len(deviation), 1)
        tensors = {
            "mean": self.statistics.mean.astype(np.float32),
            "deviation": deviation.astype(np.float32),
            "correlations": correlations[upper].astype(np.float16),
            "prototypes": codes,
            "prototype_step": step.astype(np.float32),
            "prototype_weights": self.weights.astype(np.float32),
        }
        header = self.summary() | {"format": FORMAT, "error": float(self.statistics.error)}
        part = file.with_suffix(".part")
        try:
            save_file(tensors, part, {name: json.dumps(value) for name, value in header.items()})
            part.chmod(0o644)
            summary = json.dumps(self.summary(), indent=1)
            file.with_suffix(".json").write_text(summary + "\n", encoding="utf-8")
            os.replace(part, file)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise InputError(f"reference statistics can't be written to {file}: {error}") from error

    def summary(self) -> dict[str, Any]:
        """Plain values that say what the file holds."""
        return {
            "weights_hash": self.weights_hash,
            "image_size": self.image_size,
            "source": self.source,
            "n_samples": self.statistics.n_samples,
            "n_classes": len(self.prototypes),
            "num_features": len(self.statistics.mean),
        }

    @classmethod
    def load(cls, file: Path) -> Reference:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: not such a file, or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            header = _header(file)
            if header.get("format") != FORMAT:
                raise InputError(
                    f"{file} holds no reference statistics: its format is "
                    f"{header.get('format')!r}, not {FORMAT!r}"
                )
            tensors = {name: value.astype(np.float64) for name, value in load_file(file).items()}
            mean, deviation = tensors["mean"], tensors["deviation"]
            correlations = np.zeros((len(mean), len(mean)))
            correlations[np.triu_indices(len(mean), 1)] = tensors["correlations"]
            correlations += correlations.T + np.eye(len(mean))
            prototypes = mean + tensors["prototypes"] * tensors["prototype_step"]
            if not all(np.isfinite(value).all() for value in tensors.values()):
                raise ValueError("values that aren't finite")
            if tensors["prototype_weights"].shape != (len(prototypes),):
                raise ValueError("prototypes and their weights don't fit together")
            return cls(
                GaussianStatistics(
                    mean,
                    correlations * np.outer(deviation, deviation),
                    int(header["n_samples"]),
                    float(header["error"]),
                ),
                prototypes,
                tensors["prototype_weights"],
                str(header["weights_hash"]),
                int(header["image_size"]),
                str(header["source"]),
            )
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"can't read reference statistics from {file}: {error}") from error


def _header(file: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(file, "numpy") as stored:
        return {name: json.loads(value) for name, value in (stored.metadata() or {}).items()}


def place_of(backbone: Backbone) -> Path | None:
    """Where the reference statistics of a backbone belong: beside its weights."""
    if backbone.weights_file is None:
        return None
    return backbone.weights_file.with_name(backbone.weights_file.stem + SUFFIX)


def find_reference(backbone: Backbone) -> tuple[Reference | None, str]:
    """The reference statistics beside a backbone's weights.

    Returns:
        None if there are none, or they can't be used; and why they can't, else nothing.
    """
    file = place_of(backbone)
    if file is None or not file.is_file():
        return None, ""
    try:
        found = Reference.load(file)
    except InputError as error:
        return None, str(error)
    if found.weights_hash != backbone.weights_hash:
        return None, (
            f"{file.name} was made with other weights ({found.weights_hash}, these are "
            f"{backbone.weights_hash}); make it again with `autotl reference`"
        )
    if found.image_size != backbone.image_size:
        return None, (
            f"{file.name} is for pictures of {found.image_size} px, the backbone is used at "
            f"{backbone.image_size} px"
        )
    if len(found.statistics.mean) != backbone.num_features:
        return None, (
            f"{file.name} has {len(found.statistics.mean)} features, the backbone "
            f"{backbone.num_features}"
        )
    return found, ""
