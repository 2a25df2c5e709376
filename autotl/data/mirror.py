"""A folder that is made equal to a listing of files elsewhere, file by file; it may be killed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from autotl.errors import DiskFullError, InputError, is_disk_full
from autotl.progress import Progress
from autotl.runtime import free_disk_bytes

_FILES, _LOG, _LOCK, _PARTS = "files", "log.jsonl", ".lock", "parts"
_N_THREADS = 16
_CHUNK = 1024


@dataclass(frozen=True)
class RemoteFile:
    """A file elsewhere.

    Attributes:
        path: where, as its file system calls it.
        n_bytes: its size; None: the listing doesn't tell.
        mark: what changes when its content does, such as size and ETag; empty: nothing is known.
    """

    path: str
    n_bytes: int | None
    mark: str


@dataclass(frozen=True)
class Mirror:
    """Copies of files, in a folder with what is known of them.

    A file is written beside and moved to its place, and then noted in a log with its mark, so that
    whatever is in its place is whole, and what isn't in the log is fetched again.

    Attributes:
        folder: made when it is locked.
        max_bytes: that it may grow by; None: what the disk has.
    """

    folder: Path
    max_bytes: int | None = None

    @property
    def files(self) -> Path:
        """The folder of the copies, in which there is nothing else."""
        return self.folder / _FILES

    @contextmanager
    def locked(self, note: Callable[[str], None]) -> Iterator[None]:
        """Nobody else changes it meanwhile; all that is done with it is done here.

        Args:
            note: is told if another process has to be waited for.

        Raises:
            InputError: if the folder can't be written, or not under the names of the files.
        """
        lock = FileLock(self.folder / _LOCK)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                note(f"another process copies to {self.folder}; waiting for it")
                lock.acquire()
            try:
                yield
            finally:
                lock.release()
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this file system
            if is_disk_full(error):
                raise
            raise InputError(f"copies can't be kept in {str(self.folder)!r}: {error}") from error

    def keep_only(self, files: Mapping[str, RemoteFile]) -> None:
        """Delete the copies of all other files.

        Args:
            files: by their names here, paths below ``files`` with forward slashes.
        """
        for place, _, names in os.walk(self.files, topdown=False):
            for name in names:
                file = Path(place, name)
                if file.relative_to(self.files).as_posix() not in files:
                    file.unlink()
            with suppress(OSError):  # it isn't empty
                os.rmdir(place)

    def bring(
        self,
        files: Mapping[str, RemoteFile],
        get: Callable[[RemoteFile, Path], None],
        progress: Progress,
    ) -> None:
        """Copy what isn't here, or isn't the same any more.

        Args:
            files: as for :meth:`keep_only`.
            get: copies one to a path; called by several threads.
            progress: whoever watches: steps are the files that are here.

        Raises:
            DiskFullError: if there is no room; before anything is copied where sizes are known.
            InputError: if ``max_bytes`` isn't enough.
        """
        known = self._known()
        missing = [name for name, file in files.items() if not self._is_here(name, file, known)]
        if not missing:
            return
        n_bytes = sum(files[name].n_bytes or 0 for name in missing)
        self._refuse_more_than_fits(n_bytes)
        if len(missing) > 1:
            progress.note(
                f"copying {len(missing):,} files ({n_bytes / 1e6:,.1f} MB) to {self.folder}"
            )
        parts = self.folder / _PARTS
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()

        def copy(numbered: tuple[int, str]) -> None:
            number, name = numbered
            part, place = parts / str(number), self.files / name
            part.touch()
            get(files[name], part)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, place)
            log(name, files[name].mark)

        n_here = len(files) - len(missing)
        queue = iter(enumerate(missing))
        try:
            with self._log(known) as log, ThreadPoolExecutor(_N_THREADS) as pool:
                while chunk := list(islice(queue, _CHUNK)):
                    for _ in pool.map(copy, chunk):
                        n_here += 1
                        progress.step(n_here, len(files))
        finally:
            shutil.rmtree(parts, ignore_errors=True)

    def _refuse_more_than_fits(self, n_bytes: int) -> None:
        if self.max_bytes is not None and n_bytes > self.max_bytes:
            raise InputError(
                f"copies of {n_bytes / 1e9:.3g} GB would go beyond disk_quota_gb, which leaves "
                f"{max(0, self.max_bytes) / 1e9:.3g} GB; give a larger one, or make room "
                "(`autotl cache clear` deletes copies of other data sets)"
            )
        free = free_disk_bytes(self.folder)
        if n_bytes > free:
            raise DiskFullError(
                f"copies of {n_bytes / 1e9:.3g} GB don't fit on the disk of {str(self.folder)!r}, "
                f"which has {free / 1e9:.3g} GB free; make room there"
            )

    def _is_here(self, name: str, file: RemoteFile, known: Mapping[str, tuple[str, int]]) -> bool:
        """Whether a whole copy is here of what the listing has."""
        with suppress(OSError, ValueError):
            own = (file.mark, (self.files / name).stat().st_size)
            return bool(file.mark) and known.get(name) == own
        return False

    def _known(self) -> dict[str, tuple[str, int]]:
        """Marks and sizes of copies by name, up to a line that was cut off."""
        found: dict[str, tuple[str, int]] = {}
        with (
            suppress(OSError, ValueError, TypeError),
            (self.folder / _LOG).open(encoding="utf-8") as lines,
        ):
            for line in lines:
                name, mark, n_bytes = json.loads(line)
                found[name] = (mark, n_bytes)
        return found

    @contextmanager
    def _log(self, known: Mapping[str, tuple[str, int]]) -> Iterator[Callable[[str, str], None]]:
        """Notes the name and mark of a copy, for any thread; begins anew with what is known."""
        writing = threading.Lock()
        part = self.folder / f"{_LOG}.part"
        with part.open("w", encoding="utf-8", buffering=1) as file:

            def write(name: str, mark: str, n_bytes: int) -> None:
                with writing:
                    file.write(json.dumps([name, mark, n_bytes]) + "\n")

            for name, (mark, n_bytes) in known.items():
                write(name, mark, n_bytes)
            os.replace(part, self.folder / _LOG)
            yield lambda name, mark: write(name, mark, (self.files / name).stat().st_size)
