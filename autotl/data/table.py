"""The table of labelled images: which pictures there are and what they show. It holds no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Part(IntEnum):
    """Which part of a data set a sample was put in by whoever made the data set."""

    UNASSIGNED = -1
    TRAIN = 0
    VALIDATION = 1
    TEST = 2


class ImageSource(Protocol):
    """Where the pictures are. One picture at a time; safe to call from several threads."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """A name that a person finds the picture by: its path, or ``array[12]``."""
        ...

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        """The upright picture in mode ``RGB`` or ``L``.

        Args:
            index: which picture, ``0 <= index < len(source)``.
            min_size: the shorter side that the caller needs, in pixels; a source may decode at a
                reduced scale that is not below it.

        Raises:
            UnreadableImageError: if the picture can't be decoded; the message is the reason.
        """
        ...


@dataclass(frozen=True)
class Quarantined:
    """A picture that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageTable:
    """Labelled images.

    Attributes:
        source: where the pictures are.
        rows: ``(n_samples,) int64``, each sample's index in ``source``.
        labels: ``(n_samples,) int64``, indices into ``class_names``.
        class_names: the classes, sorted.
        fingerprint: hex digest of the pictures' bytes and labels: equal data, equal fingerprint.
        groups: ``(n_samples,) int64`` or None; samples of one group (patient, camera) stay
            on one side of every split.
        parts: ``(n_samples,) int8`` of :class:`Part`; what the data set's maker decided.
        quarantine: pictures left out so far.
    """

    source: ImageSource
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    fingerprint: str
    groups: NDArray[np.int64] | None = None
    parts: NDArray[np.int8] | None = None
    quarantine: tuple[Quarantined, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    def name(self, sample: int) -> str:
        """The name of a sample's picture."""
        return self.source.name(int(self.rows[sample]))

    def is_test(self, sample: int) -> bool:
        """Whether the data set's maker put the sample into the test part."""
        return self.parts is not None and self.parts[sample] == Part.TEST

    def read(self, sample: int, min_size: int | None = None) -> Image.Image:
        """A sample's picture; see :meth:`ImageSource.read`."""
        return self.source.read(int(self.rows[sample]), min_size)

    def take(self, samples: NDArray[np.int64]) -> ImageTable:
        """The table of these samples only; classes and fingerprint stay."""
        return replace(
            self,
            rows=self.rows[samples],
            labels=self.labels[samples],
            groups=None if self.groups is None else self.groups[samples],
            parts=None if self.parts is None else self.parts[samples],
        )

    def without(self, unreadable: Sequence[tuple[int, str]]) -> ImageTable:
        """The table without these samples, which join the quarantine.

        Args:
            unreadable: pairs of (sample, reason).
        """
        if not unreadable:
            return self
        keep = np.ones(len(self), dtype=bool)
        keep[[sample for sample, _ in unreadable]] = False
        found = tuple(Quarantined(self.name(sample), reason) for sample, reason in unreadable)
        kept = self.take(np.flatnonzero(keep))
        return replace(kept, quarantine=self.quarantine + found)
