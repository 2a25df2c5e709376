"""A study's trials as a table in a file, and all of a study as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.cli.history import History, PastStudy
from autotl.cli.terminal import plain
from autotl.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

_KINDS = (".csv", ".parquet", ".json")


def export_study(output: Path, name: str, file: Path, storage: str | None = None) -> None:
    """Write a study to a file; its ending says how. The file is whole or not there.

    Args:
        output: folder of the study.
        name: of the study.
        file: ``.csv`` or ``.parquet`` for a row per trial, ``.json`` for all of it.
        storage: where its trials are, if not in the folder.

    Raises:
        InputError: if there is no such study, or the file is of another kind or can't be written.
    """
    if file.suffix not in _KINDS:
        raise unknown("ending of a file", file.suffix, _KINDS)
    study = History(output, storage).study(name)
    place = file.expanduser()
    part = place.with_name(f"{place.name}.part")
    try:
        if file.suffix == ".json":
            part.write_text(json.dumps(plain(as_json(study)), indent=1), encoding="utf-8")
        elif file.suffix == ".csv":
            trials_frame(study).to_csv(part, index=False)
        else:
            trials_frame(study).to_parquet(part, index=False)
        os.replace(part, place)
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def as_json(study: PastStudy) -> dict[str, Any]:
    """All of a study: what it is about, its settings, what was decided, its trials."""
    kept = study.kept()
    return {
        "study": study.name,
        "identity": kept.get("identity", {}),
        "settings": kept.get("settings", {}),
        "decision": study.decided(),
        "trials": trials(study),
    }


def trials(study: PastStudy) -> list[dict[str, Any]]:
    """Trials as Optuna's storage has them, with the figures of those whose record is kept.

    After them come the finalists' repeats with other seeds, by the number of the trial that they
    repeat.
    """
    folder = study.folder / "trials"
    kept = {values["number"]: values for values in _records(folder)}
    own = [
        {
            **{"number": trial.number, "repeat": 0, "strategy": trial.strategy},
            **{"recipe": kept.get(trial.number, {}).get("recipe", ""), "state": trial.state},
            **{"score": trial.score, "seconds": trial.seconds, "error": trial.error},
            **{"config": dict(trial.config), "metrics": _metrics(kept.get(trial.number, {}))},
        }
        for trial in study.trials
    ]
    repeats = [
        {
            **{name: values[name] for name in ("number", "repeat", "strategy", "recipe", "state")},
            **{"score": (values["result"] or {}).get("score"), "seconds": values["seconds"]},
            **{"error": values["error"], "config": values["config"], "metrics": _metrics(values)},
        }
        for values in _records(folder / "repeats")
    ]
    return own + repeats


def trials_frame(study: PastStudy) -> pd.DataFrame:
    """A row per trial; settings are in columns ``config.NAME``, figures in ``metrics.NAME``."""
    import pandas as pd

    frame = pd.json_normalize(trials(study))
    for name in frame.columns:
        values = frame[name].dropna()
        if len({type(value) for value in values}) > 1:  # Parquet's columns are of one type
            frame[name] = values.map(str)
    return frame


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]


def _metrics(record: dict[str, Any]) -> dict[str, float]:
    return dict((record.get("result") or {}).get("metrics", {}))
