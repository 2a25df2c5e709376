"""Which samples train, which choose and which are locked away: leak-proof by construction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autotl.data.dealing import Groups, deal_folds, hold_out
from autotl.data.duplicates import first_appearance
from autotl.data.table import Part
from autotl.errors import InputError

Indices = NDArray[np.int64]

MAX_HELD_OUT = 5000
"""No more samples than these are held out for a test or a validation part: enough for a 95 %
interval of +-1.4 points at worst."""
VALIDATION_FRACTION = TEST_FRACTION = 0.2
FIVE_FOLDS_BELOW = 500
THREE_FOLDS_BELOW = 1000


@dataclass(frozen=True)
class Fold:
    """One way to train and to validate.

    Attributes:
        train: ``(n,) int64``, ascending positions in ``Split.development``.
        validation: ``(n,) int64``, likewise; shares no group with ``train``.
    """

    train: Indices
    validation: Indices


@dataclass(frozen=True)
class Split:
    """The split of a data set.

    Attributes:
        development: ``(n_dev,) int64``, ascending samples that training and choosing may see.
        test: ``(n_test,) int64``, ascending samples that are locked away.
        folds: the folds, as positions ``0 ... n_dev - 1`` in ``development``. Validation parts are
            disjoint. A sample whose group holds all that there is of some class is in every
            fold's ``train``.
        dropped: ``(n,) int64``, samples in neither: training copies of the given test part (same
            group or same pixels).
    """

    development: Indices
    test: Indices
    folds: tuple[Fold, ...]
    dropped: Indices = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def without_held_out(cls, n_samples: int) -> Split:
        """Everything to learn from and nothing to check on: fit to be measured, not to be used."""
        everything, nothing = np.arange(n_samples), np.empty(0, dtype=np.int64)
        return cls(everything, nothing, (Fold(everything, nothing),))


def expected_test_size(n_samples: int, parts: NDArray[np.int8] | None = None) -> int:
    """How many samples the test set of :func:`make_split` will have at most.

    Args:
        n_samples: of the whole data set.
        parts: as for :func:`make_split`.
    """
    given = 0 if parts is None else int(np.count_nonzero(parts == Part.TEST))
    return given or min(math.ceil(TEST_FRACTION * n_samples), MAX_HELD_OUT)


def make_split(
    labels: Indices,
    groups: Indices | None,
    parts: NDArray[np.int8] | None = None,
    *,
    seed: int,
    test_fraction: float = TEST_FRACTION,
    n_folds: int | Literal["auto"] = "auto",
) -> Split:
    """Split samples into development and test, and development into folds; stratified.

    A given test part is the test set; otherwise ``test_fraction`` of the samples, at most
    :data:`MAX_HELD_OUT`, is held out, where possible at least one of each class. A given
    validation part is the one fold's; otherwise there are 5 folds below 500 development samples, 3
    below 1,000, and else a single one that holds out 20 % (at most :data:`MAX_HELD_OUT`). There
    are never more folds than the smallest class has groups, and at least 2. Every class has a
    training sample in every fold. No group is on two sides: samples that share a group with a
    given test part are dropped; those that share one with a given validation part don't train.

    Args:
        labels: ``(n_samples,) int64``.
        groups: ``(n_samples,) int64`` or None for each sample by itself.
        parts: ``(n_samples,) int8`` of :class:`Part`, or None.
        seed: equal seeds, equal splits.
        test_fraction: in (0, 1).
        n_folds: how many, at least 1 (a single hold-out), or ``"auto"``.

    Raises:
        InputError: lengths or ranges that don't fit; groups too few, or shared with the given
            parts, so that some class has nothing to train on or nothing is left to validate or
            test on.
    """
    _check(labels, groups, parts, test_fraction, n_folds)
    n = len(labels)
    rng = np.random.default_rng(seed)
    groups = np.arange(n) if groups is None else first_appearance(groups)
    labels = first_appearance(labels)
    parts = np.full(n, Part.UNASSIGNED, dtype=np.int8) if parts is None else parts
    validated = parts == Part.VALIDATION
    if (parts == Part.TEST).any():
        in_test = parts == Part.TEST
        dropped = _sharing(groups, in_test) & ~in_test
    else:
        in_test = _hold_out_test(labels, groups, validated, test_fraction, rng)
        dropped = np.zeros(n, dtype=bool)
    development = np.flatnonzero(~in_test & ~dropped)
    lost = np.setdiff1d(labels[~in_test], labels[development])
    if lost.size or not development.size:
        raise InputError(
            f"{int(dropped.sum())} of {int((~in_test).sum())} training samples share a group (or "
            f"are duplicates) with the given test part, and without them {len(lost) or 'all'} "
            "classes have nothing to train on; leave out group=, or the given parts"
        )
    if validated[development].any():
        folds: tuple[Fold, ...] = (_given_fold(labels, groups, validated, development),)
    else:
        folds = _folds(labels[development], groups[development], n_folds, rng)
    return Split(development, np.flatnonzero(in_test), folds, np.flatnonzero(dropped))


def _check(
    labels: Indices,
    groups: Indices | None,
    parts: NDArray[np.int8] | None,
    test_fraction: float,
    n_folds: int | str,
) -> None:
    problems: list[str] = []
    for name, values in (("groups", groups), ("parts", parts)):
        if values is not None and len(values) != len(labels):
            problems.append(
                f"{name} must be as many as labels ({len(labels)}), but got {len(values)}"
            )
    if len(np.unique(labels)) < 2:
        problems.append("at least 2 classes are needed to split")
    if not 0 < test_fraction < 1:
        problems.append(f"test_fraction must lie between 0 and 1, but got {test_fraction}")
    if n_folds != "auto" and not (isinstance(n_folds, int) and n_folds >= 1):
        problems.append(f"n_folds must be 'auto' or at least 1, but got {n_folds!r}")
    if problems:
        raise InputError.of(problems)


def _sharing(groups: Indices, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which samples are of a group that has a chosen sample."""
    return np.isin(groups, groups[chosen])


