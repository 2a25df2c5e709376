"""Duplicates: samples that show the same picture belong on one side of every split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autotl.errors import InputError


def duplicate_groups(
    digests: Sequence[bytes],
    groups: NDArray[np.int64] | None = None,
    links: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Groups of samples that are linked by equal pixels, by the user's groups or as given.

    Two samples are in one group if a chain of such links joins them.

    Args:
        digests: ``n_samples`` digests of the decoded pixels; an empty one (unreadable) equals no
            other.
        groups: ``(n_samples,) int64``, the user's groups, or None.
        links: ``(n_links, 2) int64``, further pairs, as of
            :func:`~autotl.data.near_duplicates.near_duplicates`, or None.

    Returns:
        ``(n_samples,) int64`` group of each sample, numbered from 0 in order of first appearance.

    Raises:
        InputError: if the two lengths differ.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(digests)
    if groups is not None and len(groups) != n:
        raise InputError(f"groups must be as many as digests ({n}), but got {len(groups)}")
    if n == 0:
        return np.empty(0, dtype=np.int64)
    first: dict[bytes, int] = {}
    same_pixels = np.array(
        [first.setdefault(digest, i) if digest else i for i, digest in enumerate(digests)],
        dtype=np.int64,
    )
    samples = np.arange(n, dtype=np.int64)
    linked = [same_pixels]
    if groups is not None:
        _, first_of_group, inverse = np.unique(groups, return_index=True, return_inverse=True)
        linked.append(first_of_group[inverse])
    starts, ends = np.tile(samples, len(linked)), np.concatenate(linked)
    if links is not None:
        starts, ends = np.append(starts, links[:, 0]), np.append(ends, links[:, 1])
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (starts, ends)), shape=(n, n))
    _, component = connected_components(graph.tocsr(), directed=False)
    return first_appearance(component)


def conflicting_labels(
    digests: Sequence[bytes],
    labels: NDArray[np.int64],
    links: NDArray[np.int64] | None = None,
) -> list[NDArray[np.int64]]:
    """Pictures that occur more than once, with different labels.

    Args:
        digests: ``n_samples`` digests of the decoded pixels; empty ones equal no other.
        labels: ``(n_samples,) int64``.
        links: ``(n_links, 2) int64``, pairs that show the same picture in other pixels, or None.

    Returns:
        For each such picture the samples that show it, ``(>= 2,) int64`` ascending; ordered by
        their first sample.
    """
    pictures = duplicate_groups(digests, links=links)
    if not len(pictures):
        return []
    order = np.argsort(pictures, kind="stable")
    starts = np.searchsorted(pictures[order], np.arange(pictures.max() + 1))
    shown = labels[order]
    differ = np.minimum.reduceat(shown, starts) != np.maximum.reduceat(shown, starts)
    samples = np.split(order, starts[1:])
    return [samples[picture] for picture in np.flatnonzero(differ)]


def first_appearance(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Values renumbered 0, 1, ... in the order in which they first appear, ``(n,) int64``."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
