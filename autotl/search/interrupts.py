"""Ctrl-C at the right moment: a store's transaction that is torn apart stays locked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM wait until the block is left; a second one doesn't wait.

    Only the main thread receives signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if waiting:
            give_back()
            signal.raise_signal(number)
        waiting.append(number)

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    known = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in known.items() if handler is not None}
    try:
        for number in before:
            signal.signal(number, hold)
        yield
    finally:
        give_back()
        if waiting:
            signal.raise_signal(waiting[0])
