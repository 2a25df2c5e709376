"""Fits and trials in MLflow: a parent run for the fit, a child run for each trial.

Nothing here waits for the store: what is to be recorded is appended to a spool on disk, in the
fit's folder, and a thread of the process that runs the fit sends it.
"""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from autotl.naming import BackboneName
from autotl.tracking.base import Dataset
from autotl.tracking.connection import load
from autotl.tracking.limits import finite
from autotl.tracking.sender import Sender
from autotl.tracking.spool import Operation, Spool, spools_below
from autotl.tracking.store import MlflowStore
from autotl.tracking.usage import UsageMonitor

_N_NAMED_PARAMS = 3
_END_WAIT_S = 5.0


class Recorder:
    """Appends to a spool, and wakes whoever sends it; a disk that fails stops no training.

    Args:
        spool: where to.
        sender: of this process; None where another one sends.
    """

    def __init__(self, spool: Spool, sender: Sender | None = None) -> None:
        self.spool = spool
        self.sender = sender
        self._has_failed = False

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"sender": None}

    def __call__(self, operations: Sequence[Operation], durable: bool = False) -> None:
        """Append, see :meth:`Spool.append`; one warning if that fails."""
        try:
            self.spool.append(operations, durable)
        except OSError as error:
            self.warn(error)
        if self.sender is not None:
            self.sender.wake()

    def warn(self, error: OSError) -> None:
        """Tell once that the disk fails."""
        if not self._has_failed:
            self._has_failed = True
            warnings.warn(
                f"what MLflow is to record can't be written to {str(self.spool.folder)!r} "
                f"({error}); the fit goes on without recording",
                stacklevel=1,
            )


class MlflowTrialRun:
    """A child run.

    Args:
        record: takes what it is told.
        run_id: its id in the spool, and its ``autotl.id`` tag in MLflow.
    """

    def __init__(self, record: Recorder, run_id: str) -> None:
        self._record = record
        self._next_steps: dict[str, int] = {}
        self.run_id = run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Figures at a step."""
        self._next_steps |= dict.fromkeys(metrics, step + 1)
        self._record(_figures(self.run_id, metrics, step))

    def end(self, state: str, metrics: Mapping[str, float], error: str | None = None) -> None:
        """The last figures, and the run's status and ``state`` tag.

        MLflow shows the value of the greatest step, so that the last figure of a curve comes one
        step after the others; it draws bars for what was only ever logged at step 0.
        """
        operations: list[Operation] = []
        for step in sorted({self._next_steps.get(name, 0) for name in metrics}):
            last = {k: value for k, value in metrics.items() if self._next_steps.get(k, 0) == step}
            operations += _figures(self.run_id, last, step)
        tags = {"state": state} | ({} if error is None else {"error": error})
        operations += [_tags(self.run_id, tags), _end(self.run_id, state)]
        self._record(operations, durable=True)


class MlflowFitRun:
    """A parent run. Use :meth:`start`.

    Args:
        record: takes what it is told.
        run_id: its id in the spool, and its ``autotl.id`` tag in MLflow.
    """

    def __init__(self, record: Recorder, run_id: str) -> None:
        self._record = record
        self._has_ended = False
        self._usage: UsageMonitor | None = None
        self.run_id = run_id

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_usage": None}

    @classmethod
    def start(
        cls,
        tracking_uri: str,
        name: str,
        fit_folder: Path,
        artifact_root: Path | None = None,
        run_id: str = "",
    ) -> MlflowFitRun:
        """Open a parent run of that name, or open it again.

        A run goes on if the fit's folder, or the store, knows it; or if the fit was killed before
        anybody could have kept its id. Trials that were running then are closed, and what was said
        of finalists is taken back, since it will be said anew.

        Args:
            tracking_uri: of the store.
            name: of the fit.
            fit_folder: the fit's own; what is to be recorded is kept there first.
            artifact_root: where a new experiment in a local store keeps its files; None: MLflow's
                choice.
            run_id: of an earlier part of the fit; empty if there was none.
        """
        load(tracking_uri)
        spool = Spool.of_fit(fit_folder.absolute(), tracking_uri, artifact_root)
        own_id = run_id or spool.first_run()
        goes_on = bool(own_id)
        own_id = own_id or uuid.uuid4().hex
        record = Recorder(spool)
        tags = {"autotl.kind": "fit", "mlflow.note.content": f"autotl fit {name}"}
        begun = {"do": "fit", "run": own_id, "name": name, "tags": tags, "time_ms": _now_ms()}
        try:
            spool.make()
        except OSError as error:
            record.warn(error)
            return cls(record, own_id)
        record([{**begun, "goes_on": goes_on}], durable=True)
        left_over = [
            folder
            for folder in spools_below(spool.base.parent)
            if folder.name == spool.folder.name and folder != spool.folder
        ]
        record.sender = Sender(spool, MlflowStore(tracking_uri, artifact_root), left_over)
        record.sender.start()
        run = cls(record, own_id)
        run._usage = UsageMonitor(
            lambda figures, step: record(_figures(own_id, figures, step)), fit_folder
        )
        run._usage.start()
        return run

    def start_trial(
        self, number: int, strategy: str, params: Mapping[str, object], run_id: str = ""
    ) -> MlflowTrialRun:
        """Open a child run and log its parameters; or open that of a trial that goes on again."""
        goes_on, run_id = bool(run_id), run_id or uuid.uuid4().hex
        tags = {
            "autotl.kind": "trial",
            "strategy": strategy,
            "backbone": BackboneName.of(str(params.get("backbone", ""))).without_file,
            "trial": str(number),
            "state": "running",
        }
        begun: Operation = {
            **{"do": "trial", "run": run_id, "parent": self.run_id, "goes_on": goes_on},
            "time_ms": _now_ms(),
            **{"name": run_name(number, strategy, params), "tags": tags},
            "params": {
                name: str(value) for name, value in {"strategy": strategy, **params}.items()
            },
        }
        self._record([begun])
        return MlflowTrialRun(self._record, run_id)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Parameters of the fit; of a resumed one, those that differ now become tags."""
        values = {name: str(value) for name, value in params.items()}
        self._record([{"do": "params", "run": self.run_id, "values": values}])

    def log_dataset(self, dataset: Dataset) -> None:
        """What the fit learns from, as an input of the run."""
        self._record([{"do": "dataset", "run": self.run_id, **asdict(dataset)}])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Figures of the fit."""
        self._record(_figures(self.run_id, metrics, 0))

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Words about the fit."""
        self._record([_tags(self.run_id, tags)])

    def tag_trial(self, run_id: str, tags: Mapping[str, object]) -> None:
        """Words about a trial that has ended."""
        self._record([_tags(run_id, tags)])

    def log_file(self, file: Path, folder: str = "", run_id: str | None = None) -> None:
        """Keep a copy of a file, or of all files of a folder, as an artifact."""
        place = file.absolute()
        base = self._record.spool.base
        noted = place.relative_to(base) if place.is_relative_to(base) else place
        to = {"run": run_id or self.run_id, "file": str(noted), "folder": folder}
        self._record([{"do": "file", **to}])

    def register_model(self, name: str, folder: str) -> None:
        """Make the model in a folder of the artifacts a new version of a registered model."""
        self._record([{"do": "register", "run": self.run_id, "name": name, "folder": folder}])

    def wait(self, limit_s: float) -> bool:
        """Wait until the store has everything, as long as it answers.

        Args:
            limit_s: at most so long.

        Returns:
            Whether it has; False in a process that doesn't send.
        """
        return self._record.sender is not None and self._record.sender.wait(limit_s)

    def end(self, state: str, wait_s: float = _END_WAIT_S) -> None:
        """Close the parent run, and give the store a moment to take what it hasn't got; once.

        Args:
            state: how the fit ended.
            wait_s: at most so long; less if the store doesn't answer.
        """
        if self._has_ended:
            return
        self._has_ended = True
        if self._usage is not None:
            self._usage.stop()
        self._record([_end(self.run_id, state)], durable=True)
        if self._record.sender is not None:
            self._record.sender.close(wait_s)


