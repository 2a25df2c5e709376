"""Data sets behind URLs: a local copy of the pictures that belong to one, and of its table."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from autotl.data.folders import no_pictures
from autotl.data.mirror import Mirror, RemoteFile
from autotl.data.pictures import picture_extensions
from autotl.data.records import list_some
from autotl.data.tables import TABLE_EXTENSIONS, pictures_of_table
from autotl.errors import InputError, is_disk_full, unknown
from autotl.naming import without_secrets
from autotl.progress import Progress

MIRRORS = "mirrors"
"""The folder of copies in a cache."""
PAUSES_S = (0.5, 2.0, 8.0)
"""Before a server that was away is asked again."""
_MARKS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "crc32c", "CRC"),
    *("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created"),
)
"""What listings of file systems call what changes when a file does; the surest first."""
_FINAL = (
    *(FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError),
    *(ImportError, NotImplementedError, TypeError, ValueError),
)
"""Errors that don't pass by themselves."""
_N_THREADS = 16
_SHOWN_CHARS = 300
T = TypeVar("T")


def _own_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "autotl", MIRRORS)


@dataclass(frozen=True)
class Mirrors:
    """Where copies of data sets behind URLs are kept, and who is told of it.

    Attributes:
        folder: of all of them; by default ``autotl/mirrors`` in the user's cache
            (``XDG_CACHE_HOME``, or ``~/.cache``).
        max_bytes: that they may grow by; None: what the disk has.
        progress: whoever watches: steps are the files of a data set that are here.
    """

    folder: Path = field(default_factory=_own_cache)
    max_bytes: int | None = None
    progress: Progress = field(default_factory=Progress)

    def fetch(self, url: str, image: str | None = None, label: str | None = None) -> Path:
        """A local copy of a data set behind a URL, with nothing else in its folder.

        What is here already and hasn't changed isn't fetched again; what isn't there any more is
        deleted here. Hidden files, and those that aren't pictures, are passed over.

        Args:
            url: of a folder of pictures, or of a table: then of the pictures that it names in its
                folder. Whatever fsspec can open.
            image: the column of paths of a table; None finds it.
            label: that of labels, likewise.

        Returns:
            The folder or the table. Of ``file://`` it is the place itself.

        Raises:
            InputError: if it can't be had: what was copied by then stays, and needn't be again.
            DiskFullError: if there is no room for it.
        """
        place = _Place(url, self.progress.note)
        if isinstance(place.fs, LocalFileSystem):
            return Path(place.root or "/")
        shown = place.shown.rstrip("/")
        last = PurePosixPath(shown).name
        name = re.sub(r"[^\w.-]|^[.]", "_", last, flags=re.ASCII)[:80]
        key = hashlib.sha256(shown.encode()).hexdigest()[:12]
        mirror = Mirror(self.folder.absolute() / f"{name}-{key}", self.max_bytes)
        table = place.table()
        copy = mirror.files if table is None else mirror.files / last
        files = place.pictures() if table is None else {last: table}
        with mirror.locked(self.progress.note):
            if table is not None:
                mirror.bring(files, place.get, self.progress)
                try:
                    names = pictures_of_table(copy, image, label)
                except InputError as error:
                    raise InputError(str(error).replace(str(copy), shown)) from error
                if not names:
                    return copy  # which is refused when it is read
                files |= place.named(names)
            mirror.keep_only(files)
            mirror.bring(files, place.get, self.progress)
        return copy


