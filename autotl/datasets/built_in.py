"""The data sets that come with autotl, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotl.datasets.digits import digits
from autotl.datasets.wallpaper import wallpaper_groups

DRAWINGS_PER_CLASS = 120

_MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "digits": digits,
    "wallpaper_groups": lambda: wallpaper_groups(DRAWINGS_PER_CLASS),
}


class BuiltIn(tuple[Any, Any]):
    """A pair of arrays with a name.

    Attributes:
        name: one of :data:`autotl.naming.BUILT_IN`.
    """

    name: str


def built_in(name: str) -> BuiltIn:
    """Images that come with autotl.

    Args:
        name: one of :data:`autotl.naming.BUILT_IN`.

    Returns:
        ``X (n_samples, height, width[, 3]) uint8`` and ``y (n_samples,)``, the classes' names.
    """
    made = BuiltIn(_MAKERS[name]())
    made.name = name
    return made
