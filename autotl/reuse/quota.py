"""What may be kept under a limit of bytes, in memory or in a folder, and what goes to make room."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

_STATE, _LOCK = ".quota.json", ".quota.lock"
_LOCK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Entry:
    """Something that is kept.

    Attributes:
        name: of it.
        n_bytes: its size.
        seconds: what it would take to compute it again; 0 if unknown.
    """

    name: str
    n_bytes: int
    seconds: float


@dataclass
class GreedyDual:
    """The GreedyDual-Size rule: keep what is dear to compute for its size and was asked for lately.

    Each entry has a credit: the clock when it was last asked for, plus the seconds that it would
    take to compute it again per byte. The least credit goes first, and the clock then stands at it;
    so what isn't asked for any more ages, whatever it cost. No time of day is involved.

    A newcomer that fits into the limit is always admitted, as in the paper, even where all that
    goes for it was dearer: it is what is asked for now, and a folder full of a past data set's
    entries must not lock out the present one's.

    Source: Cao & Irani, Cost-Aware WWW Proxy Caching Algorithms, USENIX Symposium on Internet
    Technologies and Systems, 1997.

    Attributes:
        max_bytes: the limit.
        clock: the credit of what went last.
        kept: entries by name.
        credits: of each entry.
    """

    max_bytes: int
    clock: float = 0.0
    kept: dict[str, Entry] = field(default_factory=dict)
    credits: dict[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of what is kept, in the order in which it came."""
        return list(self.kept)

    @property
    def n_bytes(self) -> int:
        """Size of all that is kept."""
        return sum(entry.n_bytes for entry in self.kept.values())

    def admit(
        self, name: str, n_bytes: int, seconds: float, pinned: Collection[str] = ()
    ) -> list[str] | None:
        """Take an entry in, or renew one that is there.

        Args:
            name: of the entry.
            n_bytes: its size.
            seconds: what it would take to compute it again.
            pinned: names of entries that must stay.

        Returns:
            The entries that had to go, which aren't kept any more; None, and nothing has changed,
            if it is larger than the limit or than what isn't pinned leaves.
        """
        own = self.kept[name].n_bytes if name in self.kept else 0
        gone = self.shrink(n_bytes - own, {name, *pinned})
        if gone is not None:
            self.kept[name] = Entry(name, n_bytes, seconds)
            self.touch(name)
        return gone

    def shrink(self, n_more: int = 0, pinned: Collection[str] = ()) -> list[str] | None:
        """Let go what is over the limit.

        Args:
            n_more: bytes that there should be room for.
            pinned: as for :meth:`admit`.

        Returns:
            As for :meth:`admit`.
        """
        excess = self.n_bytes + n_more - self.max_bytes
        gone: list[str] = []
        for name in sorted(self.kept, key=self.credits.__getitem__):
            if excess <= 0:
                break
            if name not in pinned:
                gone.append(name)
                excess -= self.kept[name].n_bytes
        if excess > 0:
            return None
        for name in gone:
            self.clock = max(self.clock, self.credits[name])
            self.remove(name)
        return gone

    def touch(self, name: str) -> None:
        """Note that an entry was asked for; one that isn't kept is passed over."""
        entry = self.kept.get(name)
        if entry is not None:
            self.credits[name] = self.clock + entry.seconds / max(1, entry.n_bytes)

    def remove(self, name: str) -> None:
        """Forget an entry; one that isn't kept is passed over."""
        self.kept.pop(name, None)
        self.credits.pop(name, None)


