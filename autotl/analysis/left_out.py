"""Which samples a linear classifier gets right that was fitted without them: exact, in one go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.analysis.moments import Features, Labels, Matrix, check_features, standardised

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""To choose from, in units of the mean eigenvalue of the samples' Gram matrix."""


def left_out_right(
    features: Features, labels: Labels, groups: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Whether each sample's class is told by a fit to the samples of all other groups.

    Ridge regression on class indicators (regularised least squares; Rifkin et al. 2003) with an
    intercept, on standardised features, solved among samples: what a fit without some samples would
    say of them follows from the one fit to all (Hastie et al. 2009, section 7.10; the block form
    for groups). The penalty with the smallest squared error of these predictions is taken. Takes
    about ``n^3`` multiplications, whatever the number of features and classes.

    Args:
        features: ``(n, d)``.
        labels: ``(n,) int64``, any numbers.
        groups: ``(n,) int64``, samples not to be predicted by each other; None, or a single one for
            all: each sample is left out by itself.

    Returns:
        ``(n,) bool``. A class of which all samples are of one group is never told.

    Raises:
        InputError: features that are NaN or infinite.
    """
    check_features(features)
    n = len(features)
    x = standardised(features)
    gram = (x @ x.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0) / max(gram.trace() / n, 1e-12)
    true = np.unique(labels, return_inverse=True)[1]
    targets = np.eye(true.max() + 1)[true]
    centred = targets - targets.mean(axis=0)
    least, right = np.inf, np.zeros(n, dtype=bool)
    for penalty in PENALTIES:
        kept = values / (values + penalty)
        hat = (vectors * kept) @ vectors.T
        residual = _left_out_residual(hat + 1.0 / n, centred - hat @ centred, groups)
        error = float(np.square(residual).sum())
        if error < least:
            least, right = error, (targets - residual).argmax(axis=1) == true
    return right


def _left_out_residual(hat: Matrix, residual: Matrix, groups: NDArray[np.int64] | None) -> Matrix:
    """Errors of a fit without each group, from the errors of the fit to all."""
    found = residual / (1.0 - hat.diagonal())[:, None]
    if groups is None:
        return found
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        return found
    for group in np.flatnonzero(sizes > 1):
        members = np.flatnonzero(group_of == group)
        block = np.eye(len(members)) - hat[np.ix_(members, members)]
        found[members] = np.linalg.solve(block, residual[members])
    return found
