"""The layers that a periodic pattern is painted with; each is exactly invariant under its group.

Every layer is a pointwise function of *symmetric* fields of the point: a sum of waves over the
group, or a minimum over the point's images under the group. So whatever it paints at ``x`` it also
paints at ``g x``, for every operation ``g``; no pixel is ever copied or interpolated.

Lengths are in units in which the group's primitive cell has area 1. Colours are sRGB in 0..1.

F. A. Farris, "Creating Symmetry: The Artful Mathematics of Wallpaper Patterns" (Princeton, 2015)
builds such patterns from waves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autotl.datasets.plane_groups import coset_arrays

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Waves:
    """A real trigonometric polynomial on the cell, made symmetric under a group.

    Attributes:
        frequencies: ``(n_waves, 2) int64`` reciprocal lattice coordinates ``k``.
        coefficients: ``(n_waves, channels) complex128``.
    """

    frequencies: NDArray[np.int64]
    coefficients: NDArray[np.complex128]

    def __call__(self, points: Floats) -> Floats:
        """Values ``(channels, n_points)`` at lattice coordinates ``(2, n_points)``."""
        reach = int(np.abs(self.frequencies).max(initial=1))
        turn = np.exp(2j * np.pi * points)
        powers = np.ones((reach + 1, *points.shape), dtype=np.complex128)
        for k in range(1, reach + 1):
            powers[k] = powers[k - 1] * turn
        signed = np.concatenate([powers, powers[:0:-1].conj()])  # signed[-k] is the k-th inverse
        along_a, along_b = self.frequencies.T
        waves = signed[along_a, 0] * signed[along_b, 1]
        real, imaginary = self.coefficients.real.T, self.coefficients.imag.T
        values: Floats = real @ waves.real - imaginary @ waves.imag
        return values

    def rms(self) -> float:
        """Root mean square of the values over the cell, all channels together."""
        return float(np.sqrt((np.abs(self.coefficients) ** 2).sum() / 2))

    def rms_slope(self, basis: Floats) -> float:
        """Root mean square of the gradient's norm (per unit length) over the cell."""
        slopes = 2 * np.pi * np.linalg.norm(self.frequencies @ np.linalg.inv(basis), axis=1)
        return float(np.sqrt(((np.abs(self.coefficients) * slopes[:, None]) ** 2).sum() / 2))


def symmetric_waves(
    name: str, basis: Floats, cutoff: float, rng: np.random.Generator, vector: bool = False
) -> Waves:
    """Random waves averaged over a group.

    A wave's image under ``x -> W x + w`` is again a wave, of frequency ``k W``: so the average over
    the group is taken on the coefficients, exactly.

    Args:
        name: the plane group.
        basis: ``(2, 2)``, columns are the cell's edges.
        cutoff: highest frequency, in waves per unit length.
        rng: source of randomness.
        vector: False for one field that is invariant; True for a field of displacements in lattice
            coordinates that turns with the pattern, ``v(g x) = W v(x)``.
    """
    dual = np.linalg.inv(basis)
    reach = int(np.ceil(cutoff * np.linalg.norm(basis, axis=0).max()))
    steps = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    norms = np.linalg.norm(grid @ dual, axis=1)
    inside = (norms > 0) & (norms <= cutoff)
    grid, norms = grid[inside], norms[inside]

    channels = 2 if vector else 1
    drawn = rng.normal(size=(len(grid), channels, 2)) @ np.array([1, 1j])
    drawn *= np.exp(-((norms / cutoff) ** 2))[:, None]
    if vector:
        drawn = drawn @ dual.T  # isotropic in the plane, then lattice coordinates

    total: dict[tuple[int, int], NDArray[np.complex128]] = {}
    for matrix, shift in zip(*coset_arrays(name), strict=True):
        moved = grid @ matrix
        turned = drawn * np.exp(2j * np.pi * (grid @ shift))[:, None]
        if vector:
            turned = turned @ np.linalg.inv(matrix).T
        for (k, m), value in zip(moved.tolist(), turned, strict=True):
            if (k, m) < (0, 0):  # real part: the wave of -k is the conjugate of that of k
                k, m, value = -k, -m, value.conj()
            total[k, m] = total.get((k, m), 0) + value
    frequencies = np.array(list(total), dtype=np.int64)
    coefficients = np.array(list(total.values()))
    kept = np.abs(coefficients).max(axis=1) > 1e-9  # waves that the group cancels
    return Waves(frequencies[kept], coefficients[kept])


