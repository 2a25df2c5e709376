"""Which of many backbones are worth a closer look: successive halving by a linear fit.

All candidates see a small part of the training samples; the worse half is dropped, the others see
twice as many, until few are left (Jamieson and Talwalkar 2016, AISTATS, arXiv 1502.07943, with
pictures as the resource).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.left_out import left_out_right
from autotl.analysis.moments import Features, Labels
from autotl.naming import BackboneName

MAX_CANDIDATES = 3
"""So many are kept at most, and no more than that needn't be ranked."""
FIRST_PICTURES, MAX_PICTURES = 128, 512
"""That a candidate sees in the first round, and in the last one at most."""

_KEPT = 2
_NOISE = 2.0
_MOST_KEPT = 0.75
_PER_CLASS = 5


@dataclass(frozen=True)
class RankedBackbone:
    """What the ranking found of a candidate.

    Attributes:
        name: its name.
        n_pictures: of the last round that it was in; figures of equally many compare.
        accuracy: of a linear fit there, each picture predicted by the others; None: its features
            aren't finite.
        behind: by how much the best one's accuracy was greater, on the same pictures.
        standard_error: of ``behind``.
        seconds: that its passes and fits took.
        kept: whether it goes into the profile and the search.
    """

    name: str
    n_pictures: int = 0
    accuracy: float | None = None
    behind: float | None = None
    standard_error: float | None = None
    seconds: float = 0.0
    kept: bool = False

    @property
    def short_name(self) -> str:
        """The name without the folders of a weights file."""
        return BackboneName.of(self.name).short

    def __str__(self) -> str:
        if self.accuracy is None or self.behind is None or self.standard_error is None:
            return f"its features of {self.n_pictures} pictures aren't all finite"
        told = f"accuracy {self.accuracy:.2f} on {self.n_pictures} pictures"
        if not self.behind and not self.standard_error:
            return f"{told}, the best"
        return f"{told}, {100 * self.behind:.1f} +- {100 * self.standard_error:.1f} points behind"


def rank_backbones(
    n_parameters: Mapping[str, int],
    features: Callable[[str, NDArray[np.int64]], Features],
    labels: Labels,
    train: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    limit_s: float = float("inf"),
) -> tuple[RankedBackbone, ...]:
    """Drop candidates until at most :data:`MAX_CANDIDATES` are left.

    In a round all that are left see the same pictures, and those of the round before are among
    them. The evidence is the accuracy of :func:`~autotl.analysis.left_out.left_out_right`, compared
    with the best one's picture by picture. The better half is kept; of the others those that lie
    within two standard errors of the best, so that up to three quarters are kept. After the last
    round the best two are kept, and the third if it lies so near. Of equal accuracies that of fewer
    parameters comes first, then by name: the order of the candidates doesn't matter.

    Args:
        n_parameters: of each candidate, by name.
        features: gives the features ``(k, d)`` by a candidate's name and samples ``(k,)``.
        labels: ``(n_samples,) int64``.
        train: ``(n_train,) int64``, the samples that may be looked at.
        groups: ``(n_samples,) int64``, samples not to be predicted by each other; None: any may.
        seed: of the choice of samples.
        limit_s: no round begins that would end later than so many seconds from now, judging by the
            time that earlier ones took; the first one begins in any case.

    Returns:
        All candidates, best first; those dropped later before those dropped earlier.
    """
    started = time.perf_counter()
    left = {name: RankedBackbone(name) for name in n_parameters}
    dropped: list[RankedBackbone] = []
    n_pictures = FIRST_PICTURES
    while True:
        samples = train[growing_rows(labels[train], n_pictures, seed)]
        own_groups = None if groups is None else groups[samples]
        right: dict[str, NDArray[np.bool_]] = {}
        for name, entry in left.items():
            begun = time.perf_counter()
            values = features(name, samples)
            if np.isfinite(values).all():
                right[name] = left_out_right(values, labels[samples], own_groups)
            seconds = entry.seconds + time.perf_counter() - begun
            left[name] = replace(entry, n_pictures=len(samples), seconds=seconds)
        ranked = _compared(left, right, n_parameters, own_groups)
        n_kept = _n_kept(ranked)
        round_s = sum(entry.seconds for entry in ranked[:n_kept])  # as all its rounds so far
        late = time.perf_counter() - started + round_s > limit_s
        if late or n_pictures >= min(MAX_PICTURES, len(train)):
            n_kept = min(n_kept, _n_final(ranked))
        dropped = [*ranked[n_kept:], *dropped]
        if n_kept <= MAX_CANDIDATES:
            return *(replace(entry, kept=True) for entry in ranked[:n_kept]), *dropped
        left = {entry.name: entry for entry in ranked[:n_kept]}
        n_pictures *= 2


