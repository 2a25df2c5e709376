"""A periodic pattern with exactly the symmetries of one plane group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotl.datasets.layers import Floats, Layer, Waves
from autotl.datasets.plane_groups import coset_arrays


@dataclass(frozen=True)
class Pattern:
    """A coloured pattern on the whole plane.

    Attributes:
        group: the plane group's name.
        basis: ``(2, 2)``, columns are the cell's edges; the primitive cell has area 1.
        ground: ``(3,)`` sRGB in 0..1 below all layers.
        layers: painted in this order.
        warp: displacements that turn with the pattern; the layers are looked up at ``x + warp(x)``.
    """

    group: str
    basis: Floats
    ground: Floats
    layers: tuple[Layer, ...]
    warp: Waves | None = None

    def evaluate(self, points: Floats, softness: float = 0.02) -> Floats:
        """The colours at some points.

        Invariant: ``evaluate(points) == evaluate(points @ W.T + w)`` to float precision for every
        operation ``x -> W x + w`` of the group.

        Args:
            points: ``(n_points, 2)`` lattice coordinates; any real values.
            softness: half width of the edges, a length; about a pixel's size avoids jaggies.

        Returns:
            ``(n_points, 3) float64`` sRGB in 0..1.
        """
        moved = np.ascontiguousarray(points.T, dtype=np.float64)
        if self.warp is not None:
            moved = moved + self.warp(moved)
        matrices, shifts = coset_arrays(self.group)
        orbit = matrices @ moved + shifts[:, :, None]
        painted = np.repeat(self.ground[:, None], moved.shape[1], axis=1)
        for layer in self.layers:
            painted = layer.paint(moved, orbit, painted, softness)
        return np.clip(painted.T, 0.0, 1.0)

    def rasterize_cell(self, size: int, softness: float = 0.02, offset: float = 0.0) -> Floats:
        """One cell on a grid aligned with the lattice.

        Args:
            size: points along each edge.
            softness: see :meth:`evaluate`.
            offset: of the grid, in steps; with 0 it holds the cell's corner, with 0.5 the corner is
                between pixels, so that flips and turns of the array are operations about it.

        Returns:
            ``(size, size, 3) float64``; entry ``[i, j]`` is at ``((i + offset) / size,
            (j + offset) / size)``.
        """
        steps = (np.arange(size) + offset) / size
        grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
        return self.evaluate(grid.reshape(-1, 2), softness).reshape(size, size, 3)