def run_name(number: int, strategy: str, params: Mapping[str, object]) -> str:
    """A trial's name in a list: its strategy, its foremost settings and its backbone.

    Args:
        number: of the trial.
        strategy: its name.
        params: the settings, the foremost first; a weights file is left out of ``backbone``.
    """
    settings = [
        f"{name}={value:.2g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
        if name != "backbone"
    ]
    backbone = BackboneName.of(str(params.get("backbone", ""))).without_file
    return " ".join([f"{number:03d}", strategy, *settings[:_N_NAMED_PARAMS], backbone])


def _figures(run: str, metrics: Mapping[str, float], step: int) -> list[Operation]:
    """What logs figures at a step; those that are no numbers, which MLflow can't draw, as tags."""
    numbers = {name: finite(value) for name, value in metrics.items()}
    values = {name: number for name, number in numbers.items() if number is not None}
    common = {"do": "metrics", "run": run, "time_ms": _now_ms(), "step": step}
    found: list[Operation] = [{**common, "values": values}] if values else []
    if len(values) < len(numbers):
        odd = {
            f"not_finite.{name}": f"{_told(metrics[name])} at step {step}"
            for name, number in numbers.items()
            if number is None
        }
        found.append(_tags(run, odd))
    return found


def _told(value: float) -> str:
    if value != value:
        return "NaN"
    return "infinite" if value > 0 else "negative infinite"


def _tags(run: str, tags: Mapping[str, object]) -> Operation:
    values = {name: str(value) for name, value in tags.items()}
    return {"do": "tags", "run": run, "values": values}


def _end(run: str, state: str) -> Operation:
    return {"do": "end", "run": run, "state": state, "time_ms": _now_ms()}


def _now_ms() -> int:
    return int(time.time() * 1000)
