"""Makes reference statistics of a backbone from pictures of its source domain."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from autotl.analysis.reference import MIN_IMAGES, Reference
from autotl.backbones.speed import Speed
from autotl.backbones.zoo import Backbone, open_backbone
from autotl.data import Mirrors, read_dataset
from autotl.errors import InputError
from autotl.naming import without_secrets
from autotl.progress import Progress
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelViews, decode_table
from autotl.reuse.quota import DiskQuota
from autotl.runtime import free_disk_bytes, resolve_device

_DISK_SHARE = 0.5
"""Of the free disk, for decoded pictures while they are needed."""


def make_reference(
    backbone: str,
    dataset: Any,
    *,
    image: str | None = None,
    label: str | None = None,
    device: str = "auto",
    trust_paths: bool = False,
    progress: Progress | None = None,
) -> tuple[Backbone, Reference]:
    """Statistics of a backbone's features on the pictures that it was trained on.

    Args:
        backbone: one name, as for :func:`autotl.fit`.
        dataset: labelled pictures of the source domain, as for :func:`autotl.fit`; a random part of
            some thousands will do, all of whose parts are used.
        image: column of image paths, for tables.
        label: column of labels, for tables.
        device: where to compute.
        trust_paths: as for :func:`autotl.fit`.
        progress: receives what happens.

    Raises:
        InputError: if the data set can't be used or is too small, or features aren't finite.
        BackboneUnavailableError: if the backbone can't be had.
    """
    progress = progress or Progress()
    where = resolve_device(device)
    opened = open_backbone(backbone, device_type=where.type)
    progress.phase("read")
    mirrors = Mirrors(progress=progress)
    table = read_dataset(
        dataset, image=image, label=label, trust_paths=trust_paths, mirrors=mirrors
    )
    if len(table) < MIN_IMAGES:
        raise InputError(
            f"reference statistics need at least {MIN_IMAGES} pictures, got {len(table)}; give "
            "more of what the backbone was trained on"
        )
    with tempfile.TemporaryDirectory(prefix="autotl-") as folder:
        progress.phase("decode")
        quota = DiskQuota(Path(folder), int(_DISK_SHARE * free_disk_bytes(Path(folder))))
        table, pixels = decode_table(table, opened.image_size, quota, progress.step)
        if table.quarantine:
            first = table.quarantine[0]
            progress.note(
                f"{len(table.quarantine)} unreadable pictures are left out "
                f"(first: {first.name}: {first.reason})"
            )
        progress.phase("profile")
        unmeasured = (0.0,) * (opened.num_stages + 1)
        store = ActivationStore(
            PixelViews({opened.image_size: pixels}, np.arange(len(table))),
            {opened.name: Speed("fp32", False, unmeasured, unmeasured)},
            where,
        )
        features = store.features(opened, [opened.num_stages])
    labels = np.unique(table.labels, return_inverse=True)[1]
    is_place = isinstance(dataset, str | Path)
    name = Path(without_secrets(str(dataset))).name if is_place else "pictures"
    return opened, Reference.measure(features, labels, opened, name)
