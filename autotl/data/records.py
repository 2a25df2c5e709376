"""What a reader found, before it is checked; and the checks that make an ``ImageTable`` of it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autotl.config import MAX_UNREADABLE
from autotl.data.table import ImageSource, ImageTable, Part, Quarantined
from autotl.errors import InputError

PART_NAMES = {
    "train": Part.TRAIN,
    "training": Part.TRAIN,
    "val": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "validation": Part.VALIDATION,
    "test": Part.TEST,
    "testing": Part.TEST,
}
"""Names, in lower case, of folders, splits and table values that stand for a part."""

N_SHOWN = 5
"""So many examples of a problem are listed."""

DIGEST_BYTES = 16


@dataclass(frozen=True)
class Limits:
    """What a reader puts up with.

    Attributes:
        trust_paths: whether paths in a table file, and links, may lead out of the data set's
            folder.
        max_unreadable: share of the pictures, in [0, 1], that may be missing, unreadable or
            without class; above it, it is an error.
    """

    trust_paths: bool = False
    max_unreadable: float = MAX_UNREADABLE

    def refuse_many(
        self, quarantine: Sequence[Quarantined], n_all: int, origin: str, remedy: str = ""
    ) -> None:
        """Stop where going on without so many pictures would mislead.

        Args:
            quarantine: the pictures left out.
            n_all: how many there are with them.
            origin: what was read.
            remedy: what else to do about it.

        Raises:
            InputError: if it is more than the share; with how many have which reason.
        """
        if len(quarantine) > self.max_unreadable * n_all:
            raise InputError(
                f"{len(quarantine)} of {n_all} pictures of {origin} can't be used, more than "
                f"{100 * self.max_unreadable:g} %: {summary_of_reasons(quarantine)}; "
                f"{remedy}repair them, leave them out, or allow more with max_unreadable "
                "(--max-unreadable)"
            )


@dataclass(frozen=True)
class Records:
    """Labelled pictures as a reader found them.

    Attributes:
        source: where the pictures are.
        rows: ``n_samples`` indices into ``source``.
        labels: ``n_samples`` class names.
        digests: ``n_samples`` digests of the stored pictures, for the fingerprint.
        groups: ``n_samples`` group names (None: a group of its own), or None for no groups.
        parts: ``n_samples`` parts, or None.
        quarantine: pictures left out, and why.
        origin: what was read, for messages.
    """

    source: ImageSource
    rows: Sequence[int]
    labels: Sequence[str]
    digests: Sequence[bytes]
    groups: Sequence[str | None] | None = None
    parts: Sequence[Part] | None = None
    quarantine: tuple[Quarantined, ...] = ()
    origin: str = "the data set"

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class JoinedSource:
    """Two sources, one after the other."""

    first: ImageSource
    second: ImageSource

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def name(self, index: int) -> str:
        source, at = self._place(index)
        return source.name(at)

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        source, at = self._place(index)
        return source.read(at, min_size)

    def _place(self, index: int) -> tuple[ImageSource, int]:
        n_first = len(self.first)
        return (self.first, index) if index < n_first else (self.second, index - n_first)


def joined(first: Records, second: Records) -> Records:
    """The first followed by the second, of which either may know no groups or no parts."""
    groups: list[str | None] | None = None
    if first.groups is not None or second.groups is not None:
        groups = [*(first.groups or [None] * len(first)), *(second.groups or [None] * len(second))]
    parts: list[Part] | None = None
    if first.parts is not None or second.parts is not None:
        parts = [
            *(first.parts or [Part.UNASSIGNED] * len(first)),
            *(second.parts or [Part.UNASSIGNED] * len(second)),
        ]
    offset = len(first.source)
    return replace(
        first,
        source=JoinedSource(first.source, second.source),
        rows=[*first.rows, *(offset + row for row in second.rows)],
        labels=[*first.labels, *second.labels],
        digests=[*first.digests, *second.digests],
        groups=groups,
        parts=parts,
        quarantine=first.quarantine + second.quarantine,
    )


def join_test(records: Records, test: Records) -> Records:
    """The records followed by those of a test set, whatever part they were in.

    Raises:
        InputError: if the records have a test part already.
    """
    n_test = list(records.parts or ()).count(Part.TEST)
    if n_test:
        raise InputError(
            f"{records.origin} has a test part already ({n_test} pictures) and "
            f"test={test.origin} was given too; leave one of them out"
        )
    return joined(records, replace(test, parts=[Part.TEST] * len(test)))


def build_table(records: Records) -> ImageTable:
    """The table of checked records.

    Class names are NFC-normalised; they are sorted by number where all are numbers, otherwise
    alphabetically.

    Raises:
        InputError: no pictures; fewer than two classes; a class with a single picture; class names
            that differ only in case or surrounding spaces; a class that only the validation or
            test part has. All that apply are listed.
    """
    if not len(records):
        left_out = list_some([f"{q.name}: {q.reason}" for q in records.quarantine])
        raise InputError(
            f"{records.origin} holds no labelled pictures"
            + (f"; left out: {left_out}" if records.quarantine else "")
        )
    names = [unicodedata.normalize("NFC", label) for label in records.labels]
    class_names = sort_names(set(names))
    problems = _class_problems(names, records.parts, records.origin)
    if problems:
        raise InputError.of(problems)
    index = {name: label for label, name in enumerate(class_names)}
    labels = np.array([index[name] for name in names], dtype=np.int64)
    groups = _number_groups(records.groups)
    parts = None if records.parts is None else np.array(records.parts, dtype=np.int8)
    if parts is not None and (parts == Part.UNASSIGNED).all():
        parts = None
    return ImageTable(
        source=records.source,
        rows=np.array(records.rows, dtype=np.int64),
        labels=labels,
        class_names=class_names,
        fingerprint=_fingerprint(records.digests, labels, class_names, groups, parts),
        groups=groups,
        parts=parts,
        quarantine=records.quarantine,
    )


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: by number if all are finite numbers, otherwise alphabetically."""
    found = sorted(names)
    numbers: dict[str, float] = {}
    for name in found:
        try:
            numbers[name] = float(name)
        except ValueError:
            return tuple(found)
    if not all(math.isfinite(number) for number in numbers.values()):
        return tuple(found)
    return tuple(sorted(found, key=lambda name: numbers[name]))


