"""Analysis alone: measures a data set, trains nothing and loads nothing that only a fit needs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from autotl.analysis.analysis import Analysis, analyse
from autotl.config import MAX_UNREADABLE, FitConfig, make_config
from autotl.preparation import prepare
from autotl.progress import Progress
from autotl.recommend.page import page_place, write_page
from autotl.runtime import NEVER


def analyze(
    dataset: Any,
    *,
    label: str | None = None,
    image: str | None = None,
    group: Any = None,
    backbones: str | list[str] | tuple[str, ...] = "auto",
    device: str = "auto",
    seed: int = 0,
    html: str | Path | None = None,
    trust_paths: bool = False,
    max_unreadable: float = MAX_UNREADABLE,
    progress: Progress | None = None,
) -> Analysis:
    """Profile a data set and say what is the best bet, and which rules apply; nothing is trained.

    Args:
        dataset: as for :func:`~autotl.api.fit`; what is behind a URL is copied to the user's cache
            (``~/.cache/autotl/mirrors``).
        label: as for :func:`~autotl.api.fit`.
        image: as for :func:`~autotl.api.fit`.
        group: as for :func:`~autotl.api.fit`.
        backbones: as for :func:`~autotl.api.fit`.
        device: as for :func:`~autotl.api.fit`.
        seed: of the split and of sampling.
        html: a file for the analysis as one self-contained page, with pictures, charts and a map of
            the features; its folder must exist. None: no page is written.
        trust_paths: as for :func:`~autotl.api.fit`.
        max_unreadable: as for :func:`~autotl.api.fit`.
        progress: receives what happens.

    Raises:
        InputError: if the data set or a setting can't be used, or the page can't be written there.
        BackboneUnavailableError: if a backbone that was asked for can't be had.
    """
    page = None if html is None else page_place(html)
    values: dict[str, Any] = {
        "label": label,
        "image": image,
        "backbones": backbones,
        "device": device,
    }
    values |= {"trust_paths": trust_paths, "max_unreadable": max_unreadable}
    config: FitConfig = make_config({**values, "seed": seed, "time_budget_s": None})
    with tempfile.TemporaryDirectory(prefix="autotl-") as folder:
        prepared = prepare(
            dataset,
            None,
            group,
            config,
            Path(folder),
            NEVER,
            progress or Progress(),
            only_measured=True,
        )
        analysis = analyse(prepared.profile)
        if page is not None:
            from autotl.illustrating import illustrate
            from autotl.recommend.analysis_page import render_analysis

            write_page(page, render_analysis(illustrate(prepared, analysis, thorough=True)))
    return analysis
