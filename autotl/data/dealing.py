"""Whole groups dealt out to folds such that every fold gets its share of every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autotl.data.duplicates import first_appearance

Indices = NDArray[np.int64]

_OVERSHOOT = 1.5
"""Rare classes may bring a held-out part to this multiple of its share, and no further."""
_ENOUGH = 0.5
"""A test part with less than this much of its share takes from classes of two groups as well."""
_PINNED = -1


@dataclass(frozen=True)
class Groups:
    """How many samples of which classes each group holds.

    Attributes:
        group_of: ``(n_samples,) int64``, each sample's group in ``0 ... n_groups - 1``.
        classes: per group, the classes that it holds.
        counts: per group, how many samples of each of these.
        n_groups_of: per class, how many groups hold it.
        n_samples_of: per class, how many samples it has.
    """

    group_of: Indices
    classes: tuple[tuple[int, ...], ...]
    counts: tuple[tuple[int, ...], ...]
    n_groups_of: Indices
    n_samples_of: Indices

    @classmethod
    def of(cls, labels: Indices, groups: Indices) -> Groups:
        """The groups of samples; labels and groups are renumbered as they first appear."""
        labels, groups = first_appearance(labels), first_appearance(groups)
        n_classes = int(labels.max()) + 1
        pairs, counts = np.unique(groups * n_classes + labels, return_counts=True)
        group_of_pair, class_of_pair = pairs // n_classes, pairs % n_classes
        bounds = np.searchsorted(group_of_pair, np.arange(int(groups.max()) + 2)).tolist()
        class_list, count_list = class_of_pair.tolist(), counts.tolist()
        return cls(
            group_of=groups,
            classes=tuple(tuple(class_list[a:b]) for a, b in pairwise(bounds)),
            counts=tuple(tuple(count_list[a:b]) for a, b in pairwise(bounds)),
            n_groups_of=np.bincount(class_of_pair, minlength=n_classes),
            n_samples_of=np.bincount(labels, minlength=n_classes),
        )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def sizes(self) -> Indices:
        """``(n_groups,) int64`` samples of each group."""
        return np.bincount(self.group_of, minlength=len(self))


def deal_folds(groups: Groups, n_folds: int, rng: np.random.Generator) -> Indices:
    """Deal groups to folds of equal shares, such that outside each fold every class remains.

    Args:
        groups: what to deal.
        n_folds: at least 2; fewer are dealt where a class has fewer groups.
        rng: the order of groups of one size is drawn from it.

    Returns:
        ``(n_groups,) int64`` fold, or -1 for a group that is outside every fold, because it holds
        all (or in a tangle of shared groups, the last) that there is of some class.
    """
    fold_of = np.full(len(groups), _PINNED, dtype=np.int64)
    free = [
        group
        for group, classes in enumerate(groups.classes)
        if all(groups.n_groups_of[c] > 1 for c in classes)
    ]
    shared = groups.n_groups_of[groups.n_groups_of > 1]
    if not free or not shared.size:
        return fold_of
    n_folds = min(n_folds, max(2, int(shared.min())), len(free))
    dealing = _Dealing(groups, [1 / n_folds] * n_folds)
    for group in _in_order(groups, free, rng):
        fold_of[group] = dealing.put(group, range(n_folds))
    _pin_last_of_class(groups, fold_of)
    return fold_of


def hold_out(
    groups: Groups, share: float, keep: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose groups to hold out: about ``share`` of every class.

    Every class keeps at least ``keep`` groups. Where it has more, at least one is held out if
    possible. If too little can be held out so, classes keep a single group, except that
    some group stays of which the others could train all classes (it can validate).

    Args:
        groups: what to choose from.
        share: of the samples, in (0, 1).
        keep: 1 (to train) or 2 (to train and to validate).
        rng: the order of groups of one size is drawn from it.

    Returns:
        ``(n_groups,) bool``; all False if nothing can be held out.
    """
    dealing = _Dealing(groups, [1 - share, share])
    room = np.maximum(groups.n_groups_of - keep, 0)
    out = np.zeros(len(groups), dtype=bool)
    order = _in_order(groups, range(len(groups)), rng)
    for group in order:
        classes = list(groups.classes[group])
        fits = bool((room[classes] > 0).all())
        out[group] = dealing.put(group, (0, 1) if fits else (0,)) == 1
        room[classes] -= out[group]
    smallest_first = _smallest_first(groups, rng)
    target = share * len(groups.group_of)
    _take_missing_classes(groups, out, room, smallest_first, target)
    if keep > 1 and groups.sizes[out].sum() < _ENOUGH * target:
        _take_from_small_classes(groups, out, smallest_first, _ENOUGH * target)
    return out


