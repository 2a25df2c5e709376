"""How a backbone is written: ``NAME``, then maybe ``@FILE`` with weights, then maybe ``@96px``.

And what the data sets are called that come with autotl, which places are URLs, and what of them
may be shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

BUILT_IN = ("digits", "wallpaper_groups")
"""Data sets that come with autotl."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::.*://)", re.DOTALL)
_LOGIN = re.compile(r"(https?://)[^/?\s]*@")
_QUERY = re.compile(r"(https?://[^\s?'\"]*)\?[^\s'\")]*")
_PASSWORD = re.compile(r"(//[^/@:\s]*):(?!\s)[^/\n]*@")
_PAIR = r"(?:ssl)?(?:password|passwd|pwd)=[^&\s'\")]*"
_PAIRS = re.compile(rf"([?&])(?:{_PAIR}&)+|[?&]{_PAIR}(?!&)", re.IGNORECASE)
_SIZE = re.compile(r"(.*)@(\d+)px", re.DOTALL)


@dataclass(frozen=True)
class BackboneName:
    """The parts of a backbone's name.

    A last part of digits and ``px`` is always a size; a weights file that is called so can be
    written ``./96px``.

    Attributes:
        base: ``embedded`` or timm's name.
        file: of the weights; empty: none was named.
        image_size: side of the pictures in pixels; None: the backbone's own.
    """

    base: str
    file: str = ""
    image_size: int | None = None

    @classmethod
    def of(cls, name: str) -> BackboneName:
        """The parts of a name."""
        sized = _SIZE.fullmatch(name)
        rest, size = (sized[1], int(sized[2])) if sized else (name, None)
        base, _, file = rest.partition("@")
        return cls(base, file, size)

    def __str__(self) -> str:
        file = f"@{self.file}" if self.file else ""
        size = "" if self.image_size is None else f"@{self.image_size}px"
        return f"{self.base}{file}{size}"

    @property
    def short(self) -> str:
        """The name without the folders of a weights file."""
        return str(BackboneName(self.base, PurePath(self.file).name, self.image_size))

    @property
    def without_file(self) -> str:
        """The name without a weights file."""
        return str(BackboneName(self.base, image_size=self.image_size))


def is_url(place: object) -> bool:
    """Whether it is a text such as ``s3://bucket/folder``, or fsspec's chains of them."""
    return isinstance(place, str) and _URL.match(place) is not None


def without_secrets(text: str) -> str:
    """A text as it may be shown and kept: URLs in it lose passwords, those of HTTP their queries.

    A password may stand before the host or, as databases have it, in the query.

    Where HTTP has a user it is as good as a password; of others it stays (``abfs://box@account``,
    ``postgresql://me@host``).
    """
    shown = _QUERY.sub(r"\1", _LOGIN.sub(r"\1", _PASSWORD.sub(r"\1@", text)))
    return _PAIRS.sub(r"\1", shown)
