"""Random patterns of a plane group: its lattice, colours and layers."""

from __future__ import annotations

import numpy as np

from autotl.datasets.colours import random_palette
from autotl.datasets.layers import Contours, Floats, Layer, Leaf, Mosaic, Waves, symmetric_waves
from autotl.datasets.pattern import Pattern
from autotl.datasets.plane_groups import PLANE_GROUPS, Lattice, rotation_centres
from autotl.datasets.symmetry import extra_symmetry

# A random pattern is drawn again while it comes closer than this to a symmetry its group lacks,
# or while its colours vary less than this (root mean square over the cell, 0..1).
_MAX_EXTRA_SYMMETRY = 0.7
_MIN_CONTRAST = 0.14
_MAX_DRAWS = 12
_CHECK_SIZE = 24  # a multiple of 6, so that the grid holds halves and thirds of the cell


def random_pattern(group: str, rng: np.random.Generator) -> Pattern:
    """A pattern whose symmetries are those of a group, and visibly no others.

    Args:
        group: one of :data:`~autotl.datasets.plane_groups.WALLPAPER_GROUPS`.
        rng: source of randomness.
    """
    drawn: list[tuple[float, Pattern]] = []
    while not drawn or (drawn[-1][0] > 0 and len(drawn) < _MAX_DRAWS):
        pattern = _draw(group, rng)
        cell = pattern.rasterize_cell(_CHECK_SIZE)
        contrast = float(np.sqrt(cell.var(axis=(0, 1)).mean()))
        too_regular = max(extra_symmetry(cell, group) - _MAX_EXTRA_SYMMETRY, 0.0)
        drawn.append((too_regular + max(_MIN_CONTRAST - contrast, 0.0), pattern))
    return min(drawn, key=lambda found: found[0])[1]


def random_basis(lattice: Lattice, rng: np.random.Generator) -> Floats:
    """Random cell edges of a lattice system, as the columns of a ``(2, 2)`` array, area 1 or 2.

    Lattices keep away from those of more symmetry: no oblique cell is nearly a rectangle. The area
    is that of one primitive cell times the lattice points per cell.
    """
    if lattice == "hexagonal":
        edges = np.array([[1.0, -0.5], [0.0, np.sqrt(0.75)]])
    elif lattice == "square":
        edges = np.eye(2)
    elif lattice == "oblique":  # rectangular at a shift of 0, rhombic at 1/2
        edges = np.array([[1.0, rng.uniform(0.15, 0.38)], [0.0, rng.uniform(1.1, 1.45)]])
    else:
        ratio = rng.uniform(1.25, 1.6)  # a centred cell is hexagonal at the root of 3
        edges = np.diag([1.0, ratio] if rng.random() < 0.5 else [ratio, 1.0])
    area = 2.0 if lattice == "rhombic" else 1.0
    basis: Floats = edges * np.sqrt(area / np.linalg.det(edges))
    return basis


def _draw(group: str, rng: np.random.Generator) -> Pattern:
    """A plain ground, contours or a mosaic; leaves on top; sometimes bent as a whole."""
    basis = random_basis(PLANE_GROUPS[group].lattice, rng)
    palette = random_palette(rng)
    order = PLANE_GROUPS[group].point_group_order
    below = rng.choice(["plain", "contours", "mosaic"], p=(0.4, 0.3, 0.3))
    layers: list[Layer] = []
    if below == "contours":
        layers.append(_contours(group, basis, palette, rng))
    elif below == "mosaic":
        layers.append(_mosaic(group, basis, palette, rng))
    if below == "plain" or rng.random() < 0.75:
        copies = rng.uniform(8, 16) if below == "plain" else rng.uniform(4, 9)
        n_leaves = int(np.clip(round(copies / order), 3 if below == "plain" else 2, 8))
        layers.extend(_leaf(group, basis, palette, rng) for _ in range(n_leaves))
    warp = _warp(group, basis, rng) if rng.random() < 0.5 else None
    return Pattern(group, basis, palette[0], tuple(layers), warp)


def _cutoff(group: str, rng: np.random.Generator) -> float:
    """A highest frequency that leaves a few independent waves after averaging over the group."""
    waves = PLANE_GROUPS[group].point_group_order * rng.uniform(2.0, 4.0)
    return max(1.5, float(np.sqrt(waves / np.pi)))