def label_name(value: object) -> str | None:
    """The class name of a label of any scalar type, or None for a missing one.

    Missing are None, NaN, pandas' NA and NaT, and empty text. A whole number has no ``.0``.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a NumPy or torch scalar
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if text.strip() else None


def list_some(items: Sequence[object]) -> str:
    """The first few items, and how many there are in all if more."""
    shown = ", ".join(str(item) for item in items[:N_SHOWN])
    return shown if len(items) <= N_SHOWN else f"{shown}, ... ({len(items)} in all)"


def summary_of_reasons(quarantine: Sequence[Quarantined]) -> str:
    """How many pictures have which reason, and the first of each; the most frequent come first.

    Reasons that differ in what follows a colon or stands in brackets count as one.
    """
    by_kind: dict[str, list[Quarantined]] = defaultdict(list)
    for entry in quarantine:
        by_kind[re.split(r"[:;(]", entry.reason)[0]].append(entry)
    kinds = sorted(by_kind.values(), key=len, reverse=True)
    listed = [
        f"{len(found)} x {found[0].reason} [{list_some([entry.name for entry in found])}]"
        for found in kinds[:N_SHOWN]
    ]
    return ", ".join(listed) + (", and other reasons" if len(kinds) > N_SHOWN else "")


def digest(content: bytes | memoryview) -> bytes:
    """The 16-byte digest of a picture's content."""
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def picture_digest(image: Image.Image) -> bytes:
    """The digest of a decoded picture: its mode, size and pixels."""
    return digest(f"{image.mode} {image.size} ".encode() + image.tobytes())


def _class_problems(names: Sequence[str], parts: Sequence[Part] | None, origin: str) -> list[str]:
    problems: list[str] = []
    spellings: dict[str, set[str]] = defaultdict(set)
    for name in set(names):
        spellings[unicodedata.normalize("NFC", name.strip().casefold())].add(name)
    clashes = [sorted(found) for found in spellings.values() if len(found) > 1]
    if clashes:
        listed = list_some([" and ".join(map(repr, clash)) for clash in sorted(clashes)])
        problems.append(
            f"class names that differ only in case or surrounding spaces: {listed}; give each "
            "class one spelling"
        )
    if len(spellings) < 2:
        problems.append(
            f"at least 2 classes are needed, but {origin} has {len(spellings)}: {names[0]!r}"
        )
    in_part = {
        part: Counter(
            name for name, found in zip(names, parts or [], strict=False) if found is part
        )
        for part in (Part.VALIDATION, Part.TEST)
    }
    training = Counter(names) - in_part[Part.VALIDATION] - in_part[Part.TEST]
    for part, title in ((Part.VALIDATION, "validation"), (Part.TEST, "test")):
        extra = [name for name in sort_names(in_part[part]) if name not in training]
        if extra:
            problems.append(
                f"classes in the {title} part that the training part lacks: "
                f"{list_some([repr(name) for name in extra])}; add training pictures of them or "
                f"take them out of the {title} part"
            )
    needed = 1 if in_part[Part.VALIDATION] else 2
    single = [name for name in sort_names(training) if training[name] < needed]
    if single:
        listed = list_some([f"{name!r} (1 picture)" for name in single])
        problems.append(
            f"classes with too few pictures to train on and to check: {listed}; at least 2 are "
            "needed: add pictures or drop the class"
        )
    return problems


def _number_groups(groups: Sequence[str | None] | None) -> NDArray[np.int64] | None:
    """Numbers for group names, in order of first appearance; each None is a group of its own."""
    if groups is None or all(group is None for group in groups):
        return None
    number_of: dict[object, int] = {}
    keys: Iterable[object] = ((i,) if group is None else group for i, group in enumerate(groups))
    return np.array([number_of.setdefault(key, len(number_of)) for key in keys], dtype=np.int64)


def _fingerprint(
    digests: Sequence[bytes],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    groups: NDArray[np.int64] | None,
    parts: NDArray[np.int8] | None,
) -> str:
    whole = blake2b(digest_size=16)
    for name in class_names:
        encoded = name.encode("utf-8", "surrogatepass")
        whole.update(len(encoded).to_bytes(8, "little") + encoded)
    for array in (labels, groups, parts):
        whole.update(b"-" if array is None else np.ascontiguousarray(array, "<i8").tobytes())
    for one in digests:
        whole.update(len(one).to_bytes(8, "little") + one)
    return whole.hexdigest()
