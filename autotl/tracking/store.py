"""An MLflow store: what is done in it, so that doing it twice is the same as doing it once.

Runs are addressed by their ids through the client; MLflow's global active run is never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from autotl.naming import is_url
from autotl.tracking.artifacts import upload
from autotl.tracking.base import Dataset
from autotl.tracking.connection import connect
from autotl.tracking.limits import (
    MAX_PARAM_CHARS,
    MAX_TAG_CHARS,
    batches,
    fitting_name,
    plain_text,
    shortened,
)
from autotl.tracking.views import DESCRIPTION, VIEW, VIEW_STATE

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, Run, RunTag
    from mlflow.tracking import MlflowClient

EXPERIMENT = "autotl"
ID_TAG = "autotl.id"
"""Holds the id that a run was given before the store had it, and by which it is found again."""
VERDICTS = ("finalist", "winner")
"""Tags of trials that are set when a fit has decided."""
_LONG_VALUES = "long_values"
"""The folder of artifacts that hold in full what is too long for a parameter or a tag."""
_COLUMNS = [
    {"type": "binary", "name": "image", "required": True},
    {"type": "string", "name": "label", "required": True},
]
"""The schema of any data set here, in MLflow's words."""
_MAX_DATASET_NAME_CHARS, _MAX_DIGEST_CHARS, _MAX_PROFILE_CHARS = 500, 36, 1_000_000
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}

T = TypeVar("T")


class StoreError(Exception):
    """The store can't be reached, or fails; perhaps it will do later."""


class RefusedError(Exception):
    """The store answers, and will never take this."""


