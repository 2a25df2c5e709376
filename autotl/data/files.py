"""Pictures that are files: where they lie and what they hold. Pickles small."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from autotl.data import pictures
from autotl.data.records import DIGEST_BYTES

_UNREADABLE = b"unreadable"
_N_THREADS = 8


@dataclass(frozen=True)
class FileSource:
    """Picture files.

    Attributes:
        root: the folder that names are relative to.
        names: paths relative to ``root`` with forward slashes, or absolute ones.
    """

    root: str
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def path(self, index: int) -> Path:
        """Where the file lies."""
        return Path(self.root, self.names[index])

    def read(self, index: int, min_size: int | None = None) -> Image.Image:
        return pictures.decode(self.path(index), min_size)


def file_digest(path: str) -> bytes:
    """The digest of a file's bytes, or a fixed one if it can't be read or isn't a regular file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for ever
            return _UNREADABLE
        with open(path, "rb") as file:
            return hashlib.file_digest(file, _blake2b).digest()
    except (OSError, ValueError):
        return _UNREADABLE


def _blake2b() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=DIGEST_BYTES)


def file_digests(root: str, names: Sequence[str]) -> list[bytes]:
    """Digests of the files' bytes, in order; a file that can't be read has a fixed one.

    Args:
        root: the folder that names are relative to.
        names: paths below it.
    """
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return list(pool.map(lambda name: file_digest(os.path.join(root, name)), names))


def leading_out(root: str, names: Sequence[str]) -> list[int]:
    """Which of the paths lead out of a folder: by themselves, or by a link on their way.

    Args:
        root: the folder; it may itself lie behind a link.
        names: paths below it, or absolute ones; they need not exist.

    Returns:
        Positions in ``names``, ascending.
    """
    real_root = os.path.realpath(root)
    real_folders: dict[str, str] = {}

    def real(name: str) -> str:
        folder, file = os.path.split(os.path.join(root, name))
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        path = os.path.join(real_folders[folder], file)
        return os.path.realpath(path) if file == ".." or os.path.islink(path) else path

    inside = os.path.join(real_root, "")
    return [
        i
        for i, name in enumerate(names)
        if "\0" not in name and not real(name).startswith(inside)  # with NUL it's no path at all
    ]


def files_below(folder: Path) -> Iterable[str]:
    """Paths of the files below a folder, relative to it, with forward slashes, sorted.

    Hidden files and folders are passed over; links are followed, each folder once on a way down.

    Raises:
        OSError: if a folder can't be listed.
    """
    found: list[str] = []

    def walk(path: str, prefix: str, above: frozenset[str]) -> None:
        real = os.path.realpath(path)
        if real in above:
            return
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    walk(entry.path, f"{prefix}{entry.name}/", above | {real})
                else:
                    found.append(prefix + entry.name)

    walk(str(folder), "", frozenset())
    return sorted(found)
