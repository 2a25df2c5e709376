"""From a data set to decoded pictures, as a fit asks for them; and what the data set is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autotl.backbones.zoo import Backbone
from autotl.config import FitConfig
from autotl.data import ImageTable, Limits, Mirrors, read_dataset
from autotl.datasets.built_in import BuiltIn
from autotl.errors import InputError
from autotl.naming import is_url, without_secrets
from autotl.progress import Progress
from autotl.reuse.pixels import PixelStore, decode_table
from autotl.reuse.quota import DiskQuota


def read(dataset: Any, test: Any, group: Any, config: FitConfig, mirrors: Mirrors) -> ImageTable:
    """All labelled pictures of a data set, undecoded, by the settings of a fit.

    Args:
        dataset: of any kind that :func:`autotl.fit` takes.
        test: a test set of its own, or None.
        group: what keeps samples together, as for :func:`autotl.fit`.
        config: the settings.
        mirrors: where copies of what is behind URLs are kept.

    Raises:
        InputError: what is wrong with the data set.
    """
    return read_dataset(
        dataset,
        image=config.image,
        label=config.label,
        group=group,
        test=test,
        trust_paths=config.trust_paths,
        max_unreadable=config.max_unreadable,
        mirrors=mirrors,
    )


def decode(
    table: ImageTable,
    backbones: Mapping[str, Backbone],
    quota: DiskQuota,
    config: FitConfig,
    progress: Progress,
) -> tuple[ImageTable, dict[int, PixelStore]]:
    """All pictures in the sizes of the backbones, and the samples that could be read."""
    stores: dict[int, PixelStore] = {}
    for size in sorted({backbone.image_size for backbone in backbones.values()}):
        readable, stores[size] = decode_table(table, size, quota, progress.step)
        if len(readable) < len(table):
            n_all = len(readable) + len(readable.quarantine)
            limits = Limits(config.trust_paths, config.max_unreadable)
            limits.refuse_many(readable.quarantine, n_all, "the data set")
            _refuse_lost_classes(table, readable)
            if len(stores) > 1:  # what only this size found unreadable leaves the others too
                return decode(readable, backbones, quota, config, progress)
            table = readable
    return table, stores


def _refuse_lost_classes(table: ImageTable, readable: ImageTable) -> None:
    left = np.bincount(readable.labels, minlength=table.n_classes)
    lost = [table.class_names[label] for label in np.flatnonzero(left < 2)]
    if lost:
        listed = "; ".join(f"{q.name}: {q.reason}" for q in readable.quarantine[:3])
        raise InputError(
            f"fewer than 2 readable pictures are left of the classes {lost} (unreadable: "
            f"{listed}); repair the pictures or leave the classes out"
        )


def name_of(dataset: Any) -> str:
    """What to call a data set: its folder or file by name, its own name, or ``pictures``."""
    if isinstance(dataset, BuiltIn):
        return dataset.name
    return Path(source_of(dataset)).stem or "pictures"


def source_of(dataset: Any) -> str:
    """Its folder or file, absolute, or its URL without secrets; empty if it came from memory."""
    if is_url(dataset):
        return without_secrets(dataset)
    return str(Path(dataset).expanduser().absolute()) if isinstance(dataset, str | Path) else ""
