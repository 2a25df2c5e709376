"""The 17 plane groups (wallpaper groups) as affine maps in lattice coordinates.

A point has lattice coordinates ``x = (x, y)`` when it lies at ``x a + y b`` for the cell's edges
``a`` and ``b``. An operation is the map ``x -> W x + w`` with an integer matrix ``W`` and a
rational translation ``w``; all groups contain the translations by whole cells, so ``w`` counts
modulo 1. The generators are coordinate triplets ("general positions") of the International Tables.

References:
    International Tables for Crystallography, volume A, part 6: the 17 plane groups.
    D. Schattschneider, "The plane symmetry groups: their recognition and notation",
    American Mathematical Monthly 85 (1978) 439-450.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Lattice = Literal["oblique", "rectangular", "rhombic", "square", "hexagonal"]
Matrix = tuple[tuple[int, int], tuple[int, int]]
Translation = tuple[Fraction, Fraction]
Operation = tuple[Matrix, Translation]

_IDENTITY: Operation = (((1, 0), (0, 1)), (Fraction(0), Fraction(0)))


@dataclass(frozen=True)
class PlaneGroup:
    """One plane group.

    Attributes:
        name: Schattschneider's short name, e.g. ``"pmg"``.
        number: number in the International Tables, 1 to 17.
        lattice: the lattice system. ``"rhombic"`` groups are given in the rectangular cell that is
            centred by ``(1/2, 1/2)``; hexagonal axes enclose 120 degrees.
        generators: coordinate triplets that, with the whole-cell translations, make the group.
        point_group_order: how many different matrices ``W`` there are.
        points_per_lattice: lattice points per cell: 2 if centred, else 1.
    """

    name: str
    number: int
    lattice: Lattice
    generators: tuple[str, ...]
    point_group_order: int
    points_per_lattice: int = 1

    @property
    def order(self) -> int:
        """Number of operations modulo whole-cell translations."""
        return self.point_group_order * self.points_per_lattice


_CENTRING = "x+1/2,y+1/2"

_TABLE = (
    PlaneGroup("p1", 1, "oblique", (), 1),
    PlaneGroup("p2", 2, "oblique", ("-x,-y",), 2),
    PlaneGroup("pm", 3, "rectangular", ("-x,y",), 2),
    PlaneGroup("pg", 4, "rectangular", ("-x,y+1/2",), 2),
    PlaneGroup("cm", 5, "rhombic", (_CENTRING, "-x,y"), 2, 2),
    PlaneGroup("pmm", 6, "rectangular", ("-x,-y", "-x,y"), 4),
    PlaneGroup("pmg", 7, "rectangular", ("-x,-y", "-x+1/2,y"), 4),
    PlaneGroup("pgg", 8, "rectangular", ("-x,-y", "-x+1/2,y+1/2"), 4),
    PlaneGroup("cmm", 9, "rhombic", (_CENTRING, "-x,-y", "-x,y"), 4, 2),
    PlaneGroup("p4", 10, "square", ("-y,x",), 4),
    PlaneGroup("p4m", 11, "square", ("-y,x", "-x,y"), 8),
    PlaneGroup("p4g", 12, "square", ("-y,x", "-x+1/2,y+1/2"), 8),
    PlaneGroup("p3", 13, "hexagonal", ("-y,x-y",), 3),
    PlaneGroup("p3m1", 14, "hexagonal", ("-y,x-y", "-y,-x"), 6),
    PlaneGroup("p31m", 15, "hexagonal", ("-y,x-y", "y,x"), 6),
    PlaneGroup("p6", 16, "hexagonal", ("-y,x-y", "-x,-y"), 6),
    PlaneGroup("p6m", 17, "hexagonal", ("-y,x-y", "-x,-y", "-y,-x"), 12),
)

PLANE_GROUPS: dict[str, PlaneGroup] = {group.name: group for group in _TABLE}
WALLPAPER_GROUPS: tuple[str, ...] = tuple(PLANE_GROUPS)

# The matrices that map a lattice of each system onto itself: the point group of its fullest group.
_FULLEST: dict[Lattice, str] = {
    "oblique": "p2",
    "rectangular": "pmm",
    "rhombic": "cmm",
    "square": "p4m",
    "hexagonal": "p6m",
}


def parse_triplet(triplet: str) -> Operation:
    """The operation that a coordinate triplet writes down, e.g. ``"-y,x-y"`` or ``"-x+1/2,y"``."""
    rows: list[tuple[int, int]] = []
    shifts: list[Fraction] = []
    for expression in triplet.split(","):
        row = [0, 0]
        shift = Fraction(0)
        for term in expression.replace("-", "+-").split("+"):
            sign, symbol = (-1, term[1:]) if term.startswith("-") else (1, term)
            if symbol in ("x", "y"):
                row["xy".index(symbol)] += sign
            elif symbol:
                shift += sign * Fraction(symbol)
        rows.append((row[0], row[1]))
        shifts.append(shift)
    return (rows[0], rows[1]), (shifts[0] % 1, shifts[1] % 1)


def compose(first: Operation, second: Operation) -> Operation:
    """``first`` after ``second``, translation reduced modulo whole cells."""
    ((a, b), (c, d)), (s, t) = first
    ((e, f), (g, h)), (u, v) = second
    matrix = ((a * e + b * g, a * f + b * h), (c * e + d * g, c * f + d * h))
    return matrix, ((a * u + b * v + s) % 1, (c * u + d * v + t) % 1)


@cache
def operations(name: str) -> tuple[Operation, ...]:
    """All operations of a group modulo whole-cell translations, the identity first.

    Args:
        name: one of :data:`WALLPAPER_GROUPS`.

    Returns:
        :attr:`PlaneGroup.order` operations with exact rational translations in ``[0, 1)``.
    """
    generators = [parse_triplet(triplet) for triplet in PLANE_GROUPS[name].generators]
    found = [_IDENTITY]
    for known in found:  # grows while it is walked: stops when the set is closed
        for generator in generators:
            made = compose(generator, known)
            if made not in found:
                found.append(made)
    return tuple(found)


@cache
def coset_arrays(name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """:func:`operations` as arrays: ``W (order, 2, 2) int64`` and ``w (order, 2) float64``."""
    found = operations(name)
    matrices = np.array([matrix for matrix, _ in found], dtype=np.int64)
    shifts = np.array([[float(value) for value in shift] for _, shift in found], dtype=np.float64)
    matrices.flags.writeable = shifts.flags.writeable = False
    return matrices, shifts


@cache
def lattice_matrices(lattice: Lattice) -> NDArray[np.int64]:
    """All matrices that map a lattice of this system onto itself, ``(n_matrices, 2, 2) int64``."""
    unique = np.unique(coset_arrays(_FULLEST[lattice])[0], axis=0)
    unique.flags.writeable = False
    return unique


@cache
def rotation_centres(name: str) -> tuple[tuple[float, float, int], ...]:
    """The points of one cell about which a group has rotations.

    Returns:
        Tuples ``(x, y, n)``: lattice coordinates in ``[0, 1)`` and the order ``n`` of the rotation
        (2, 3, 4 or 6). Empty for groups without rotations.
    """
    order_of_trace = {-2: 2, -1: 3, 0: 4, 1: 6}  # the trace of W tells the angle
    centres: dict[tuple[Fraction, Fraction], int] = {}
    for ((a, b), (c, d)), (s, t) in operations(name):
        if a * d - b * c != 1 or (a, b, c, d) == (1, 0, 0, 1):  # a reflection or a translation
            continue
        determinant = (1 - a) * (1 - d) - b * c
        for m, n in product(range(-2, 3), repeat=2):  # (I - W) x = w + (m, n)
            x = ((1 - d) * (s + m) + b * (t + n)) / determinant % 1
            y = (c * (s + m) + (1 - a) * (t + n)) / determinant % 1
            centres[x, y] = max(centres.get((x, y), 0), order_of_trace[a + d])
    return tuple((float(x), float(y), turn) for (x, y), turn in sorted(centres.items()))
