"""What is known of a data set before anything is trained on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotl.analysis.examination import Transferability
from autotl.analysis.ranking import RankedBackbone
from autotl.analysis.similarity import DomainSimilarity
from autotl.analysis.size import SizeProfile
from autotl.analysis.sufficiency import Sufficiency
from autotl.backbones.speed import Speed


@dataclass(frozen=True)
class BackboneProfile:
    """A candidate backbone seen against this data set.

    Attributes:
        num_stages: number of stages.
        n_parameters: of the backbone.
        image_size: side of its input in pixels.
        samples_per_parameter: development samples by parameters.
        similarity: of the data set to its source domain.
        speed: what a picture costs here.
        max_epochs: what one trial may take of the budget, in epochs over all folds.
        transferability: how well its frozen features tell the classes apart.
    """

    num_stages: int
    n_parameters: int
    image_size: int
    samples_per_parameter: float
    similarity: DomainSimilarity
    speed: Speed
    max_epochs: int
    transferability: Transferability = field(default_factory=Transferability)


@dataclass(frozen=True)
class DatasetProfile:
    """Made from the development samples only; the locked test set is counted, never measured.

    Attributes:
        size: samples, classes, pictures.
        backbones: the candidates by name.
        n_folds: of the validation; 1 means one hold-out.
        class_names: in the order of the labels.
        fingerprint: of the data set.
        n_quarantined: pictures left out because they can't be read or used.
        sufficiency: how far the samples go; None: not measured.
        ranking: what chose these candidates out of more, the dropped ones included; empty: there
            were no more.
        not_looked_for: near-duplicates that weren't looked for, and why, a sentence each.
        has_groups: whether the samples came in groups (patients, cameras) that no split divides.
    """

    size: SizeProfile
    backbones: Mapping[str, BackboneProfile]
    n_folds: int
    class_names: tuple[str, ...]
    fingerprint: str
    n_quarantined: int = 0
    sufficiency: Sufficiency | None = None
    ranking: tuple[RankedBackbone, ...] = ()
    not_looked_for: tuple[str, ...] = ()
    has_groups: bool = False

    @property
    def best_similarity(self) -> float | None:
        """The greatest known similarity of any candidate; None if all are unknown."""
        known = [
            candidate.similarity.value
            for candidate in self.backbones.values()
            if candidate.similarity.value is not None
        ]
        return max(known, default=None)

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)
