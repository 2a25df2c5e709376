"""What is to be recorded, on disk first: it outlives the process and a store that is away."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autotl.errors import InputError
from autotl.naming import without_secrets

SPOOL = "mlflow"
"""The folder of a fit's spools in the fit's own folder, one for each store that it was sent to."""
_STORE, _RECORDS, _SENT, _REFUSED, _LOCK = (
    "store.json",
    "records.jsonl",
    "sent.jsonl",
    "refused.jsonl",
    ".sending.lock",
)
_CHUNK_BYTES = 1 << 18

Operation = Mapping[str, Any]


class BeingSentError(InputError):
    """Another process or thread is sending these records."""


@dataclass(frozen=True)
class Line:
    """An operation to be sent.

    Attributes:
        operation: as it was appended; empty if the line can't be read.
        end: bytes of the file up to its end.
    """

    operation: Operation
    end: int


@dataclass
class Sent:
    """How far a spool has been sent.

    Attributes:
        offset: bytes of the records that the store has.
        runs: the store's ids of runs, by the spool's own.
        doubtful: runs, by the spool's ids, that may have been created twice.
    """

    offset: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)


class Spool:
    """A folder with what one fit tells one store, and how much of it the store has.

    Any process of this machine may append; one at a time sends. A line is one ``write`` to a file
    that is opened for appending, so that lines of several processes never mix; each begins with a
    line break, so that one which was torn off by a full disk or a kill spoils no other.

    Args:
        folder: of the spool.
        tracking_uri: of the store, secrets included.
        artifact_root: of a local store, where a new experiment keeps its files.
    """

    def __init__(self, folder: Path, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self.folder = folder
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root

    @classmethod
    def of_fit(cls, fit_folder: Path, tracking_uri: str, artifact_root: Path | None) -> Spool:
        """That of a fit for a store.

        Args:
            fit_folder: the fit's own folder.
            tracking_uri: of the store.
            artifact_root: as for the class.
        """
        name = hashlib.sha256(without_secrets(tracking_uri).encode()).hexdigest()[:12]
        return cls(fit_folder / SPOOL / name, tracking_uri, artifact_root)

    @classmethod
    def read(cls, folder: Path) -> Spool:
        """One that lies in a folder; its ``tracking_uri`` lacks the password.

        Raises:
            InputError: if what was kept can't be read.
        """
        try:
            kept = json.loads((folder / _STORE).read_text(encoding="utf-8"))
            uri, root = str(kept["tracking_uri"]), kept["artifact_root"]
            return cls(folder, uri, None if root is None else Path(str(root)))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"the records in {str(folder)!r} can't be sent: {_STORE} can't be read "
                f"({type(error).__name__}: {str(error)[:200]})"
            ) from error

    @property
    def base(self) -> Path:
        """The fit's folder; files below it are noted relative to it."""
        return self.folder.parent.parent

    @property
    def refused(self) -> Path:
        """Where operations are kept that the store wouldn't take."""
        return self.folder / _REFUSED

    @property
    def is_local(self) -> bool:
        """Whether the store is a file, which is never away for long."""
        return self.tracking_uri.startswith("sqlite:")

    @property
    def n_bytes(self) -> int:
        """Of all records, sent or not."""
        try:
            return (self.folder / _RECORDS).stat().st_size
        except OSError:
            return 0

    def make(self) -> None:
        """Make the folder, and note which store it is for; passwords are left out.

        Raises:
            OSError: if it can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {
            "tracking_uri": without_secrets(self.tracking_uri),
            "artifact_root": None if self.artifact_root is None else str(self.artifact_root),
        }
        part = self.folder / f"{_STORE}.{os.getpid()}.part"
        part.write_text(json.dumps(kept), encoding="utf-8")
        os.replace(part, self.folder / _STORE)

    def append(self, operations: Sequence[Operation], durable: bool = False) -> None:
        """Note what is to be recorded.

        Args:
            operations: in order; they are written as one.
            durable: whether to wait until the disk has them, which outlives a power failure, too.

        Raises:
            OSError: if they can't be written.
        """
        lines = "".join(f"\n{json.dumps(operation)}\n" for operation in operations)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        file = os.open(self.folder / _RECORDS, flags, 0o644)
        try:
            os.write(file, lines.encode("ascii"))
            if durable:
                os.fsync(file)
        finally:
            os.close(file)

    def lines(self, offset: int) -> list[Line]:
        """Some whole lines from an offset on, empty ones left out; none at the end."""
        try:
            with (self.folder / _RECORDS).open("rb") as file:
                file.seek(offset)
                data = file.read(_CHUNK_BYTES)
                if len(data) == _CHUNK_BYTES:
                    data += file.readline()
        except OSError:
            return []
        found = []
        for text in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            offset += len(text)
            if text.strip():
                found.append(Line(_parsed(text), offset))
        return found

    def sent(self) -> Sent:
        """How far it has been sent, by all that was sending before."""
        found = Sent()
        try:
            data = (self.folder / _SENT).read_bytes()
        except OSError:
            return found
        for text in data.splitlines():
            noted = _parsed(text)
            if noted.get("forgotten"):
                found = Sent()
            run, store_run, offset = noted.get("run"), noted.get("is"), noted.get("offset")
            if isinstance(run, str) and isinstance(store_run, str):
                found.runs[run] = store_run
                if noted.get("doubtful"):
                    found.doubtful.add(run)
            if isinstance(offset, int) and offset >= 0:
                found.offset = offset
        if found.offset > self.n_bytes:  # the records were made anew
            found.offset = 0
        return found

    def note(self, **values: object) -> None:
        """Note progress: ``offset``; or ``run`` and what it ``is`` in the store, perhaps
        ``doubtful``; or that all is ``forgotten``."""
        with (self.folder / _SENT).open("ab") as file:
            file.write(f"\n{json.dumps(values)}\n".encode("ascii"))

    def refuse(self, operation: Operation, reason: str) -> None:
        """Keep an operation that the store wouldn't take, and why."""
        with self.refused.open("a", encoding="ascii") as file:
            file.write(f"{json.dumps({'operation': operation, 'reason': reason})}\n")

    def n_unsent(self) -> int:
        """Operations that the store hasn't got."""
        offset, n_found = self.sent().offset, 0
        while found := self.lines(offset):
            n_found += len(found)
            offset = found[-1].end
        return n_found

    def first_run(self) -> str:
        """The spool's id of its fit; empty if none was begun."""
        for line in self.lines(0):
            if line.operation.get("do") == "fit":
                return str(line.operation.get("run", ""))
        return ""

    @contextmanager
    def sending(self) -> Iterator[None]:
        """The right to send.

        Raises:
            BeingSentError: if somebody else has it.
            OSError: if the folder can't be written.
        """
        lock = FileLock(self.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise BeingSentError(
                f"the records in {str(self.folder)!r} are being sent by another process; wait for "
                "its end"
            ) from error
        try:
            yield
        finally:
            lock.release()


def spools_below(output_dir: Path) -> list[Path]:
    """The folders of all spools of an output folder, in the order of the fits' names."""
    return sorted(file.parent for file in output_dir.glob(f"*/{SPOOL}/*/{_STORE}"))


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
