"""Fits as the outcome table was measured: 64 pixels, and knowledge of the other data sets only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pandas as pd

from autotl.config import FitConfig
from autotl.progress import Progress
from studies.growth import estimate as growth
from studies.knowledge.estimate import estimate
from studies.outcomes import table
from studies.outcomes.tasks import open_study_backbone
from studies.similarity import figures


def others_than(dataset: str) -> pd.DataFrame:
    """Rows of the outcome table of all other data sets."""
    frame = table.read()
    return frame[frame["dataset"] != dataset].reset_index(drop=True)


@contextmanager
def as_measured(dataset: str, backbones: Sequence[str]) -> Iterator[list[Any]]:
    """Within, fits see these backbones at the table's resolution, and nothing of the data set.

    Args:
        dataset: that is fitted: its rows teach the search nothing.
        backbones: by the table's names.

    Yields:
        What was prepared by the fits within, in order.
    """
    knowledge = estimate(others_than(dataset), figures.load())
    rises = growth.table_of([row for row in growth.read() if row["dataset"] != dataset])
    opened = {name: open_study_backbone(name) for name in backbones}
    prepared: list[Any] = []

    from autotl import api, preparation

    prepare = preparation.prepare

    def watched(*args: Any, **options: Any) -> Any:
        prepared.append(prepare(*args, **options))
        return prepared[-1]

    def open_backbones(config: FitConfig, device_type: str, progress: Progress) -> Any:
        return dict(opened)

    with (
        patch.object(preparation, "open_backbones", open_backbones),
        patch.object(api, "prepare", watched),
        patch("autotl.search.allocation.shipped", lambda: knowledge),
        patch("autotl.recommend.decision.KNOWN", growth.estimate(rises)),
    ):
        yield prepared