class MlflowStore:
    """A connection to an MLflow store that is opened when first used.

    Every method raises :class:`StoreError`, or :class:`RefusedError` for what asking again can't
    mend, and nothing else.

    Args:
        tracking_uri: of the store.
        artifact_root: where a new experiment in a local store keeps its files; None: MLflow's
            choice.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self._client: MlflowClient | None = None
        self._experiment_id = ""

    def disconnect(self) -> None:
        """Begin anew at the next call."""
        self._client, self._experiment_id = None, ""

    def find(self, own_id: str) -> list[str]:
        """The store's ids of the runs that were created under an id, oldest first."""

        def search(client: MlflowClient) -> list[str]:
            query = f"tags.`{ID_TAG}` = '{own_id}'"
            runs = client.search_runs(
                [self._experiment(client)], query, order_by=["attributes.start_time ASC"]
            )
            return [str(run.info.run_id) for run in runs]

        return self._do(search)

    def create(self, own_id: str, name: str, time_ms: int, tags: Mapping[str, str]) -> str:
        """Create a run that is found by its id; the store's own id of it."""
        entries = {key: _tag_value(value) for key, value in tags.items()} | {ID_TAG: own_id}
        run_name = shortened(plain_text(name), MAX_TAG_CHARS)
        return self._do(
            lambda client: str(
                client.create_run(
                    self._experiment(client), start_time=time_ms, tags=entries, run_name=run_name
                ).info.run_id
            )
        )

    def delete(self, run_id: str) -> None:
        """Delete a run."""
        self._do(lambda client: client.delete_run(run_id))

    def is_known(self, run_id: str) -> bool:
        """Whether the store has heard of a run, even if it has been deleted."""
        try:
            self._do(lambda client: client.get_run(run_id))
        except RefusedError:
            return False
        return True

    def reopen(self, run_id: str) -> bool:
        """Set a run and its children to where a fit or a trial goes on; False if it is deleted.

        Trials that were running when the fit was killed are closed; what was said of finalists is
        taken back, since it will be said anew.
        """

        def act(client: MlflowClient) -> bool:
            parent = client.get_run(run_id)
            if parent.info.lifecycle_stage != "active":
                return False
            client.update_run(run_id, status="RUNNING")
            client.set_tag(run_id, "state", "running")
            for child in _children(client, str(parent.info.experiment_id), run_id):
                for tag in set(VERDICTS) & child.data.tags.keys():
                    client.delete_tag(child.info.run_id, tag)
                if child.info.status == "RUNNING":
                    client.set_tag(child.info.run_id, "state", "interrupted")
                    client.set_terminated(child.info.run_id, "KILLED")
            return True

        return self._do(act)

    def log(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        metrics: Sequence[tuple[str, float, int, int]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log to a run, in as few requests as MLflow's limits allow.

        What is too long is cut off and kept in full as an artifact.

        Args:
            run_id: of the run.
            params: values by name.
            metrics: (name, value, time in ms, step).
            tags: values by name.
        """
        from mlflow.entities import Metric, Param, RunTag

        params, tags = params or {}, tags or {}
        entries = (
            [Metric(fitting_name(name), *rest) for name, *rest in metrics],
            [Param(fitting_name(name), _param_value(value)) for name, value in params.items()],
            [RunTag(fitting_name(name), _tag_value(value)) for name, value in tags.items()],
        )
        for some_metrics, some_params, some_tags in batches(*entries):
            self._do(partial(_log_batch, run_id, some_metrics, some_params, some_tags))
        long = [item for item in params.items() if len(item[1]) > MAX_PARAM_CHARS]
        long += [item for item in tags.items() if len(item[1]) > MAX_TAG_CHARS]
        for name, value in long:
            file = f"{_LONG_VALUES}/{fitting_name(name).replace('/', '_')}.json"
            text = json.dumps({"name": name, "value": value}, indent=1)
            self._do(partial(_log_text, run_id, text, file))

    def change_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters of a run that may have them; those that differ now become tags.

        MLflow lets no parameter change: ``time_budget_s`` stays that of the first part, and
        ``resumed.time_budget_s`` is that of the last.
        """
        known = self._do(lambda client: dict(client.get_run(run_id).data.params))
        names = {name: fitting_name(name) for name in params}
        new = {name: value for name, value in params.items() if names[name] not in known}
        changed = {
            f"resumed.{name}": value
            for name, value in params.items()
            if name not in new and _param_value(value) != known[names[name]]
        }
        self.log(run_id, params=new, tags=changed)

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Log a data set as an input of a run, as MLflow's UI shows it beside the run."""
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        kind, source = _source_of(dataset.source)
        classes = list(dataset.class_names)
        profile = json.dumps({**dataset.counts, "class_names": classes}, indent=1)
        if len(profile) > _MAX_PROFILE_CHARS:
            profile = json.dumps(dataset.counts)
        entity = Entity(
            name=shortened(plain_text(dataset.name), _MAX_DATASET_NAME_CHARS),
            digest=dataset.digest[:_MAX_DIGEST_CHARS],
            source_type=kind,
            source=json.dumps(source),
            schema=json.dumps({"mlflow_colspec": _COLUMNS}),
            profile=profile,
        )
        given = DatasetInput(entity, [InputTag("mlflow.data.context", "training")])
        self._do(lambda client: client.log_inputs(run_id, [given]))

    def upload(self, run_id: str, file: Path, folder: str) -> None:
        """Keep a copy of a file, or of all files of a folder, as an artifact."""
        if not file.exists():
            raise RefusedError(f"the file is gone: {file}")
        self._do(lambda client: upload(client, run_id, file, folder))

    def register(self, run_id: str, folder: str, name: str) -> None:
        """Make a folder of a run's artifacts a version of a registered model, unless it is one."""
        from mlflow.exceptions import MlflowException

        def act(client: MlflowClient) -> None:
            with suppress(MlflowException):  # it exists, or the next line fails, too
                client.create_registered_model(name)
            source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
            known = client.search_model_versions(f"run_id = '{run_id}'")
            if not any(version.name == name and version.source == source for version in known):
                client.create_model_version(name, source, run_id)

        self._do(act)

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Close a run."""
        self._do(lambda client: client.set_terminated(run_id, status, end_time=time_ms))

    def _do(self, action: Callable[[MlflowClient], T]) -> T:
        try:
            if self._client is None:
                self._client = connect(self.tracking_uri)
            return action(self._client)
        except Exception as error:  # a store may raise anything
            is_refused = getattr(error, "error_code", "") in _REFUSALS
            if is_refused or isinstance(error, FileNotFoundError | PermissionError):
                raise RefusedError(f"{type(error).__name__}: {error}") from error
            root = _root(error)
            raise StoreError(f"{type(root).__name__}: {root}") from error

    def _experiment(self, client: MlflowClient) -> str:
        if not self._experiment_id:
            self._experiment_id = _experiment(client, self.artifact_root)
        return self._experiment_id


def _root(error: BaseException) -> BaseException:
    """What an error comes from in the end; MLflow's own words are long and don't say."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def _log_batch(
    run_id: str,
    metrics: list[Metric],
    params: list[Param],
    tags: list[RunTag],
    client: MlflowClient,
) -> None:
    client.log_batch(run_id, metrics=metrics, params=params, tags=tags)


def _log_text(run_id: str, text: str, file: str, client: MlflowClient) -> None:
    client.log_text(run_id, text, file)


def _experiment(client: MlflowClient, artifact_root: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        location = None if artifact_root is None else artifact_root.resolve().as_uri()
        with suppress(MlflowException):  # another process was faster, or the next line fails, too
            client.create_experiment(EXPERIMENT, artifact_location=location)
        found = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = str(found.experiment_id)
    view = f"mlflow.sharedViewState.{VIEW}"
    if view not in found.tags:
        description = DESCRIPTION.format(experiment_id=experiment_id, view=VIEW)
        client.set_experiment_tag(experiment_id, "mlflow.note.content", description)
        kind = "custom_model_development"
        client.set_experiment_tag(experiment_id, "mlflow.experimentKind", kind)
        client.set_experiment_tag(experiment_id, view, json.dumps(VIEW_STATE))
    return experiment_id


def _source_of(place: str) -> tuple[str, dict[str, object]]:
    """What MLflow calls the kind of a data set's source, and the source as that kind has it."""
    if not place:
        return "code", {"tags": {}}
    scheme = place.partition("://")[0] if is_url(place) else "local"
    if scheme in ("http", "https"):
        return "http", {"url": place}
    return scheme, {"uri": place}


def _children(client: MlflowClient, experiment_id: str, run_id: str) -> Iterator[Run]:
    query = f"tags.`mlflow.parentRunId` = '{run_id}'"
    page: str | None = None
    while True:
        found = client.search_runs([experiment_id], query, page_token=page)
        yield from found
        page = found.token
        if not page:
            return


def _param_value(value: str) -> str:
    return shortened(plain_text(value), MAX_PARAM_CHARS)


def _tag_value(value: str) -> str:
    return shortened(plain_text(value), MAX_TAG_CHARS)