def _warp(group: str, basis: Floats, rng: np.random.Generator) -> Waves:
    """Displacements whose slope stays well below 1, so that the plane is bent but not folded."""
    waves = symmetric_waves(group, basis, _cutoff(group, rng), rng, vector=True)
    in_plane = Waves(waves.frequencies, waves.coefficients @ basis.T)
    strength = rng.uniform(0.15, 0.4) / in_plane.rms_slope(basis)
    return Waves(waves.frequencies, waves.coefficients * strength)


def _contours(group: str, basis: Floats, palette: Floats, rng: np.random.Generator) -> Contours:
    waves = symmetric_waves(group, basis, _cutoff(group, rng), rng)
    n_levels = int(rng.integers(1, 5))
    levels = np.linspace(-1.1, 1.1, n_levels + 2)[1:-1] + rng.normal(0, 0.1, n_levels)
    return Contours(
        waves=waves,
        slope=waves.rms_slope(basis),
        levels=np.sort(levels) * waves.rms(),
        colours=palette[2 + rng.permutation(len(palette) - 2)[:n_levels]],
        line=palette[1],
        line_width=float(rng.choice([0.0, rng.uniform(0.008, 0.02)])),
    )


def _mosaic(group: str, basis: Floats, palette: Floats, rng: np.random.Generator) -> Mosaic:
    order = PLANE_GROUPS[group].point_group_order
    n_seeds = int(np.clip(round(rng.uniform(8, 18) / order), 3, 6))
    colours = palette[[0, *range(2, len(palette))]]
    spacing = np.sqrt(1 / (n_seeds * order))
    return Mosaic(
        basis=basis,
        seeds=rng.random((n_seeds, 2)),
        colours=colours[rng.permutation(len(colours))[:n_seeds]],
        line=palette[1],
        line_width=float(rng.choice([0.0, rng.uniform(0.03, 0.07)])),
        dots=spacing * rng.uniform(0.12, 0.4, n_seeds) * (rng.random(n_seeds) < 0.5),
        dot_colours=palette[rng.integers(0, len(palette), n_seeds)],
    )


def _leaf(group: str, basis: Floats, palette: Floats, rng: np.random.Generator) -> Leaf:
    """A leaf of random shape: anywhere in the cell, or with its foot near a rotation centre."""
    order = PLANE_GROUPS[group].point_group_order
    height = abs(np.linalg.det(basis)) / np.linalg.norm(basis, axis=0).max()
    disc = rng.random() < 0.15
    bend, curl, skew = (0.0, 0.0, 0.0) if disc else rng.uniform(-0.7, 0.7, 3)
    curl *= 0.6
    width = 1.0 if disc else float(rng.uniform(0.12, 0.6))
    taper = 0.5 if disc else float(rng.choice([0.5, 1.0, 1.0, 2.0]))
    if disc:
        length = order**-0.5 * rng.uniform(0.12, 0.22)
    else:
        length = order**-0.35 * rng.uniform(0.3, 0.62)
    # The leaf fits in one cell about its centre, so that its nearest image is the only one there.
    spread = np.hypot(1.0, abs(bend) + abs(curl) + width * (1 + abs(skew)))
    length = min(float(length), 0.46 * float(height / spread))

    angle = rng.uniform(0, 2 * np.pi)
    centre = rng.random(2)
    centres = rotation_centres(group)
    if centres and not disc and rng.random() < 0.6:
        turns = np.array([turn for _, _, turn in centres])
        x, y, _ = centres[int(rng.choice(len(centres), p=turns / turns.sum()))]
        away = length * rng.uniform(0.75, 1.25) * np.array([np.cos(angle), np.sin(angle)])
        centre = np.array([x, y]) + np.linalg.solve(basis, away)
        angle += rng.normal(0, 0.35)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    thickness = length * width
    n_bands = 2 if disc else int(rng.choice([1, 2, 3, 3]))
    depths = (0.0, *(thickness * np.sort(rng.uniform(0.15, 0.6, n_bands - 1))).tolist())
    accents = 2 + rng.permutation(len(palette) - 2)
    picked = [1 if rng.random() < 0.5 and n_bands > 1 else accents[0], *accents[1:n_bands]]
    return Leaf(
        centre=centre,
        frame=turn @ basis / length,
        length=length,
        bend=float(bend),
        curl=float(curl),
        width=width,
        taper=taper,
        skew=float(skew),
        bands=depths,
        colours=palette[picked],
    )
