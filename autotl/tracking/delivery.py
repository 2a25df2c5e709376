"""Sends what lies in a spool to its store, in order, and each thing once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl.tracking.base import Dataset
from autotl.tracking.spool import Line, Operation, Spool
from autotl.tracking.store import MlflowStore, RefusedError, StoreError

STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
"""MLflow's status of how a run ended; of any other, ``KILLED``."""
_SETTLE_S = 1.0
"""So long after a failure a request may still be on its way into the store."""
_MAX_TRIES = 3
"""Of uploading a file to a place that fails while the store itself answers."""
_BATCHED = {"metrics", "tags"}
_PARENT = "mlflow.parentRunId"


@dataclass
class _Logged:
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


class Delivery:
    """The way of one spool into its store. Use it while :meth:`Spool.sending` is held.

    A request of which nobody knows whether it was carried out is repeated: parameters, figures at
    a step and time, tags, files and ends are the same twice, and a run is looked for by its id
    before it is created. Should a request that was given up have been slow rather than lost, and
    so have made a second run, that one is deleted when the run ends.

    Args:
        spool: what is to be sent.
        store: where to.
        pause: waits some seconds.
    """

    def __init__(
        self, spool: Spool, store: MlflowStore, pause: Callable[[float], Any] = time.sleep
    ) -> None:
        self._spool = spool
        self._store = store
        self._pause = pause
        self._sent = spool.sent()
        self._began_ms = int(time.time() * 1000)
        self._has_failed = False
        self.n_refused = 0

    @property
    def is_done(self) -> bool:
        """Whether the store has everything that is in the spool now."""
        return self._sent.offset >= self._spool.n_bytes or not self._spool.lines(self._sent.offset)

    @property
    def is_uploading(self) -> bool:
        """Whether a file comes next: it may take its time."""
        found = self._spool.lines(self._sent.offset)[:1]
        return any(line.operation.get("do") == "file" for line in found)

    def step(self) -> int:
        """Send the next operations that go together; how many those were.

        Raises:
            StoreError: if the store can't be reached; the same operations come next then.
            OSError: if progress can't be noted.
        """
        lines = self._spool.lines(self._sent.offset)
        if not lines:
            return 0
        n = next(
            (i for i, line in enumerate(lines) if line.operation.get("do") not in _BATCHED),
            len(lines),
        )
        lines, before = lines[: max(1, n)], self._sent
        try:
            if n:
                self._log(lines)
            else:
                self._carry_out(lines[0].operation)
        except Exception:
            self._has_failed = True
            raise
        self._has_failed = False
        if self._sent is before:  # else everything is sent anew
            self._sent.offset = lines[-1].end
            self._spool.note(offset=self._sent.offset)
        return len(lines)

    def _log(self, lines: Sequence[Line]) -> None:
        """Log what belongs to the same run at once; if the store won't take that, one by one."""
        try:
            self._log_at_once([line.operation for line in lines])
        except (RefusedError, LookupError, TypeError, ValueError):
            for line in lines:
                try:
                    self._log_at_once([line.operation])
                except (RefusedError, LookupError, TypeError, ValueError) as error:
                    self._refuse(line.operation, error)

    def _log_at_once(self, operations: Sequence[Operation]) -> None:
        runs: dict[str, _Logged] = {}
        for operation in operations:
            logged = runs.setdefault(str(operation["run"]), _Logged())
            if operation["do"] == "metrics":
                at, step = int(operation["time_ms"]), int(operation["step"])
                for name, value in operation["values"].items():
                    logged.metrics.append((str(name), float(value), at, step))
            else:
                logged.tags |= _texts(operation["values"])
        for run, logged in runs.items():
            self._store.log(self._id_of(run), metrics=logged.metrics, tags=logged.tags)

    def _carry_out(self, operation: Operation) -> None:
        actions: dict[object, Callable[[Operation], None]] = {
            "fit": self._fit,
            "trial": self._trial,
            "params": self._params,
            "dataset": self._dataset,
            "file": self._file,
            "register": self._register,
            "end": self._end,
        }
        try:
            action = actions.get(operation.get("do"))
            if action is None:
                raise RefusedError("the line can't be read")
            action(operation)
        except (RefusedError, LookupError, TypeError, ValueError) as error:
            self._refuse(operation, error)

    def _fit(self, operation: Operation) -> None:
        known = self._sent.runs.get(str(operation["run"]))
        if operation.get("goes_on") and known is not None and not self._store.is_known(known):
            self._forget()  # the store was made anew: it gets everything again
        else:
            self._begin(operation)

    def _forget(self) -> None:
        self._spool.note(forgotten=True, offset=0)
        self._sent = self._spool.sent()

    def _trial(self, operation: Operation) -> None:
        self._begin(operation)
        params = _texts(operation["params"])
        self._store.log(self._sent.runs[str(operation["run"])], params=params)

    def _begin(self, operation: Operation) -> None:
        """Create a run unless it was; open it again if it is to go on."""
        run = str(operation["run"])
        known = self._sent.runs.get(run)
        if operation.get("goes_on"):
            found = [known] if known is not None else self._store.find(run)
            if found and self._store.is_known(found[0]) and self._store.reopen(found[0]):
                self._note_run(run, found[0], doubtful=False)
                return
            known = None
        if known is None:
            self._create(operation)

    def _create(self, operation: Operation) -> None:
        run, time_ms = str(operation["run"]), int(operation["time_ms"])
        tags = _texts(operation["tags"])
        if "parent" in operation:
            tags[_PARENT] = self._id_of(str(operation["parent"]))
        doubtful = self._has_failed or time_ms < self._began_ms
        found = self._store.find(run) if doubtful else []
        if not found and self._has_failed:
            self._pause(_SETTLE_S)
            found = self._store.find(run)
        if found:
            created = found[0]
        else:
            created = self._store.create(run, str(operation["name"]), time_ms, tags)
        self._note_run(run, created, doubtful)

    def _note_run(self, run: str, created: str, doubtful: bool) -> None:
        self._sent.runs[run] = created
        if doubtful:
            self._sent.doubtful.add(run)
        self._spool.note(run=run, **{"is": created}, doubtful=doubtful)

    def _params(self, operation: Operation) -> None:
        params = _texts(operation["values"])
        self._store.change_params(self._id_of(str(operation["run"])), params)

    def _dataset(self, operation: Operation) -> None:
        dataset = Dataset(
            name=str(operation["name"]),
            digest=str(operation["digest"]),
            source=str(operation["source"]),
            class_names=tuple(map(str, operation["class_names"])),
            counts={str(name): int(n) for name, n in dict(operation["counts"]).items()},
        )
        self._store.log_dataset(self._id_of(str(operation["run"])), dataset)

    def _file(self, operation: Operation) -> None:
        file = self._spool.base / Path(str(operation["file"]))
        run_id = self._id_of(str(operation["run"]))
        try:
            self._store.upload(run_id, file, str(operation["folder"]))
        except StoreError as error:
            if not self._store.is_known(run_id):
                raise
            # Only the place for files is at fault: the rest needn't wait for it.
            n_tries = int(operation.get("n_tries", 0)) + 1
            if n_tries >= _MAX_TRIES:
                raise RefusedError(str(error)) from error
            self._spool.append([{**operation, "n_tries": n_tries}])

    def _register(self, operation: Operation) -> None:
        run_id = self._id_of(str(operation["run"]))
        self._store.register(run_id, str(operation["folder"]), str(operation["name"]))

    def _end(self, operation: Operation) -> None:
        run = str(operation["run"])
        run_id = self._id_of(run)
        status = STATUS.get(str(operation["state"]), "KILLED")
        self._store.end(run_id, status, int(operation["time_ms"]))
        if run in self._sent.doubtful:
            for other in self._store.find(run):
                if other != run_id:
                    self._store.delete(other)

    def _id_of(self, run: str) -> str:
        """The store's id of a run.

        Raises:
            RefusedError: if the store has no such run.
        """
        if run not in self._sent.runs:
            found = self._store.find(run)
            if not found:
                raise RefusedError(f"the store has no run with the id {run!r}")
            self._note_run(run, found[0], doubtful=True)
        return self._sent.runs[run]

    def _refuse(self, operation: Operation, error: Exception) -> None:
        self.n_refused += 1
        self._spool.refuse(operation, f"{type(error).__name__}: {str(error)[:500]}")


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}
