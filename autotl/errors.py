"""Errors that a user can act on. Everything else that is raised is a bug of autotl."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class AutotlError(Exception):
    """Base of every error that autotl raises on purpose."""


class InputError(AutotlError, ValueError):
    """What the user gave can't be used: the message names the value and what to do instead."""

    @classmethod
    def of(cls, problems: Iterable[str]) -> InputError:
        """One error for several problems found at once, a line each."""
        found = list(problems)
        if len(found) == 1:
            return cls(found[0])
        return cls(f"{len(found)} problems:\n" + "\n".join(f"  - {problem}" for problem in found))

    @property
    def problems(self) -> list[str]:
        """The problems that it was made of."""
        first, *others = str(self).splitlines()
        return [line.removeprefix("  - ") for line in others] or [first]


class DiskFullError(AutotlError, OSError):
    """The disk has no room left, or the user's share of it; the message says what is kept."""


class UnreadableImageError(AutotlError, ValueError):
    """One picture can't be decoded; the message is the reason, fit for the quarantine list."""


class BackboneUnavailableError(AutotlError, ValueError):
    """A backbone's weights can't be had: no such file, not its weights, hub unreachable."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("disk is full", "No space left on device", "Disk quota exceeded")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that nothing more can be written."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DiskFullError) or getattr(error, "errno", None) in _FULL:
            return True
        if any(words in str(error) for words in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def unknown(what: str, value: object, known: Iterable[str]) -> InputError:
    """The error for a name that isn't among the known ones, with the nearest of them.

    Args:
        what: what was to be named, e.g. ``"strategy"``.
        value: what was received.
        known: the valid names.
    """
    names = sorted(known)
    nearest = get_close_matches(str(value), names, n=3 if len(names) > 20 else 1, cutoff=0.5)
    message = f"unknown {what} {value!r}"
    if nearest:
        message += f"; did you mean {' or '.join(map(repr, nearest))}?"
    if len(names) <= 20:
        message += f" (known: {', '.join(names)})"
    return InputError(message)
