"""How long a worker's turn to choose the next trial takes, while so many other trials run.

One worker, sleeping trials, PostgreSQL; the others' trials are rows without a process, so that no
processor is shared. A turn is from the right to choose, once it is had, until it is given back.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import torch
from optuna.trial import TrialState, create_trial

from autotl.config import make_config
from autotl.preparation import Prepared, prepare
from autotl.progress import Progress
from autotl.runtime import NEVER
from autotl.search.storage import open_storage
from autotl.strategies import STRATEGIES
from autotl.tracking.base import NullFitRun
from studies.postgresql import Server, server, why_not
from studies.scale.pictures import write_digits
from studies.scale.simulated import Sleeping

_RUNNING = (0, 30, 120)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure turns.

    Args:
        quick: 10 turns instead of 40.

    Returns:
        Median milliseconds by number of other trials; ``skipped`` with a reason where there is no
        PostgreSQL.
    """
    if why_not():
        return {"skipped": why_not()}
    torch.set_num_threads(1)
    found: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="autotl-scale-") as name:
        folder = Path(name)
        config = make_config({"backbones": ["embedded"], "device": "cpu"})
        data = write_digits(folder / "digits", 300)
        prepared = prepare(str(data), None, None, config, folder / "cache", NEVER, Progress())
        with server() as database:
            for n in _RUNNING:
                turns = _turns(10 if quick else 40, n, prepared, database, folder / str(n))
                found[f"ms_with_{n}_running"] = round(1e3 * median(turns), 1)
    return found


def _turns(
    n_trials: int, n_running: int, prepared: Prepared, database: Server, folder: Path
) -> list[float]:
    """Seconds of each turn."""
    import autotl.search.study as study_module

    study_module.STRATEGIES = {  # type: ignore[assignment]
        name: Sleeping(own, 0.001) for name, own in STRATEGIES.items()
    }
    folder.mkdir()
    spec = study_module.StudySpec(
        name=f"turn-{n_running}",
        storage=database.url,
        folder=folder,
        strategies=tuple(STRATEGIES),
        seed=0,
        n_trials=4,
        deadline=NEVER,
    )
    study_module.create_study(spec, prepared.profile)
    arguments = (prepared.task, prepared.profile, NullFitRun(), Progress())
    study_module.run_worker(spec, *arguments, is_elsewhere=True)
    study = optuna.load_study(study_name=spec.name, storage=open_storage(spec.storage))
    like = study.get_trials()[-1]
    running = create_trial(
        state=TrialState.RUNNING,
        params=like.params,
        distributions=like.distributions,
        user_attrs=like.user_attrs,
        system_attrs=like.system_attrs,
        intermediate_values=like.intermediate_values,
    )
    study.add_trials([running] * n_running)
    taken: list[float] = []
    plain = study_module.turn

    @contextmanager
    def timed(*places: Any) -> Iterator[None]:
        with plain(*places):
            began = time.perf_counter()
            yield
            taken.append(time.perf_counter() - began)

    study_module.turn = timed
    try:
        more = replace(spec, n_trials=4 + n_running + n_trials)
        study_module.run_worker(more, *arguments, is_elsewhere=True)
    finally:
        study_module.turn = plain
    return taken
