"""The 17 wallpaper groups: the table is right, patterns have these symmetries and no others."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.datasets import WALLPAPER_GROUPS, wallpaper_groups
from autotl.datasets.motifs import random_basis, random_pattern
from autotl.datasets.pattern import Pattern
from autotl.datasets.plane_groups import (
    PLANE_GROUPS,
    Operation,
    compose,
    coset_arrays,
    operations,
    parse_triplet,
    rotation_centres,
)
from autotl.datasets.symmetry import extra_symmetry
from autotl.datasets.wallpaper import window_points
from autotl.errors import InputError

# Order of the point group and lattice points per cell.
ORDERS = {
    **{"p1": (1, 1), "p2": (2, 1), "pm": (2, 1), "pg": (2, 1), "cm": (2, 2), "pmm": (4, 1)},
    **{"pmg": (4, 1), "pgg": (4, 1), "cmm": (4, 2), "p4": (4, 1), "p4m": (8, 1), "p4g": (8, 1)},
    **{"p3": (3, 1), "p3m1": (6, 1), "p31m": (6, 1), "p6": (6, 1), "p6m": (12, 1)},
}

# Schattschneider's recognition chart (1978): highest order of rotation, number of directions of
# mirrors, whether there are glides along axes that are no mirrors, and whether all centres of the
# highest order lie on mirrors, which tells p3m1 from p31m.
CHART = {
    "p1": (1, 0, False, None),
    "p2": (2, 0, False, False),
    "pm": (1, 1, False, None),
    "pg": (1, 0, True, None),
    "cm": (1, 1, True, None),
    "pmm": (2, 2, False, True),
    "pmg": (2, 1, True, False),
    "pgg": (2, 0, True, False),
    "cmm": (2, 2, True, False),
    "p4": (4, 0, False, False),
    "p4m": (4, 4, True, True),
    "p4g": (4, 2, True, False),
    "p3": (3, 0, False, False),
    "p3m1": (3, 3, True, True),
    "p31m": (3, 3, True, False),
    "p6": (6, 0, False, False),
    "p6m": (6, 6, True, True),
}

Points = NDArray[np.float64]


def pattern_of(group: str, seed: int = 0) -> Pattern:
    return random_pattern(group, np.random.default_rng([seed, PLANE_GROUPS[group].number]))


def random_points(n_points: int = 300) -> Points:
    return np.random.default_rng(7).uniform(-2, 2, size=(n_points, 2))


def moved(points: Points, operation: Operation) -> Points:
    matrix, shift = operation
    image: Points = points @ np.array(matrix).T + np.array(shift, dtype=float)
    return image


def with_cells(operation: Operation) -> list[Operation]:
    """An operation followed by translations over some whole cells, not reduced."""
    matrix, (s, t) = operation
    return [(matrix, (s + m, t + n)) for m, n in product(range(-2, 3), repeat=2)]


def is_reflection(operation: Operation) -> bool:
    ((a, b), (c, d)), _ = operation
    return a * d - b * c == -1


def glide_of(operation: Operation) -> tuple[Fraction, Fraction]:
    """How far a reflection shifts along its axis: half of what doing it twice does."""
    ((a, b), (c, d)), (s, t) = operation
    return ((a + 1) * s + b * t) / 2, (c * s + (d + 1) * t) / 2


def recognised(group: str) -> tuple[int, int, bool, bool | None]:
    """The row of Schattschneider's chart that a group's operations give."""
    found = operations(group)
    lattice = {shift for matrix, shift in found if matrix == ((1, 0), (0, 1))}
    mirrors = [
        each
        for operation in found
        if is_reflection(operation)
        for each in with_cells(operation)
        if not any(glide_of(each))
    ]
    has_glide = any(
        (x % 1, y % 1) not in lattice
        for operation in found
        if is_reflection(operation)
        for x, y in map(glide_of, with_cells(operation))
    )
    centres = rotation_centres(group)
    highest = max((turn for _, _, turn in centres), default=1)
    points = np.array([(x, y) for x, y, turn in centres if turn == highest])
    on_mirrors = None
    if centres:
        on_mirrors = all(
            any(np.allclose((moved(point, mirror) - point + 0.5) % 1, 0.5) for mirror in mirrors)
            for point in points
        )
    return highest, len({matrix for matrix, _ in mirrors}), has_glide, on_mirrors


def isometric(group: str, basis: Points) -> bool:
    """Whether all operations of a group keep lengths when the cell has these edges."""
    inverse = np.linalg.inv(basis)
    turns = [basis @ matrix @ inverse for matrix in coset_arrays(group)[0]]
    return all(np.allclose(turn @ turn.T, np.eye(2), atol=1e-9) for turn in turns)


class TestTable:
    def test_names(self) -> None:
        assert tuple(ORDERS) == WALLPAPER_GROUPS
        assert [PLANE_GROUPS[name].number for name in WALLPAPER_GROUPS] == list(range(1, 18))

    @pytest.mark.parametrize("group", WALLPAPER_GROUPS)
    def test_orders(self, group: str) -> None:
        found = operations(group)
        n_matrices = len({matrix for matrix, _ in found})
        assert (n_matrices, len(found) // n_matrices) == ORDERS[group]
        assert len(found) == len(set(found)) == PLANE_GROUPS[group].order

    @pytest.mark.parametrize("group", WALLPAPER_GROUPS)
    def test_closed_with_inverses(self, group: str) -> None:
        found = set(operations(group))
        identity = operations("p1")[0]
        for first in found:
            products = {compose(first, second) for second in found}
            assert products == found
            assert identity in products

    @pytest.mark.parametrize("group", WALLPAPER_GROUPS)
    def test_operations_keep_lengths(self, group: str) -> None:
        rng = np.random.default_rng(0)
        for _ in range(5):
            basis = random_basis(PLANE_GROUPS[group].lattice, rng)
            assert isometric(group, basis)
            assert np.linalg.det(basis) == pytest.approx(PLANE_GROUPS[group].points_per_lattice)

    @pytest.mark.parametrize("group", WALLPAPER_GROUPS)
    def test_recognised_by_schattschneiders_chart(self, group: str) -> None:
        assert recognised(group) == CHART[group]

    def test_rotation_centres(self) -> None:
        turns = {name: [turn for _, _, turn in rotation_centres(name)] for name in WALLPAPER_GROUPS}
        assert turns["pg"] == []
        assert turns["p2"] == [2, 2, 2, 2]
        assert turns["p3"] == [3, 3, 3]
        assert sorted(turns["p4"]) == [2, 2, 4, 4]
        assert sorted(turns["p6"]) == [2, 2, 2, 3, 3, 6]

    def test_triplets(self) -> None:
        half, three_quarters, none = Fraction(1, 2), Fraction(3, 4), Fraction(0)
        assert parse_triplet("-x+1/2,x-y") == (((-1, 0), (1, -1)), (half, none))
        assert parse_triplet("y-1/4,-x") == (((0, 1), (-1, 0)), (three_quarters, none))


class TestPattern:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("group", WALLPAPER_GROUPS)
    def test_invariant_under_its_group(self, group: str, seed: int) -> None:
        pattern, points = pattern_of(group, seed), random_points()
        expected = pattern.evaluate(points)
        cells = (parse_triplet("x,y")[0], (Fraction(3), Fraction(-2)))
        for operation in (*operations(group), cells):
            np.testing.assert_allclose(
                pattern.evaluate(moved(points, operation)), expected, atol=1e-9
            )

    @pytest.mark.parametrize("group", WALLPAPER_GROUPS)
    def test_not_invariant_under_the_groups_that_contain_it(self, group: str) -> None:
        points = random_points()
        for seed in range(3):
            pattern = pattern_of(group, seed)
            expected = pattern.evaluate(points)
            for larger in WALLPAPER_GROUPS:
                extra = set(operations(larger)) - set(operations(group))
                contains = set(operations(group)) < set(operations(larger))
                if not contains or not isometric(larger, pattern.basis):
                    continue
                for operation in extra:
                    change = np.abs(pattern.evaluate(moved(points, operation)) - expected).mean()
                    assert change > 0.02, (group, larger, operation)

    def test_the_groups_that_contain_it_are_the_known_ones(self) -> None:
        """The test above tries what it should: p4 against p4m and p4g, p3 against four groups."""
        contained = {
            group: {
                name for name in WALLPAPER_GROUPS if set(operations(group)) < set(operations(name))
            }
            for group in ("p4", "p3", "p3m1", "p31m", "p6", "cm", "pm", "pgg")
        }
        assert contained["p4"] == {"p4m", "p4g"}
        assert contained["p3"] == {"p3m1", "p31m", "p6", "p6m"}
        assert contained["p3m1"] == contained["p31m"] == contained["p6"] == {"p6m"}
        assert contained["cm"] == {"cmm"}
        assert contained["pm"] == {"cm", "pmm", "cmm", "p4m"}
        assert contained["pgg"] == {"cmm", "p4g"}

    @pytest.mark.parametrize("group", WALLPAPER_GROUPS)
    def test_far_from_every_other_symmetry_of_its_lattice(self, group: str) -> None:
        for seed in range(4):
            assert extra_symmetry(pattern_of(group, seed).rasterize_cell(48), group) < 0.8

    def test_extra_symmetry_is_found(self) -> None:
        for group, smaller in (("p4m", "p4"), ("p31m", "p3"), ("p6", "p3"), ("pgg", "pg")):
            cell = pattern_of(group).rasterize_cell(24)
            assert extra_symmetry(cell, smaller) == pytest.approx(1.0)
        assert extra_symmetry(np.ones((24, 24, 3)), "p1") == 1.0

    def test_lattice_finer_than_claimed_is_found(self) -> None:
        half = pattern_of("p2").rasterize_cell(24)[:, ::2]
        assert extra_symmetry(np.concatenate([half, half], axis=1), "p2") == pytest.approx(1.0)

    def test_aligned_raster(self) -> None:
        def raster(group: str) -> Points:
            return pattern_of(group).rasterize_cell(32, offset=0.5)

        def same(first: Points, second: Points) -> bool:
            return np.allclose(first, second, atol=1e-9)

        p4m, p4, pg, cm = map(raster, ("p4m", "p4", "pg", "cm"))
        assert same(np.rot90(p4m), p4m)
        assert same(np.fliplr(p4m), p4m)
        assert same(np.rot90(p4), p4)
        assert not same(np.fliplr(p4), p4)
        assert same(np.roll(pg[::-1], 16, axis=1), pg)
        assert not same(pg[::-1], pg)
        assert same(np.roll(cm, (16, 16), axis=(0, 1)), cm)
        assert same(cm[::-1], cm)

    def test_colours_are_in_range(self) -> None:
        colours = pattern_of("p31m").evaluate(random_points())
        assert colours.shape == (300, 3)
        assert colours.min() >= 0
        assert colours.max() <= 1


class TestPictures:
    def test_shapes_and_names(self) -> None:
        X, y = wallpaper_groups(n_per_class=2, image_size=16)
        assert X.shape == (34, 16, 16, 3)
        assert X.dtype == np.uint8
        assert y.tolist() == [name for name in WALLPAPER_GROUPS for _ in range(2)]
        assert X.std(axis=(1, 2)).max(axis=1).min() > 10

    def test_same_seed_same_pictures(self) -> None:
        first, _ = wallpaper_groups(1, 24, seed=3, groups=["p3", "pgg"])
        again, _ = wallpaper_groups(1, 24, seed=3, groups=["p3", "pgg"])
        other, _ = wallpaper_groups(1, 24, seed=4, groups=["p3", "pgg"])
        np.testing.assert_array_equal(first, again)
        assert (first != other).mean() > 0.5

    def test_a_picture_does_not_depend_on_the_others(self) -> None:
        many, y = wallpaper_groups(3, 24, groups=["p6m", "p1"])
        few, _ = wallpaper_groups(2, 24, groups=["p1"])
        np.testing.assert_array_equal(few, many[y == "p1"][:2])
        assert len(np.unique(many.reshape(len(many), -1), axis=0)) == len(many)

    def test_window_keeps_lengths_and_angles(self) -> None:
        basis = random_basis("oblique", np.random.default_rng(0))
        plane = (window_points(basis, 10, pixel=0.1, angle=0.7) @ basis.T).reshape(10, 10, 2)
        right, down = plane[0, 1] - plane[0, 0], plane[1, 0] - plane[0, 0]
        np.testing.assert_allclose([right @ right, down @ down], 0.01)
        assert right @ down == pytest.approx(0)
        np.testing.assert_allclose(plane[9, 9] - plane[0, 0], 9 * (right + down))


class TestBadInput:
    def test_unknown_group(self) -> None:
        with pytest.raises(InputError, match=r"'p31mm'.*did you mean 'p31m'.*known: cm, cmm"):
            wallpaper_groups(groups=["p1", "p31mm"])

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[("n_per_class", value) for value in (0, -3, 2.5, True)],
            *[("image_size", value) for value in (7, "64")],
            *[("seed", value) for value in (-1, None)],
        ],
    )
    def test_number_out_of_range(self, name: str, value: object) -> None:
        with pytest.raises(InputError, match=f"{name} must be a whole number .* got {value!r}"):
            wallpaper_groups(**{name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize("groups", ["p4m", 4, [], ["p1", "p1"], [["p1"]]])
    def test_groups_that_are_no_list_of_names(self, groups: object) -> None:
        with pytest.raises(InputError, match="group"):
            wallpaper_groups(groups=groups)  # type: ignore[arg-type]

    def test_all_problems_at_once(self) -> None:
        with pytest.raises(InputError, match="3 problems") as caught:
            wallpaper_groups(n_per_class=0, image_size=4, groups=["q5"])
        for part in ("n_per_class", "image_size", "'q5'"):
            assert part in str(caught.value)