class _Place:
    """What lies behind a URL.

    Args:
        url: of a folder or a file.
        note: is told once if a server is away.

    Attributes:
        shown: the URL without secrets.
        fs: its file system.
        root: its path there.
        is_http: whether it is a web server's, which lists nothing.
    """

    def __init__(self, url: str, note: Callable[[str], None]) -> None:
        self.shown = without_secrets(url)
        self._note: Callable[[str], None] | None = note
        self.fs, root = self._ask(lambda: url_to_fs(url))
        self.root = str(root).rstrip("/")
        self.fs.invalidate_cache()  # an earlier listing of this process says nothing of now
        self.is_http = self.root.startswith(("http://", "https://"))

    def table(self) -> RemoteFile | None:
        """The table that it is; None: a folder.

        Raises:
            InputError: if it is anything else, or can't be had.
        """
        name = PurePosixPath(self.shown.rstrip("/")).name
        is_table = PurePosixPath(name).suffix.lower() in TABLE_EXTENSIONS
        if self.is_http and not is_table:
            raise InputError(
                f"{self.shown} isn't a table ({', '.join(TABLE_EXTENSIONS)}): a folder can't be "
                "listed over HTTP; give a table with the paths of the pictures beside it"
            )
        info = self._ask(lambda: self.fs.info(self.root))
        if info["type"] == "directory":
            return None
        if not is_table:
            raise unknown("kind of data file", self.shown, TABLE_EXTENSIONS)
        return _remote(self.root, info)

    def pictures(self) -> dict[str, RemoteFile]:
        """All pictures below the folder, by their paths in it.

        Raises:
            InputError: if there are none, or paths that can't be.
        """
        found = self._ask(lambda: self.fs.find(self.root, detail=True))
        known, files, passed, unfit = picture_extensions(), {}, [], []
        for path, info in sorted(found.items()):
            name = str(path).removeprefix(self.root).removeprefix("/")
            if not name or name.endswith("/"):
                continue  # an empty object, by which some tools make a folder
            if not _is_below(name):
                unfit.append(name)
            elif any(part.startswith(".") for part in name.split("/")):
                continue
            elif PurePosixPath(name).suffix.lower() in known:
                files[name] = _remote(str(path), info)
            else:
                passed.append(name)
        if unfit:
            raise InputError(
                f"names in {self.shown} that can't be those of files below a folder: "
                f"{list_some([repr(name) for name in unfit])}; rename them"
            )
        if not files:
            raise InputError(no_pictures(self.shown, passed))
        return files

    def named(self, names: list[str]) -> dict[str, RemoteFile]:
        """Those of some files beside the table that are there.

        Args:
            names: paths relative to its folder, that don't lead out of it.
        """
        root = self.root.partition("?")[0] if self.is_http else self.root
        folder = root.rpartition("/")[0]

        def whole(name: str) -> str:
            return f"{folder}/{name}" if folder else name

        def asked(name: str) -> dict[str, Any]:
            path = whole(quote(name))
            nothing: dict[str, Any] = {}
            info = self._ask(lambda: self.fs.info(path), absent=nothing)
            return {name: _remote(path, info)} if info else {}

        def listed(own_folder: str) -> dict[str, Any]:
            nothing: list[dict[str, Any]] = []
            infos = self._ask(lambda: self.fs.ls(whole(own_folder), detail=True), absent=nothing)
            return {str(info["name"]).strip("/"): info for info in infos if info["type"] == "file"}

        with ThreadPoolExecutor(_N_THREADS) as pool:
            if self.is_http:
                return dict(chain.from_iterable(own.items() for own in pool.map(asked, names)))
            folders = sorted({name.rpartition("/")[0] for name in names})
            found = dict(chain.from_iterable(own.items() for own in pool.map(listed, folders)))
        return {
            name: _remote(str(found[path]["name"]), found[path])
            for name in names
            if (path := whole(name).strip("/")) in found
        }

    def get(self, file: RemoteFile, place: Path) -> None:
        """Copy a file of it.

        Args:
            file: as it was listed.
            place: where to.

        Raises:
            InputError: if it can't be had.
        """

        def copy() -> None:
            self.fs.get_file(file.path, str(place))
            n_bytes = place.stat().st_size
            if file.n_bytes not in (None, n_bytes):
                raise OSError(f"{n_bytes} instead of {file.n_bytes} bytes came")

        self._ask(copy, file.path)

    def _ask(self, what: Callable[[], T], path: str = "", absent: T | None = None) -> T:
        """What a file system answers, after some tries if it is away.

        Args:
            what: asks it.
            path: of the file that it is about; empty: the whole.
            absent: the answer where there is nothing of that name; None: that is an error.

        Raises:
            InputError: the last try's failure.
        """
        for pause_s in (*PAUSES_S, None):
            try:
                return what()
            except Exception as raised:  # each file system has its own kinds
                if is_disk_full(raised):
                    raise
                error = _behind(raised)
                if isinstance(error, FileNotFoundError) and absent is not None:
                    return absent
                if pause_s is None or _is_final(error):
                    raise InputError(_told(error, self.shown, path)) from raised
                note, self._note = self._note, None
                if note is not None:
                    note(f"{self.shown} doesn't answer ({_reason(error)}); it is asked again")
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")


def _remote(path: str, info: Mapping[str, Any]) -> RemoteFile:
    size = info.get("size")
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    return RemoteFile(path, size, "" if size is None and not mark else f"{size} {mark}".strip())


def _is_below(name: str) -> bool:
    """Whether a name of a listing can only be that of a file below the folder."""
    return "\0" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def _behind(error: Exception) -> Exception:
    """What a web server's "no such file" comes of: fsspec says that whatever was the matter."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        is_of_http = type(cause).__module__.startswith("aiohttp")
        if is_of_http and getattr(cause, "status", None) not in (404, 410):
            return cause
    return error


def _is_refusal(error: Exception) -> bool:
    return (
        isinstance(error, PermissionError)
        or getattr(error, "status", None) in (401, 403)
        or re.search("Credential|Authentication", type(error).__name__) is not None
    )


def _is_final(error: Exception) -> bool:
    is_of_input = isinstance(error, _FINAL) or "Validation" in type(error).__name__
    return is_of_input or _is_refusal(error)


def _reason(error: Exception) -> str:
    """What an error says, shortened and without secrets."""
    words = without_secrets(" ".join(str(error).split()))[:_SHOWN_CHARS]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _told(error: Exception, shown: str, path: str) -> str:
    """An error of a file system in words."""
    what = shown if not path else f"{without_secrets(path)} of {shown}"
    if isinstance(error, ImportError):
        package = getattr(error.__cause__, "name", None) or error.name or "what is missing"
        return f"{shown} needs a package that is missing: `pip install {package}` ({error})"
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return f"{shown} can't be opened: fsspec knows no such protocol; copy the data to a folder"
    if isinstance(error, FileNotFoundError):
        return f"no such bucket, folder or file: {what}"
    if _is_refusal(error):
        return (
            f"{what} may not be read ({_reason(error)}); give this process credentials, in the "
            "environment or the file where the protocol's package looks for them"
        )
    if _is_final(error):
        return f"{what} can't be read ({_reason(error)})"
    return (
        f"{what} can't be read ({_reason(error)}); if it comes back, give the same command again: "
        "what was copied needn't be again"
    )
