"""What tests of the record share: looking runs up in MLflow, and a store that fails at will."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from autotl.tracking.base import Dataset
from autotl.tracking.mlflow import MlflowFitRun
from autotl.tracking.store import EXPERIMENT, ID_TAG, MlflowStore, RefusedError, StoreError

CONFIG = {"backbone": "embedded", "lr": 0.002, "layers": "last_4", "mirror": False}


@contextmanager
def warned() -> Iterator[list[str]]:
    """The warnings of a block, whichever thread they come from; complete when it is left."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += [str(warning.message) for warning in caught]


def look_up(client: MlflowClient, fit: MlflowFitRun, own_id: str = "") -> Run:
    """The one run of a fit, or of one of its trials, once the store has everything."""
    assert fit.wait(60)
    (run,) = all_of(client, own_id or fit.run_id)
    return run


def all_of(client: MlflowClient, own_id: str) -> list[Run]:
    """All runs in the store that were created under an id."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], f"tags.`{ID_TAG}` = '{own_id}'"))


class FakeStore(MlflowStore):
    """A store in memory. ``before`` and ``after`` are called around each request and may raise.

    Attributes:
        runs: what it holds, by its ids.
        calls: names of the requests that got through.
    """

    def __init__(self) -> None:
        super().__init__("http://fake")
        self.runs: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None
        self.refuses: Callable[[str], bool] = lambda name: False
        self.n_created = 0
        self.lock = threading.Lock()

    def _request(self, name: str, run_id: str = "") -> None:
        self.before(name)
        if run_id and run_id not in self.runs:
            raise RefusedError(f"no run {run_id}")
        self.calls.append(name)

    def find(self, own_id: str) -> list[str]:
        self._request("find")
        return [k for k, run in self.runs.items() if run["id"] == own_id and not run["deleted"]]

    def create(self, own_id: str, name: str, time_ms: int, tags: Mapping[str, str]) -> str:
        self._request("create")
        self.n_created += 1
        run_id = f"store-{self.n_created}"
        self.runs[run_id] = {
            **{"id": own_id, "name": name, "time_ms": time_ms, "tags": dict(tags), "params": {}},
            **{"metrics": set(), "files": [], "status": "RUNNING", "deleted": False},
        }
        self.after("create")
        return run_id

    def delete(self, run_id: str) -> None:
        self._request("delete", run_id)
        self.runs[run_id]["deleted"] = True

    def is_known(self, run_id: str) -> bool:
        self._request("is_known")
        return run_id in self.runs

    def reopen(self, run_id: str) -> bool:
        self._request("reopen", run_id)
        self.runs[run_id]["status"] = "RUNNING"
        return not self.runs[run_id]["deleted"]

    def log(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        metrics: Sequence[tuple[str, float, int, int]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._request("log", run_id)
        for name in (*(params or {}), *(tags or {}), *(metric[0] for metric in metrics)):
            if self.refuses(name):
                raise RefusedError(f"not {name}")
        self.runs[run_id]["params"] |= params or {}
        self.runs[run_id]["tags"] |= tags or {}
        self.runs[run_id]["metrics"] |= set(metrics)
        self.after("log")

    def change_params(self, run_id: str, params: Mapping[str, str]) -> None:
        self.log(run_id, params)

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        self._request("log_dataset", run_id)
        self.runs[run_id]["dataset"] = dataset

    def upload(self, run_id: str, file: Path, folder: str) -> None:
        self._request("upload", run_id)
        self.runs[run_id]["files"].append((file, folder))

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        self._request("end", run_id)
        self.runs[run_id]["status"] = status
        self.after("end")

    def disconnect(self) -> None:
        pass


def fails(*names: str, times: int = 10**9) -> Callable[[str], None]:
    """Raises at the first so many requests of those names; of any if none is given."""
    left = [times]

    def act(name: str) -> None:
        if (not names or name in names) and left[0] > 0:
            left[0] -= 1
            raise StoreError("gone")

    return act
