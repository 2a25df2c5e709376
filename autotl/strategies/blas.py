"""How many threads BLAS takes: for small products they cost more than they bring."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

_SERIAL_BELOW = 2e8


def threads_for(multiplications: float) -> AbstractContextManager[object]:
    """The context in which products of so many multiplications are computed."""
    limits = 1 if multiplications < _SERIAL_BELOW else None
    limited: AbstractContextManager[object] = _threads().limit(limits=limits)
    return limited


@cache
def _threads() -> ThreadpoolController:
    """Limits the threads; to find the libraries anew takes longer than a small solve."""
    return ThreadpoolController()
