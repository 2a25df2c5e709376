"""Fits and trials in MLflow: a parent run for the fit, a child run for each trial.

Runs are addressed by their ids through the client; MLflow's global active run is never touched. A
store that fails doesn't stop a training: the first failure is told once, and recording ends.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

EXPERIMENT = "autotl"
_DATABASES = {"sqlite", "postgresql", "mysql", "mssql"}
_MAX_PARAM_CHARS = 500
_STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
VIEW = "autotl"
"""A view of the experiment's runs that MLflow's UI opens with ``?viewStateShareKey=autotl``."""
_VIEW_STATE = {
    "orderByKey": "metrics.`validation_score`",
    "orderByAsc": False,
    "selectedColumns": [
        "metrics.`validation_score`",
        "metrics.`validation_accuracy`",
        "params.`strategy`",
        "params.`backbone`",
        "tags.`state`",
        "tags.`finalist`",
        "tags.`winner`",
    ],
}
_DESCRIPTION = """\
[All trials, best first](#/experiments/{experiment_id}/runs?viewStateShareKey={view}). A parent \
run for each fit, and in it a child run for each trial; `validation_score` is that of the metric \
that decides, greater is better. Trials with a `finalist` tag are the best of their strategy."""
_N_NAMED_PARAMS = 3
_VERDICTS = {"finalist", "winner"}
"""Tags of trials that are set when a fit has decided."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own patience with a server that is down is four minutes."""


class Recorder:
    """A connection to an MLflow store that is opened when first used.

    Args:
        tracking_uri: of the store.
        artifact_root: where a new experiment in a local store keeps its files; None: MLflow's
            choice.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self.failed = False
        self._client: MlflowClient | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_client": None}

    def __call__(self, action: Callable[[MlflowClient], Any]) -> Any:
        """The action's result; None, with one warning, once the store has failed."""
        if self.failed:
            return None
        try:
            if self._client is None:
                self._client = _connect(self.tracking_uri)
            return action(self._client)
        except Exception as error:  # whatever a store raises, training goes on
            self.failed = True
            warnings.warn(
                f"MLflow store {without_password(self.tracking_uri)!r} failed "
                f"({type(error).__name__}: {str(error)[:200]}); the fit goes on without recording",
                stacklevel=2,
            )
            return None


def _connect(tracking_uri: str) -> MlflowClient:
    import logging

    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", **_PATIENCE}.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.WARNING)
    _try_database(tracking_uri)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri)


def _try_database(tracking_uri: str) -> None:
    """Read a database's tables once: MLflow would try for two minutes before it gives up."""
    if tracking_uri.partition(":")[0].partition("+")[0] not in _DATABASES:
        return
    from sqlalchemy import create_engine, inspect, make_url

    url = make_url(tracking_uri)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    try:
        inspect(engine).get_table_names()
    finally:
        engine.dispose()


def without_password(uri: str) -> str:
    """A store's URI as it may be shown: what stands between ``//`` and ``@`` is a secret."""
    return re.sub(r"//[^/@]*@", "//", uri)