def _given_fold(
    labels: Indices, groups: Indices, validated: NDArray[np.bool_], development: Indices
) -> Fold:
    train = ~_sharing(groups, validated)[development]
    lost = np.setdiff1d(labels[development], labels[development][train])
    if lost.size:
        raise InputError(
            f"{len(lost)} classes have no training sample that shares no group (and is no "
            "duplicate) with the given validation part; leave out group=, or the given parts"
        )
    return Fold(np.flatnonzero(train), np.flatnonzero(validated[development]))


def _hold_out_test(
    labels: Indices,
    groups: Indices,
    validated: NDArray[np.bool_],
    fraction: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which samples are the test set; groups of a given validation part stay."""
    free = np.flatnonzero(~_sharing(groups, validated))
    held_out = np.zeros(len(labels), dtype=bool)
    if free.size:
        dealt = Groups.of(labels[free], groups[free])
        share = min(fraction, MAX_HELD_OUT / free.size)
        keep = 1 if validated.any() else 2  # groups that a class keeps: to train, to validate
        held_out[free[hold_out(dealt, share, keep, rng)[dealt.group_of]]] = True
    if not free.size:
        raise InputError(
            "every sample shares a group (or is a duplicate) with the given validation part, so "
            "that no test set can be held out; leave out group=, or the given parts"
        )
    if not held_out.any():
        raise InputError(
            "no test set can be held out: that takes at least 3 groups (or pictures that differ) "
            "in some class, to train, to validate and to test; give test=, leave out group=, or "
            "add data"
        )
    return held_out


def _folds(
    labels: Indices, groups: Indices, n_folds: int | str, rng: np.random.Generator
) -> tuple[Fold, ...]:
    dealt = Groups.of(labels, groups)
    if n_folds == "auto":
        n_folds = 5 if len(labels) < FIVE_FOLDS_BELOW else 3
        n_folds = n_folds if len(labels) < THREE_FOLDS_BELOW else 1
    if n_folds == 1:
        share = min(VALIDATION_FRACTION, MAX_HELD_OUT / len(labels))
        fold_of = np.where(hold_out(dealt, share, 1, rng), 0, -1)
    else:
        fold_of = deal_folds(dealt, int(n_folds), rng)
    fold_of_sample = fold_of[dealt.group_of]
    used = np.unique(fold_of_sample[fold_of_sample >= 0])
    if not used.size:
        raise InputError(
            "nothing is left to validate on: every group (or set of duplicates) holds all that "
            "there is of some class; leave out group=, or add data"
        )
    return tuple(
        Fold(np.flatnonzero(fold_of_sample != fold), np.flatnonzero(fold_of_sample == fold))
        for fold in used
    )