def smooth_step(distance: Floats, softness: float) -> Floats:
    """Cover of an edge: 1 well inside (``distance < 0``), 0 well outside, smooth between."""
    t = np.clip(0.5 - distance / (2 * softness), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def mix(below: Floats, colour: Floats, cover: Floats) -> Floats:
    """A colour ``(3,)`` or colours ``(3, n_points)`` painted over ``(3, n_points)``."""
    top = colour[:, None] if colour.ndim == 1 else colour
    return below + cover * (top - below)


class Layer(Protocol):
    """One layer of paint."""

    def paint(self, points: Floats, orbit: Floats, below: Floats, softness: float) -> Floats:
        """Paint over what is below.

        Args:
            points: ``(2, n_points)`` lattice coordinates.
            orbit: ``(order, 2, n_points)``, the points' images under all operations of the group.
            below: ``(3, n_points)`` colours so far.
            softness: half width of edges, a length.

        Returns:
            ``(3, n_points)`` colours.
        """
        ...


@dataclass(frozen=True)
class Contours:
    """The level sets of a symmetric field, as bands of flat colour.

    Attributes:
        waves: one channel.
        slope: typical gradient of the waves per unit length: turns ``softness`` into a difference
            of levels.
        levels: ``(n_levels,)`` increasing.
        colours: ``(n_levels, 3)``, the colour above each level.
        line: ``(3,)`` colour of the lines along the levels.
        line_width: half width of these lines, a length; 0 for none.
    """

    waves: Waves
    slope: float
    levels: Floats
    colours: Floats
    line: Floats
    line_width: float

    def paint(self, points: Floats, orbit: Floats, below: Floats, softness: float) -> Floats:
        height = self.waves(points)[0] / self.slope
        painted = below
        for level, colour in zip(self.levels / self.slope, self.colours, strict=True):
            painted = mix(painted, colour, smooth_step(level - height, softness))
            if self.line_width:
                away = np.abs(level - height) - self.line_width
                painted = mix(painted, self.line, smooth_step(away, softness))
        return painted


@dataclass(frozen=True)
class Mosaic:
    """Every point takes the colour of the nearest seed or image of a seed.

    "Near" is a periodic distance that is Euclidean for small ones:
    ``d^2 = sum_j 2 m_j (1 - cos(2 pi k_j (x - seed)))`` over the three shortest frequencies.

    Attributes:
        basis: ``(2, 2)``, columns are the cell's edges, reduced: ``|a.b| < min(|a|^2, |b|^2)``.
        seeds: ``(n_seeds, 2)`` lattice coordinates.
        colours: ``(n_seeds, 3)``.
        line: ``(3,)`` colour of the borders.
        line_width: width of the borders, a length.
        dots: ``(n_seeds,)`` radius of a disc round each seed, 0 for none.
        dot_colours: ``(n_seeds, 3)``.
    """

    basis: Floats
    seeds: Floats
    colours: Floats
    line: Floats
    line_width: float
    dots: Floats
    dot_colours: Floats

    def paint(self, points: Floats, orbit: Floats, below: Floats, softness: float) -> Floats:
        distance = self.distances(orbit)
        columns = np.arange(distance.shape[1])
        first = distance.argmin(axis=0)
        nearest = distance[first, columns]
        distance[first, columns] = np.inf
        second = distance.argmin(axis=0)
        gap = distance[second, columns] - nearest

        painted = self.colours[first].T
        if self.line_width:
            painted = mix(painted, self.line, smooth_step(gap - self.line_width, softness))
        else:  # the two colours meet half way: no jump at the border
            half = 0.5 * np.clip(1 - gap / softness, 0.0, 1.0)
            painted = mix(painted, self.colours[second].T, half)
        radius = self.dots[first]
        cover = smooth_step(nearest - radius, softness) * (radius > 0)
        cover *= 1 - smooth_step(gap - self.line_width, softness)
        return mix(painted, self.dot_colours[first].T, cover)

    def distances(self, orbit: Floats) -> Floats:
        """``(n_seeds, n_points)``: how far each seed's nearest image is."""
        gram = self.basis.T @ self.basis
        sign = -1 if gram[0, 1] < 0 else 1
        frequencies = np.array([[1, 0], [0, 1], [1, sign]])
        shared = abs(gram[0, 1])
        weights = np.array([gram[0, 0] - shared, gram[1, 1] - shared, shared]) / (4 * np.pi**2)
        angles = 2 * np.pi * np.einsum("jk,gkn->jgn", frequencies, orbit)
        seed_angles = 2 * np.pi * self.seeds @ frequencies.T
        waves = np.concatenate([np.cos(angles), np.sin(angles)])  # (6, order, n_points)
        weighted = np.concatenate([np.cos(seed_angles) * weights, np.sin(seed_angles) * weights], 1)
        closeness = np.tensordot(weighted, waves, axes=1).max(axis=1)
        distance: Floats = np.sqrt(np.maximum(2 * (weights.sum() - closeness), 1e-12))
        return distance


@dataclass(frozen=True)
class Leaf:
    """A bent leaf and its images under the group: leaves, petals, commas, arcs and discs.

    In its own frame, scaled to half length 1, the leaf lies about the curve
    ``v = bend u^2 + curl u^3`` with half width ``width (1 - u^2)^taper (1 + skew u)``.

    Attributes:
        centre: ``(2,)`` lattice coordinates.
        frame: ``(2, 2)``, from lattice coordinates to the leaf's own frame.
        length: half length.
        bend: curvature of the middle line.
        curl: its change along the leaf.
        width: greatest half width, if ``skew`` is 0.
        taper: 0.5 for round ends, 1 for pointed, 2 for drawn-out ones.
        skew: how much wider one end is, -1..1.
        bands: ``(n_bands,)`` depths (lengths, increasing from 0) at which the colour changes.
        colours: ``(n_bands, 3)``.
    """

    centre: Floats
    frame: Floats
    length: float
    bend: float
    curl: float
    width: float
    taper: float
    skew: float
    bands: tuple[float, ...]
    colours: Floats

    def paint(self, points: Floats, orbit: Floats, below: Floats, softness: float) -> Floats:
        distance = self.distances(orbit)
        painted = below
        for depth, colour in zip(self.bands, self.colours, strict=True):
            painted = mix(painted, colour, smooth_step(distance + depth, softness))
        return painted

    def distances(self, orbit: Floats) -> Floats:
        """``(n_points,)``: about how far the nearest image of the leaf is, negative inside."""
        offset = orbit - self.centre[:, None]
        offset -= np.round(offset)
        u, v = np.moveaxis(self.frame @ offset, 1, 0)
        inside = np.maximum(1 - u * u, 0.0)
        v = v - (self.bend + self.curl * u) * u * u
        half_width = self.width * inside**self.taper * (1 + self.skew * u)
        slope = (2 * self.bend + 3 * self.curl * u) * u
        side = (np.abs(v) - half_width) / np.sqrt(1 + slope * slope)
        distance: Floats = self.length * (side + np.maximum(np.abs(u) - 1, 0.0)).min(axis=0)
        return distance