class MlflowTrialRun:
    """A child run."""

    def __init__(self, recorder: Recorder, run_id: str) -> None:
        self._recorder = recorder
        self._next_steps: dict[str, int] = {}
        self.run_id = run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Figures at a step."""
        self._next_steps |= dict.fromkeys(metrics, step + 1)
        _log_metrics(self._recorder, self.run_id, metrics, step)

    def end(self, state: str, metrics: Mapping[str, float], error: str | None = None) -> None:
        """The last figures, and the run's status and ``state`` tag.

        MLflow shows the value of the greatest step, so that the last figure of a curve comes one
        step after the others; it draws bars for what was only ever logged at step 0.
        """
        for step in sorted({self._next_steps.get(name, 0) for name in metrics}):
            last = {k: value for k, value in metrics.items() if self._next_steps.get(k, 0) == step}
            _log_metrics(self._recorder, self.run_id, last, step)
        tags: dict[str, object] = {"state": state}
        if error is not None:
            tags["error"] = error
        _set_tags(self._recorder, self.run_id, tags)
        _terminate(self._recorder, self.run_id, state)


class MlflowFitRun:
    """A parent run. Use :meth:`start`.

    Args:
        recorder: the store.
        experiment_id: of the experiment.
        run_id: of the parent run.
    """

    def __init__(self, recorder: Recorder, experiment_id: str, run_id: str) -> None:
        self._recorder = recorder
        self._experiment_id = experiment_id
        self.run_id = run_id

    @classmethod
    def start(cls, tracking_uri: str, name: str, artifact_root: Path | None = None) -> MlflowFitRun:
        """Open a parent run of that name in the experiment :data:`EXPERIMENT`."""
        recorder = Recorder(tracking_uri, artifact_root)
        experiment_id = recorder(lambda client: _experiment(client, artifact_root)) or ""
        run = recorder(
            lambda client: client.create_run(
                experiment_id,
                run_name=name,
                tags={"autotl.kind": "fit", "mlflow.note.content": f"autotl fit {name}"},
            )
        )
        return cls(recorder, experiment_id, "" if run is None else run.info.run_id)

    @classmethod
    def resume(
        cls, tracking_uri: str, name: str, artifact_root: Path | None, run_id: str
    ) -> MlflowFitRun:
        """Open a parent run again, or a new one if the store hasn't got it.

        Trials that were running when the fit was killed are closed; what was said of finalists is
        taken back, since it will be said anew.

        Args:
            tracking_uri: of the store.
            name: of the fit.
            artifact_root: as for :class:`Recorder`.
            run_id: of the parent run, empty if it is unknown.
        """
        recorder = Recorder(tracking_uri, artifact_root)
        experiment_id = recorder(lambda client: _reopened(client, run_id))
        if experiment_id is None:
            return cls.start(tracking_uri, name, artifact_root)
        return cls(recorder, experiment_id, run_id)

    def start_trial(
        self, number: int, strategy: str, params: Mapping[str, object]
    ) -> MlflowTrialRun:
        """Open a child run and log its parameters."""
        tags = {
            "mlflow.parentRunId": self.run_id,
            "autotl.kind": "trial",
            "strategy": strategy,
            "backbone": str(params.get("backbone", "")).partition("@")[0],
            "trial": str(number),
            "state": "running",
        }
        run = self._recorder(
            lambda client: client.create_run(
                self._experiment_id, run_name=run_name(number, strategy, params), tags=tags
            )
        )
        run_id = "" if run is None else run.info.run_id
        _log_params(self._recorder, run_id, {"strategy": strategy, **params})
        return MlflowTrialRun(self._recorder, run_id)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Parameters of the fit; of a resumed one, those that differ now become tags.

        MLflow lets no parameter change: ``time_budget_s`` stays that of the first part, and
        ``resumed.time_budget_s`` is that of the last.
        """
        run = self._recorder(lambda client: client.get_run(self.run_id))
        known = {} if run is None else dict(run.data.params)
        new = {name: value for name, value in params.items() if name not in known}
        if new:
            _log_params(self._recorder, self.run_id, new)
        changed = {
            f"resumed.{name}": value
            for name, value in params.items()
            if name in known and _as_param(value) != known[name]
        }
        if changed:
            self.set_tags(changed)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Figures of the fit."""
        _log_metrics(self._recorder, self.run_id, metrics, 0)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Words about the fit."""
        _set_tags(self._recorder, self.run_id, tags)

    def tag_trial(self, run_id: str, tags: Mapping[str, object]) -> None:
        """Words about a trial that has ended."""
        _set_tags(self._recorder, run_id, tags)

    def log_file(self, file: Path, folder: str = "", run_id: str | None = None) -> None:
        """Keep a copy of a file, or of all files of a folder, as an artifact."""
        target = run_id or self.run_id

        def upload(client: MlflowClient) -> None:
            if file.is_dir():
                client.log_artifacts(target, str(file), folder or None)
            else:
                client.log_artifact(target, str(file), folder or None)

        self._recorder(upload)

    def end(self, state: str) -> None:
        """Close the parent run."""
        _terminate(self._recorder, self.run_id, state)


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
    backbone = str(params.get("backbone", "")).partition("@")[0]
    return " ".join([f"{number:03d}", strategy, *settings[:_N_NAMED_PARAMS], backbone])


def _experiment(client: MlflowClient, artifact_root: Path | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = None if artifact_root is None else artifact_root.resolve().as_uri()
    experiment_id = str(client.create_experiment(EXPERIMENT, artifact_location=location))
    description = _DESCRIPTION.format(experiment_id=experiment_id, view=VIEW)
    client.set_experiment_tag(experiment_id, "mlflow.note.content", description)
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    client.set_experiment_tag(
        experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(_VIEW_STATE)
    )
    return experiment_id


def _reopened(client: MlflowClient, run_id: str) -> str | None:
    """Set a parent run and its children to where a fit goes on; None if there is no such run."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        parent = client.get_run(run_id)
        if parent.info.lifecycle_stage != "active":
            return None
    except MlflowException:
        return None
    experiment_id = str(parent.info.experiment_id)
    client.update_run(run_id, status="RUNNING")
    client.set_tag(run_id, "state", "running")
    for child in _children(client, experiment_id, run_id):
        for tag in _VERDICTS & child.data.tags.keys():
            client.delete_tag(child.info.run_id, tag)
        if child.info.status == "RUNNING":
            client.set_tag(child.info.run_id, "state", "interrupted")
            client.set_terminated(child.info.run_id, "KILLED")
    return experiment_id


def _children(client: MlflowClient, experiment_id: str, run_id: str) -> Iterator[Run]:
    query = f"tags.`mlflow.parentRunId` = '{run_id}'"
    page: str | None = None
    while True:
        found = client.search_runs([experiment_id], query, page_token=page)
        yield from found
        page = found.token
        if not page:
            return


def _as_param(value: object) -> str:
    return str(value)[:_MAX_PARAM_CHARS]


def _log_params(recorder: Recorder, run_id: str, params: Mapping[str, object]) -> None:
    from mlflow.entities import Param

    entries = [Param(name, _as_param(value)) for name, value in params.items()]
    recorder(lambda client: client.log_batch(run_id, params=entries))


def _log_metrics(recorder: Recorder, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    entries = [
        Metric(name, float(value), now_ms, step)
        for name, value in metrics.items()
        if math.isfinite(value)
    ]
    recorder(lambda client: client.log_batch(run_id, metrics=entries))


def _set_tags(recorder: Recorder, run_id: str, tags: Mapping[str, object]) -> None:
    from mlflow.entities import RunTag

    entries = [RunTag(name, str(value)[:5000]) for name, value in tags.items()]
    recorder(lambda client: client.log_batch(run_id, tags=entries))


def _terminate(recorder: Recorder, run_id: str, state: str) -> None:
    recorder(lambda client: client.set_terminated(run_id, _STATUS.get(state, "KILLED")))