class _Dealing:
    """Keeps count of how far each fold is from its share of each class."""

    def __init__(self, groups: Groups, shares: Sequence[float]) -> None:
        self.groups = groups
        self.n_samples_of = groups.n_samples_of.tolist()
        self.surplus_of = [[-share * n for share in shares] for n in self.n_samples_of]
        self.surplus = [-share * len(groups.group_of) for share in shares]

    def put(self, group: int, folds: Sequence[int]) -> int:
        """Put a group into that fold which lacks most of its classes.

        The rule is the greedy minimum of the sum, over folds and classes, of squared distances
        from the shares, each relative to the class's size.
        """
        held = list(zip(self.groups.classes[group], self.groups.counts[group], strict=True))

        def surplus(fold: int) -> tuple[float, float]:
            of_classes = sum(
                self.surplus_of[c][fold] * count / self.n_samples_of[c] for c, count in held
            )
            return of_classes, self.surplus[fold]

        chosen = min(folds, key=surplus)
        for c, count in held:
            self.surplus_of[c][chosen] += count
            self.surplus[chosen] += count
        return chosen


def _in_order(groups: Groups, chosen: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Groups of several classes first; then class by class; large before small; then at random.

    Class by class, so that what is left over of each goes where least is in all.
    """
    shuffled = rng.permutation(np.asarray(chosen, dtype=np.int64))
    n_classes = np.array([len(groups.classes[group]) for group in shuffled])
    only_class = np.array([groups.classes[group][0] for group in shuffled])
    only_class[n_classes > 1] = 0
    order = np.lexsort((-groups.sizes[shuffled], only_class, -n_classes))
    return [int(group) for group in shuffled[order]]


def _smallest_first(groups: Groups, rng: np.random.Generator) -> list[int]:
    shuffled = rng.permutation(len(groups))
    order = np.argsort(groups.sizes[shuffled], kind="stable")
    return [int(group) for group in shuffled[order]]


def _pin_last_of_class(groups: Groups, fold_of: Indices) -> None:
    """Where a class lies in one fold wholly, take one of its groups out of the folds."""
    folds_of_class: list[set[int]] = [set() for _ in groups.n_groups_of]
    a_group_of_class: dict[int, int] = {}
    for group, fold in enumerate(fold_of.tolist()):
        for c in groups.classes[group]:
            folds_of_class[c].add(fold)
            a_group_of_class[c] = group
    for c, folds in enumerate(folds_of_class):
        if len(folds) == 1 and _PINNED not in folds:
            fold_of[a_group_of_class[c]] = _PINNED


def _take_missing_classes(
    groups: Groups,
    out: NDArray[np.bool_],
    room: Indices,
    smallest_first: Sequence[int],
    target: float,
) -> None:
    """Hold out a group of each class that has none held out yet, while there is room."""
    sizes = groups.sizes
    n_out = int(sizes[out].sum())
    missing = np.ones(len(room), dtype=bool)
    for held in np.flatnonzero(out):
        missing[list(groups.classes[held])] = False
    for group in smallest_first:
        classes = list(groups.classes[group])
        if out[group] or not missing[classes].any() or not (room[classes] > 0).all():
            continue
        if n_out and n_out + sizes[group] > _OVERSHOOT * target:
            continue
        out[group] = True
        room[classes] -= 1
        missing[classes] = False
        n_out += int(sizes[group])


def _take_from_small_classes(
    groups: Groups, out: NDArray[np.bool_], smallest_first: Sequence[int], enough: float
) -> None:
    """Hold out groups until it is enough, so that classes keep one each and one group validates."""
    left = groups.n_groups_of.copy()
    for held in np.flatnonzero(out):
        left[list(groups.classes[held])] -= 1
    validates = next(
        (g for g in smallest_first if not out[g] and (left[list(groups.classes[g])] > 1).all()),
        None,
    )
    if validates is None:
        return
    room = left - 1
    room[list(groups.classes[validates])] -= 1
    sizes = groups.sizes
    n_out = int(sizes[out].sum())
    for group in smallest_first:
        if n_out >= enough:
            return
        classes = list(groups.classes[group])
        if out[group] or group == validates or not (room[classes] > 0).all():
            continue
        out[group] = True
        room[classes] -= 1
        n_out += int(sizes[group])
