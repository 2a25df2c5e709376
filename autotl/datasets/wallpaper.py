"""Pictures of the 17 wallpaper groups: a data set that no photograph resembles, drawn on demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from autotl.datasets.motifs import random_pattern
from autotl.datasets.pattern import Pattern
from autotl.datasets.plane_groups import PLANE_GROUPS, WALLPAPER_GROUPS
from autotl.errors import InputError, unknown

# An image shows 2 to 5 cells, and no fewer pixels than this per asymmetric part of the cell.
_CELLS_ACROSS = (2.0, 5.0)
_MIN_PART_PIXELS = 48.0


def wallpaper_groups(
    n_per_class: int = 60,
    image_size: int = 64,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Labelled pictures of random wallpaper patterns, one class per plane group.

    Each picture is a window of random position, angle and scale on a random pattern that has all
    symmetries of its group and no others. Picture ``i`` of a group depends on ``seed``, the group
    and ``i`` alone: asking for more pictures or fewer groups changes none of the others.

    Args:
        n_per_class: pictures per group, at least 1.
        image_size: width and height in pixels, at least 8.
        seed: 0 or more; the same seed gives the same pictures.
        groups: which groups, in the order wanted; None for all of :data:`WALLPAPER_GROUPS`.

    Returns:
        ``X (n, image_size, image_size, 3) uint8`` in sRGB and ``y (n,)``, the groups' names, class
        by class; ``n = n_per_class * len(groups)``.

    Raises:
        InputError: if an argument is out of range or a group is unknown.

    References:
        International Tables for Crystallography, volume A, part 6.
        D. Schattschneider, "The plane symmetry groups: their recognition and notation",
        American Mathematical Monthly 85 (1978) 439-450.
    """
    names = _checked(n_per_class, image_size, seed, groups)
    images = np.empty((len(names) * n_per_class, image_size, image_size, 3), dtype=np.uint8)
    for position, name in enumerate(names):
        for i in range(n_per_class):
            rng = np.random.default_rng([seed, PLANE_GROUPS[name].number, i])
            pattern = random_pattern(name, rng)
            images[position * n_per_class + i] = draw_window(pattern, image_size, rng)
    return images, np.repeat(np.array(names), n_per_class)


def draw_window(pattern: Pattern, image_size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square window of random position, angle and scale on a pattern.

    Returns:
        ``(image_size, image_size, 3) uint8``.
    """
    order = PLANE_GROUPS[pattern.group].point_group_order
    least, most = _CELLS_ACROSS
    resolved = image_size / np.sqrt(_MIN_PART_PIXELS * order)
    pixel = rng.uniform(least, np.clip(resolved, least, most)) / image_size
    points = window_points(pattern.basis, image_size, pixel, rng.uniform(0, 2 * np.pi))
    colours = pattern.evaluate(points + rng.random(2), softness=0.75 * pixel)
    return np.rint(255 * colours).astype(np.uint8).reshape(image_size, image_size, 3)


def window_points(
    basis: NDArray[np.float64], image_size: int, pixel: float, angle: float
) -> NDArray[np.float64]:
    """Where the pixels of a square window about the lattice's origin lie.

    Args:
        basis: ``(2, 2)``, columns are the cell's edges.
        image_size: pixels along each side.
        pixel: a pixel's side, a length.
        angle: by which the window is turned, in radians.

    Returns:
        ``(image_size ** 2, 2) float64`` lattice coordinates, row by row.
    """
    steps = (np.arange(image_size) - (image_size - 1) / 2) * pixel
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plane = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) @ turn.T
    points: NDArray[np.float64] = plane @ np.linalg.inv(basis).T
    return points


def _checked(
    n_per_class: int, image_size: int, seed: int, groups: Sequence[str] | None
) -> tuple[str, ...]:
    problems = [
        f"{name} must be a whole number of at least {least}, but got {value!r}"
        for name, value, least in (
            ("n_per_class", n_per_class, 1),
            ("image_size", image_size, 8),
            ("seed", seed, 0),
        )
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least
    ]
    names: tuple[str, ...] = WALLPAPER_GROUPS
    if isinstance(groups, str) or not isinstance(groups, Iterable | None):
        problems.append(f"groups must be a list of names such as ['p1', 'p2'], but got {groups!r}")
    elif groups is not None:
        names = tuple(groups)
        problems.extend(
            str(unknown("wallpaper group", name, WALLPAPER_GROUPS))
            for name in names
            if name not in WALLPAPER_GROUPS
        )
        if not names:
            problems.append("groups must name at least one group, but is empty; None means all 17")
        if any(names.count(name) > 1 for name in names):
            problems.append(f"groups must not repeat a name, but got {list(names)!r}")
    if problems:
        raise InputError.of(problems)
    return names
