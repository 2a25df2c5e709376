"""Near-duplicates: one picture saved again, resized, brightened, mirrored or cropped a little.

Candidates come from perceptual hashes and from neighbours by features; each is then verified on the
thumbnails, since different pictures of one kind (X-rays, handwritten characters, spectrograms) have
nearly equal hashes. A link that isn't true would tie pictures of different classes together, so
that a pair counts only where it agrees far more than pictures of this data set do by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotl.data.alignment import best_windows, lie_inside, refined, shown_in
from autotl.data.nearest import feature_pairs
from autotl.data.perceptual import (
    THUMBNAIL,
    hash_pairs,
    make_thumbnails,
    perceptual_hashes,
    transformed,
)

MIN_CONTRAST = 4.0
"""Pictures whose grey levels deviate less (of 255) are too plain to be told apart."""
MAX_EMPTY = 0.7
"""A picture of which a greater share is of one grey level is a drawing on an empty ground."""
SAME_FRAME, SAME_DRAWING, SAME_WINDOW = 0.13, 0.05, 0.035
"""A pair may miss full agreement by this share of what chance misses it by: less where a window was
looked for, since looking finds something, and less for drawings, whose strokes are soon alike."""

_HIGHEST = 14
_LEAST_DEVIATION = 0.1
_LEAST_AXES = 10.0
_CHANCE_SAMPLES = 1000
_CHANCE_DEVIATIONS = 4.0
_CHANCE_RANGE = (0.4, 0.9)
_COARSE_AGREEMENT = 0.9
_HALFWAY_AGREEMENT = 0.75
_BLOCK = 4096

_FREQUENCY = np.hypot(*np.indices((THUMBNAIL, THUMBNAIL))).ravel()
_USED = np.flatnonzero((_FREQUENCY > 0) & (_FREQUENCY < _HIGHEST))
_NATURAL = (_FREQUENCY[_USED] ** -2 / np.sum(_FREQUENCY[_USED] ** -2)).astype(np.float32)
_KNOWN_BEFOREHAND = 10
_MIRROR = np.where(_USED % THUMBNAIL % 2, -1, 1).astype(np.float32)


def near_duplicates(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    n_samples: int,
    features: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Pairs of samples that show the same picture.

    Takes about 0.1 ms and 2 kB for each sample, no matrix of all pairs. Of many copies of one
    picture some pairs are found that connect them, not all.

    Args:
        read: gives the decoded pictures ``(k, size, size, 3) uint8`` of samples ``(k,) int64``.
        n_samples: how many there are.
        features: ``(n_samples, num_features)`` of a pretrained network; without them crops aren't
            looked for.
        seed: of the choice of samples to learn from what chance does.

    Returns:
        ``(n_pairs, 2) int64``, the first less than the second, ascending, no pair twice.
    """
    if n_samples < 2:
        return np.empty((0, 2), dtype=np.int64)
    thumbnails = make_thumbnails(read, n_samples)
    coefficients, hashes, contrast = _described(thumbnails)
    plain = contrast < MIN_CONTRAST
    drawn = _is_drawing(thumbnails)
    agreement = Agreement.of(coefficients, np.flatnonzero(~plain), seed)
    least = np.where(drawn, agreement.threshold(SAME_DRAWING), agreement.threshold(SAME_FRAME))

    def same(pairs: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> NDArray[np.bool_]:
        agreed = agreement.between(coefficients, pairs, mirrored)
        equal: NDArray[np.bool_] = agreed >= least[pairs].max(axis=1)
        return equal & ~plain[pairs].any(axis=1)

    pairs, mirrored = hash_pairs(hashes)
    links = pairs[same(pairs, mirrored)]
    if features is None:
        return np.unique(links, axis=0)
    near = feature_pairs(features, seed=seed)
    near = near[~np.isin(near @ [n_samples, 1], links @ [n_samples, 1])]
    found = same(near, np.zeros(len(near), dtype=bool)) | same(near, np.ones(len(near), dtype=bool))
    looked_at = np.flatnonzero(~found & ~(plain | drawn)[near].any(axis=1))
    found[looked_at] = _cropped(thumbnails, near[looked_at], agreement)
    return np.unique(np.concatenate([links, near[found]]), axis=0)


@dataclass(frozen=True)
class Agreement:
    """How far two pictures agree in their details, beyond what all pictures have in common.

    The correlation of the cosine coefficients of lower frequencies, each relative to its mean and
    its deviation over the data set: 0 for pictures that have nothing to do with each other.

    Attributes:
        mean: of the coefficients, ``(n_coefficients,)``.
        scale: their deviation, with a lower bound.
        chance: what different pictures hardly ever reach.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    chance: float

    @classmethod
    def of(cls, coefficients: NDArray[np.float32], rows: NDArray[np.int64], seed: int) -> Agreement:
        """What is usual among these rows of all pictures ``(n, n_coefficients)``.

        Few pictures say little of it: as much as ten others is taken to be known beforehand, that
        the spectrum falls with the frequency as that of natural pictures.
        """
        blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
        weight = len(rows) + _KNOWN_BEFOREHAND
        total = np.zeros(coefficients.shape[1])
        for block in blocks:
            total += coefficients[block].sum(axis=0, dtype=np.float64)
        mean = (total / weight).astype(np.float32)
        spread = _KNOWN_BEFOREHAND * _NATURAL.astype(np.float64)
        for block in blocks:
            spread += np.square(coefficients[block] - mean).sum(axis=0, dtype=np.float64)
        deviation = np.sqrt(spread / weight)
        scale = np.maximum(deviation, _LEAST_DEVIATION * deviation.max()).astype(np.float32)
        drawn = rows[np.random.default_rng(seed).permutation(len(rows))[:_CHANCE_SAMPLES]]
        values = cls(mean, scale, 0.0).relative(coefficients[drawn])
        by_chance = (values @ values.T)[np.triu_indices(len(values), 1)]
        chance = _CHANCE_DEVIATIONS * float(by_chance.std()) if len(by_chance) else 0.0
        return cls(mean, scale, float(np.clip(chance, *_CHANCE_RANGE)))

    def threshold(self, tolerance: float) -> float:
        """The least agreement that counts."""
        return 1 - tolerance * (1 - self.chance)

    def relative(self, coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coefficients relative to the usual ones, of length 1."""
        values = (coefficients - self.mean) / self.scale
        norm = np.linalg.norm(values, axis=1, keepdims=True)
        relative: NDArray[np.float32] = values / np.maximum(norm, 1e-6)
        return relative

    def between(
        self,
        coefficients: NDArray[np.float32],
        pairs: NDArray[np.int64],
        mirrored: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """The agreement of pairs, the second mirrored where so said, ``(n_pairs,)``."""
        found = np.empty(len(pairs), dtype=np.float32)
        for start in range(0, len(pairs), _BLOCK):
            block = slice(start, start + _BLOCK)
            turn = np.where(mirrored[block, None], _MIRROR, np.float32(1))
            found[block] = self.compared(
                coefficients[pairs[block, 0]], coefficients[pairs[block, 1]] * turn
            )
        return found

    def compared(
        self, some: NDArray[np.float32], others: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The agreement row by row; 0 where it rests on a few coefficients only."""
        products = self.relative(some) * self.relative(others)
        total = products.sum(axis=1)
        n_axes = np.square(total) / np.maximum(np.square(products).sum(axis=1), 1e-12)
        agreed: NDArray[np.float32] = np.where(n_axes >= _LEAST_AXES, total, 0)
        return agreed


def _is_drawing(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether most of a picture is of one grey level, or nearly, ``(n,)``."""
    found = np.empty(len(thumbnails), dtype=bool)
    for start in range(0, len(thumbnails), _BLOCK):
        values = thumbnails[start : start + _BLOCK].reshape(-1, THUMBNAIL**2).astype(np.int16)
        middle = values.shape[1] // 2
        ground = np.partition(values, middle, axis=1)[:, middle, None]
        found[start : start + _BLOCK] = (np.abs(values - ground) <= 2).mean(axis=1) > MAX_EMPTY
    return found


def _described(
    thumbnails: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.uint64], NDArray[np.float32]]:
    """Coefficients of length 1, hashes, and the contrast in grey levels."""
    n = len(thumbnails)
    coefficients = np.empty((n, len(_USED)), dtype=np.float32)
    hashes = np.empty((n, 2), dtype=np.uint64)
    contrast = np.empty(n, dtype=np.float32)
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        values = transformed(thumbnails[block])
        hashes[block] = perceptual_hashes(values)
        contrast[block] = np.linalg.norm(values[:, 1:], axis=1) / THUMBNAIL
        coefficients[block] = _unit(values)
    return coefficients, hashes, contrast


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The coefficients that are compared, of length 1."""
    used = values[:, _USED]
    unit: NDArray[np.float32] = used / np.maximum(np.linalg.norm(used, axis=1, keepdims=True), 1e-6)
    return unit


def _cropped(
    thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64], agreement: Agreement
) -> NDArray[np.bool_]:
    """Of which pairs one is a window of the other, ``(n_pairs,)``."""
    found = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _BLOCK):
        block = slice(start, start + _BLOCK)
        needed, place = np.unique(pairs[block], return_inverse=True)
        shown = thumbnails[needed].astype(np.float32)
        found[block] = _cropped_block(shown, place.reshape(-1, 2), agreement)
    return found


def _cropped_block(
    thumbnails: NDArray[np.float32], pairs: NDArray[np.int64], agreement: Agreement
) -> NDArray[np.bool_]:
    ways = [best_windows(thumbnails, pairs[:, w], pairs[:, 1 - w]) for w in (0, 1)]
    better = (ways[1][0] > ways[0][0]).astype(np.int64)
    each = np.arange(len(pairs))
    alike, windows, mirrored = (np.stack(part)[better, each] for part in zip(*ways, strict=True))
    rows = np.flatnonzero(alike >= _COARSE_AGREEMENT)
    wholes = thumbnails[pairs[rows, better[rows]]]
    parts = thumbnails[pairs[rows, 1 - better[rows]]]
    parts = np.where(mirrored[rows, None, None], parts[:, :, ::-1], parts)
    windows = windows[rows]
    for side, n_steps, tolerance in ((16, 2, None), (32, 2, SAME_WINDOW)):
        windows = refined(wholes, parts, windows, side, n_steps)
        agreed = agreement.compared(
            _unit(transformed(shown_in(wholes, windows))), _unit(transformed(parts))
        )
        least = _HALFWAY_AGREEMENT if tolerance is None else agreement.threshold(tolerance)
        kept = (agreed >= least) & lie_inside(windows)
        rows, windows, wholes, parts = rows[kept], windows[kept], wholes[kept], parts[kept]
    cropped = np.zeros(len(pairs), dtype=bool)
    cropped[rows] = True
    return cropped
