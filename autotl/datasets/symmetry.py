"""How close a pattern comes to a symmetry that its group lacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.datasets.plane_groups import PLANE_GROUPS, coset_arrays, lattice_matrices

# A map that differs from a symmetry by a shift below this part of an edge is that symmetry, nearly.
_NEAR = 0.17


def extra_symmetry(cell: NDArray[np.float64], group: str) -> float:
    """The highest correlation between a pattern and its image under a map outside its group.

    The maps tried are all that keep the lattice: every matrix of the lattice system's full point
    group, with every translation of the grid (all at once, by a Fourier transform), except those
    within a small shift of one of the group's own operations.

    Args:
        cell: ``(size, size, channels)`` pattern over one cell, entry ``[i, j]`` at lattice
            coordinates ``(i / size, j / size)``.
        group: the plane group that the pattern has.

    Returns:
        Pearson correlation in -1..1; 1 means that the pattern has a symmetry too many. 1 also for a
        constant pattern.
    """
    size = cell.shape[0]
    centred = cell - cell.mean(axis=(0, 1))
    power = float((centred**2).sum())
    if power < 1e-12:
        return 1.0
    # correlation[W, w] = sum over x of cell(x + w) cell(W^-1 x): how well x -> W x + w maps it
    tried = lattice_matrices(PLANE_GROUPS[group].lattice)
    index = np.indices((size, size)).reshape(2, -1)
    inverses = np.rint(np.linalg.inv(tried)).astype(np.int64)
    rows, columns = np.moveaxis(inverses @ index % size, 1, 0)
    images = centred[rows, columns].reshape(len(tried), *centred.shape)
    spectra = np.fft.rfft2(images, axes=(1, 2)).conj() * np.fft.rfft2(centred, axes=(0, 1))
    correlation = np.fft.irfft2(spectra.sum(axis=3), s=(size, size)).reshape(len(tried), -1) / power

    for matrix, shift in zip(*coset_arrays(group), strict=True):
        same = (tried == matrix).all(axis=(1, 2))
        away = (index / size - shift[:, None] + 0.5) % 1 - 0.5
        correlation[np.ix_(same, (np.abs(away) < _NEAR).all(axis=0))] = -1.0
    return float(correlation.max())
