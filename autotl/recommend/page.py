"""What every page shares: one HTML file that loads nothing, written as a whole or not at all."""

from __future__ import annotations

import base64
import io
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from autotl.errors import InputError
from autotl.recommend.words import UNIT, one_line

_SMALL_PIXELS = 48


def page_place(file: str | Path) -> Path:
    """Where a page is to be written, once it is sure that it can be.

    Args:
        file: as the user gave it; ``~`` is the home folder. A file that is there is replaced.

    Returns:
        Its absolute path.

    Raises:
        InputError: if it is a folder, or its folder is missing or can't be written to.
    """
    place = Path(file).expanduser().absolute()
    if place.is_dir():
        raise InputError(
            f"the HTML page must be a file, but {str(file)!r} is a folder; give a file in it, "
            f"such as {str(place / 'analysis.html')!r}"
        )
    if not place.parent.is_dir():
        raise InputError(
            f"the folder of the HTML page must exist, but got {str(file)!r} and there is no folder "
            f"{str(place.parent)!r}; make it first"
        )
    if not os.access(place.parent, os.W_OK):
        raise InputError(
            f"the folder of the HTML page must be one that you may write to, but got {str(file)!r};"
            " choose another"
        )
    return place


def render_page(template: str, view: Mapping[str, Any]) -> str:
    """A page as a string.

    Args:
        template: name of a file in this folder; it extends ``page.html.jinja``.
        view: all that it shows. Everything but markup is escaped, and nothing may be missing.
    """
    environment = Environment(
        loader=PackageLoader("autotl.recommend", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = _marked
    return environment.get_template(template).render(view)


def write_page(file: Path, page: str) -> Path:
    """Write a page beside its place and then move it there, so that it is whole or not there.

    Args:
        file: where; its folder must exist.
        page: the HTML.

    Returns:
        ``file``.
    """
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.write(page)
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return file


def thumbnail(pixels: NDArray[np.uint8], max_side: int) -> dict[str, Any]:
    """A picture within the page: ``data`` is a PNG in base64, ``is_small`` asks for sharp pixels.

    Args:
        pixels: ``(h, w, 3) uint8``.
        max_side: the longest side, in pixels; a smaller picture keeps its size.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return {
        "data": base64.b64encode(buffer.getvalue()).decode("ascii"),
        "is_small": max(picture.size) < _SMALL_PIXELS,
    }


def file_name(name: str) -> str:
    """The last part of a picture's name, on one line."""
    return one_line(name).rstrip("/").rsplit("/", 1)[-1]


def _marked(words: str) -> Markup:
    """Words as HTML: escaped, names in backticks as code, figures kept with their units."""
    html = re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(words)))
    html = re.sub(r"(?<=\d) x (?=the head)", " \u00d7 ", html)
    return Markup(re.sub(UNIT, "\u00a0", html))  # noqa: S704 (escaped above)
