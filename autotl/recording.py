"""A fit's record in MLflow: how it begins, with all that is known before the search."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotl.analysis.analysis import analyse
from autotl.config import FitConfig
from autotl.data import Split
from autotl.illustrating import illustrate
from autotl.naming import BUILT_IN, without_secrets
from autotl.preparation import Prepared
from autotl.recommend.analysis_page import render_analysis
from autotl.recommend.page import write_page
from autotl.resuming import EarlierPart, StudyIdentity, keep
from autotl.runtime import environment
from autotl.tracking.base import Dataset
from autotl.tracking.mlflow import MlflowFitRun
from autotl.workspace import Workspace


def start_run(
    place: Workspace,
    config: FitConfig,
    prepared: Prepared,
    begun: float,
    settings: Mapping[str, Any],
    earlier: EarlierPart | None = None,
) -> MlflowFitRun:
    """Open the fit's record, with everything that is known before the search.

    Args:
        place: of the fit.
        config: its settings.
        prepared: the data set.
        begun: when, in seconds of :func:`time.time`.
        settings: see :func:`settings_of`.
        earlier: of a study that goes on: its record is opened again.
    """
    run = MlflowFitRun.start(
        place.tracking_uri,
        place.study_name,
        place.folder,
        place.artifact_root,
        "" if earlier is None else earlier.run_id,
    )
    try:
        _record_preparation(run, place, config, prepared, begun, settings, earlier)
    except BaseException as error:
        run.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    return run


def settings_of(config: FitConfig, prepared: Prepared, *, test: Any, group: Any) -> dict[str, Any]:
    """What a fit was asked for, as a study file has it; ``in_memory`` names what no file can hold.

    Args:
        config: the settings; places with a password in them are left out.
        prepared: the data set.
        test: the test set as it was given.
        group: the groups as they were given.
    """
    data = prepared.source or (prepared.name if prepared.name in BUILT_IN else None)
    test_place = prepared.test_source or None
    in_memory = {"data": data is None, "test": test is not None and test_place is None}
    in_memory["group"] = group is not None and not isinstance(group, str)
    return {
        **config.model_dump(mode="json", exclude={"output_dir", "study_name"}),
        **{"data": data, "test": test_place},
        "tracking_uri": _without_secret(config.tracking_uri),
        "storage": _without_secret(config.storage),
        "in_memory": [name for name, is_in_memory in in_memory.items() if is_in_memory],
    }


def _without_secret(uri: str | None) -> str | None:
    return None if uri and without_secrets(uri) != uri else uri


def _record_preparation(
    run: MlflowFitRun,
    place: Workspace,
    config: FitConfig,
    prepared: Prepared,
    begun: float,
    settings: Mapping[str, Any],
    earlier: EarlierPart | None,
) -> None:
    profile = prepared.profile
    run.log_params(
        {
            **config.model_dump(
                mode="json", exclude={"output_dir", "tracking_uri", "storage", "space"}
            ),
            **{f"space.{name}": values for name, values in config.plain_space.items()},
            "dataset": prepared.name,
            "resolved_metric": prepared.task.metric.name,
            "resolved_device": str(prepared.task.device),
            "resolved_backbones": ", ".join(profile.backbones),
            "dataset_fingerprint": profile.fingerprint,
            "n_folds": profile.n_folds,
        }
    )
    run.log_dataset(
        Dataset(
            name=prepared.name,
            digest=profile.fingerprint,
            source=prepared.source,
            class_names=profile.class_names,
            counts={
                "n_samples": len(prepared.task.labels),
                "n_test": len(prepared.test.samples),
                "n_quarantined": len(prepared.quarantine),
            },
        )
    )
    run.set_tags({f"environment.{name}": value for name, value in environment().items()})
    log_json(run, place.folder / "profile.json", profile.as_json())
    if prepared.quarantine:
        listed = [{"picture": name, "reason": reason} for name, reason in prepared.quarantine]
        log_json(run, place.folder / "quarantine.json", listed)
    shown = illustrate(prepared, analyse(profile), thorough=False)
    run.log_file(write_page(place.analysis, render_analysis(shown)))
    task, table = prepared.task, prepared.test.table
    if earlier is not None:
        left_out = earlier.identity.left_out
    else:
        left_out = tuple(entry.name for entry in profile.ranking if not entry.kept)
    identity = StudyIdentity.of(
        prepared.name, table, task.labels, task.backbones, task.metric.name, config, left_out
    )
    split = Split(prepared.development, prepared.test.samples, task.folds)
    keep(*(place, identity, split, run.run_id, begun, earlier, task.groups), settings=settings)


def log_json(run: MlflowFitRun, file: Path, values: Any) -> None:
    """Write values to a file of the fit's folder, and keep a copy with its record."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(_plain(values), indent=1, allow_nan=False), encoding="utf-8")
    os.replace(part, file)
    run.log_file(file)


def _plain(value: Any) -> Any:
    """The value with numbers that JSON doesn't know, NaN and infinity, as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