@dataclass(frozen=True)
class DiskQuota:
    """:class:`GreedyDual` for the files of a folder, shared by threads, processes and fits.

    An entry is all files of the folder whose name starts with the entry's name and a dot. What the
    rule needs lies in a JSON file, which is only changed under a lock and replaced as a whole.
    Files that it doesn't know become entries that cost nothing, entries without files are
    forgotten, and a state that can't be read is begun anew: the files are what counts. Hidden files
    and folders are left alone.

    Attributes:
        folder: made when the first entry is reserved.
        max_bytes: the limit for all entries together; 0: nothing is ever written.
    """

    folder: Path
    max_bytes: int

    def file(self, name: str) -> Path:
        """The main file of an entry; companions share its name up to the dot."""
        return self.folder / f"{_checked(name)}.rows"

    def reserve(self, name: str, n_bytes: int, seconds: float) -> bool:
        """Make room for an entry of which all bytes count from now on; or renew one that is there.

        Others are deleted as needed; a process that has their files open can still read them.

        Args:
            name: letters, digits, ``_``, ``+`` and ``-``.
            n_bytes: its full size, companions included.
            seconds: what it would take to compute it again.

        Returns:
            Whether there is a place for it: its main file then exists, perhaps empty. If not, a
            warning says why, once per process, except for a limit of 0.
        """
        file = self.file(name)
        if self.max_bytes == 0:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._changing() as rule:
                gone = rule.admit(name, n_bytes, seconds)
                if gone is not None:
                    for other in gone:
                        _delete(self._files().get(other, ()))
                    file.touch()
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this file system
            say_once(self.folder, f"the cache {self.folder} can't be written: {error}")
            return False
        if gone is None:
            say_once(
                self.folder,
                f"the cache {self.folder} may hold {self.max_bytes / 1e6:,.1f} MB, but "
                f"{n_bytes / 1e6:,.1f} MB are needed: what doesn't fit is computed again each time "
                "(a larger disk_cache_gb, or disk_quota_gb, changes that)",
            )
        return gone is not None

    def shrink(self) -> None:
        """Delete what is over the limit, which may have been a larger one before."""
        if not self.folder.is_dir():
            return
        with suppress(OSError, NotImplementedError), self._changing() as rule:
            for name in rule.shrink() or ():
                _delete(self._files().get(name, ()))

    def entries(self) -> list[Entry]:
        """What is there, by name, with the bytes that are used on disk now; changes nothing."""
        known = self._read().kept
        return [
            Entry(name, _used(files), known[name].seconds if name in known else 0.0)
            for name, files in sorted(self._files().items())
        ]

    def clear(self) -> int:
        """Delete all entries, also those in use: whoever has them open can still read them.

        Returns:
            The bytes freed.

        Raises:
            OSError: if they can't be deleted.
        """
        if not self.folder.is_dir():
            return 0
        freed = 0
        with FileLock(self.folder / _LOCK, timeout=_LOCK_TIMEOUT_S):
            for files in self._files().values():
                freed += _used(files)
                _delete(files)
            (self.folder / _STATE).unlink(missing_ok=True)
        return freed

    @contextmanager
    def _changing(self) -> Iterator[GreedyDual]:
        """The rule as it stands, alone; afterwards it is written."""
        with FileLock(self.folder / _LOCK, timeout=_LOCK_TIMEOUT_S):
            rule = self._read()
            found = self._files()
            for name in set(rule.names) - set(found):
                rule.remove(name)
            for name, files in found.items():
                known = rule.kept.get(name)
                n_bytes = max(_used(files), 0 if known is None else known.n_bytes)
                rule.kept[name] = Entry(name, n_bytes, 0.0 if known is None else known.seconds)
                rule.credits.setdefault(name, rule.clock)
            yield rule
            part = self.folder / f"{_STATE}.part"
            part.write_text(json.dumps(_state_of(rule)), encoding="utf-8")
            os.replace(part, self.folder / _STATE)

    def _read(self) -> GreedyDual:
        """The rule as it was written; without entries if that can't be read."""
        rule = GreedyDual(self.max_bytes)
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
            clock = _amount(state["clock"])
            for name, (n_bytes, seconds, credit) in state["entries"].items():
                rule.kept[name] = Entry(name, int(_amount(n_bytes)), _amount(seconds))
                rule.credits[name] = _amount(credit)
            rule.clock = clock
            return rule
        return GreedyDual(self.max_bytes)

    def _files(self) -> dict[str, list[Path]]:
        """The files of each entry."""
        found: dict[str, list[Path]] = {}
        with suppress(OSError), os.scandir(self.folder) as listed:
            for one in listed:
                name = one.name.partition(".")[0]
                if name and one.is_file(follow_symlinks=False):
                    found.setdefault(name, []).append(Path(one.path))
        return found


_SAID: set[Path] = set()
_SAYING = threading.Lock()


def say_once(folder: Path, message: str) -> None:
    """Warn of a cache folder; a second time, of anything, this process says nothing.

    Args:
        folder: of the cache.
        message: what is the matter with it.
    """
    with _SAYING:
        is_new = folder not in _SAID
        _SAID.add(folder)
    if is_new:
        warnings.warn(message, stacklevel=2)


def _checked(name: str) -> str:
    if not re.fullmatch(r"[\w+-]+", name):
        raise ValueError(f"an entry's name must be letters, digits, '_', '+', '-', got {name!r}")
    return name


def _amount(value: object) -> float:
    """A finite number that isn't negative."""
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"not an amount: {value!r}")
    return value


def _state_of(rule: GreedyDual) -> dict[str, object]:
    entries = {
        name: [entry.n_bytes, entry.seconds, rule.credits[name]]
        for name, entry in rule.kept.items()
    }
    return {"clock": rule.clock, "entries": entries}


def _used(files: Collection[Path]) -> int:
    """Bytes that files take on the disk: a file with holes takes less than its length."""
    n_bytes = 0
    for file in files:
        with suppress(OSError):  # gone in between
            n_bytes += file.stat().st_blocks * 512
    return n_bytes


def _delete(files: Collection[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