def growing_rows(labels: Labels, n: int, seed: int) -> NDArray[np.int64]:
    """About ``n`` rows in which every class has its share; with more rows, nearly all of the fewer.

    With so many classes that fewer than five rows would be left for each, only some classes.

    Args:
        labels: ``(n_rows,) int64``.
        n: how many rows; all if there are no more.
        seed: equal seeds, rows that grow from each other.
    """
    rng = np.random.default_rng(seed)
    names, of_class, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(of_class[order], kind="stable")]
    rank = np.empty(len(labels))
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (rank + rng.random(len(names))[of_class]) / counts[of_class]
    place = rng.permutation(len(names))[of_class]
    if n < len(labels):
        share = np.where(place < max(2, n // _PER_CLASS), share, np.inf)
    chosen = np.argsort(share, kind="stable")[:n]
    return np.sort(chosen[np.isfinite(share[chosen])])


def _compared(
    left: Mapping[str, RankedBackbone],
    right: Mapping[str, NDArray[np.bool_]],
    n_parameters: Mapping[str, int],
    groups: NDArray[np.int64] | None,
) -> list[RankedBackbone]:
    """Best first, with accuracies and differences from the best one's; unknown ones last."""

    def place(name: str) -> tuple[float, int, str]:
        accuracy = float(right[name].mean()) if name in right else -1.0
        return -accuracy, n_parameters[name], name

    names = sorted(left, key=place)
    if not right:
        return [left[name] for name in names]
    best = right[names[0]]
    ranked = []
    for name in names:
        if name not in right:
            ranked.append(replace(left[name], accuracy=None, behind=None, standard_error=None))
            continue
        lost = best.astype(np.float64) - right[name]
        ranked.append(
            replace(
                left[name],
                accuracy=float(right[name].mean()),
                behind=float(lost.mean()),
                standard_error=_standard_error(lost, groups),
            )
        )
    return ranked


def _standard_error(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> float:
    """Of the mean of values, of which those of a group may be alike (Liang and Zeger 1986)."""
    sums = values - values.mean()
    if groups is not None and np.ptp(groups):
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=sums)
    correction = len(sums) / max(1, len(sums) - 1)
    return float(np.sqrt(np.square(sums).sum() * correction) / len(values))


def _n_kept(ranked: Sequence[RankedBackbone]) -> int:
    """After a round that isn't the last: the better half, and those near the best up to a limit."""
    least = max(_KEPT, len(ranked) // 2)
    return _with_near(ranked, least, math.ceil(_MOST_KEPT * len(ranked)))


def _n_final(ranked: Sequence[RankedBackbone]) -> int:
    """After the last round."""
    return _with_near(ranked, _KEPT, MAX_CANDIDATES)


def _with_near(ranked: Sequence[RankedBackbone], least: int, most: int) -> int:
    """How many of the first are kept: at least some, and up to a limit those near the best."""
    near = [
        place
        for place, entry in enumerate(ranked[:most])
        if entry.behind is not None
        and entry.standard_error is not None
        and entry.behind <= _NOISE * entry.standard_error
    ]
    return max(least, near[-1] + 1 if near else 0)
