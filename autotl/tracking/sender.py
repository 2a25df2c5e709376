"""The thread that sends a fit's records while the fit goes on."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from autotl.naming import without_secrets
from autotl.tracking.delivery import Delivery
from autotl.tracking.spool import BeingSentError, Spool
from autotl.tracking.store import MlflowStore

_POLL_S = 0.5
"""How often to look for what other processes have appended."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
"""Between tries while the store is away; each time twice as long."""
_LAST_TRY_S = 1.0
"""What the end of a fit waits for a store that was away."""
_QUIET_S = 5.0
"""What it waits for one that answered so far, and for a file ten times as long."""
_LOCAL_S = 30.0
"""What it waits at least for a store that is a file; to make a new one takes some seconds."""


class Sender:
    """Sends a spool, then what earlier fits have left for the same store, in the background.

    Args:
        spool: of the fit; this process may append to it, and others.
        store: where to.
        left_over: folders of spools of earlier fits.
    """

    def __init__(self, spool: Spool, store: MlflowStore, left_over: Sequence[Path] = ()) -> None:
        self._spool = spool
        self._store = store
        self._left_over = list(left_over)
        self._delivery: Delivery | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._is_away = False
        self._has_warned = False
        self._n_failures = 0
        self._last_answer = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="autotl-mlflow", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Something was appended."""
        if not self._is_away:
            self._wake.set()

    def wait(self, limit_s: float) -> bool:
        """Wait until the store has everything, as long as there is hope.

        Args:
            limit_s: at most so long.

        Returns:
            Whether it has.
        """
        began, n_failures, was_away = time.monotonic(), self._n_failures, self._is_away
        if self._spool.is_local:
            limit_s = max(limit_s, _LOCAL_S)
        self._wake.set()
        while self._thread.is_alive():
            now = time.monotonic()
            if self._delivery is not None and self._delivery.is_done:
                return True
            quiet_s = now - max(began, self._last_answer)
            n_tries = self._n_failures - n_failures
            is_hopeless = (was_away and quiet_s > _LAST_TRY_S) or n_tries > (not was_away)
            if is_hopeless or now - began > limit_s or quiet_s > self._patience_s():
                return False
            time.sleep(0.02)
        return self._spool.n_unsent() == 0

    def close(self, limit_s: float) -> None:
        """Stop sending; what the store hasn't got by then stays in the spool, with a warning.

        Args:
            limit_s: how long to wait for the store, at most.
        """
        try:
            is_done = self.wait(limit_s)
        except KeyboardInterrupt:  # the user won't wait; the records are safe
            is_done = False
        self._stop.set()
        self._wake.set()
        if is_done:
            self._thread.join(_LAST_TRY_S)
        elif not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self._spool.n_unsent()} records have not reached the MLflow store {self._uri}; "
                f"they are kept, and {self._command} sends them",
                stacklevel=1,
            )
        n_refused = 0 if self._delivery is None else self._delivery.n_refused
        if n_refused:
            warnings.warn(
                f"the MLflow store {self._uri} refused part of the record (operations: "
                f"{n_refused}); it is kept, with the reasons, in {str(self._spool.refused)!r}",
                stacklevel=1,
            )

    @property
    def _uri(self) -> str:
        return repr(without_secrets(self._spool.tracking_uri))

    @property
    def _command(self) -> str:
        return f"`autotl sync --output {self._spool.base.parent}`"

    def _patience_s(self) -> float:
        if self._spool.is_local:
            return _LOCAL_S
        is_uploading = self._delivery is not None and self._delivery.is_uploading
        return 10 * _QUIET_S if is_uploading else _QUIET_S

    def _run(self) -> None:
        with ExitStack() as held:
            while not self._stop.is_set():
                try:
                    held.enter_context(self._spool.sending())
                    break
                except (BeingSentError, OSError):
                    self._stop.wait(_POLL_S)
            else:
                return
            self._delivery = Delivery(self._spool, self._store, self._stop.wait)
            self._send(self._delivery)

    def _send(self, delivery: Delivery) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                n_sent = delivery.step()
            except Exception as error:  # a store away, a full disk: training goes on
                self._fail(error)
                self._wake.wait(pause_s)
                self._wake.clear()
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            if n_sent:
                self._last_answer, self._is_away = time.monotonic(), False
                pause_s = _FIRST_PAUSE_S
            elif not self._left_over:
                self._wake.wait(_POLL_S)
                self._wake.clear()
            else:
                self._send_left_over(delivery)

    def _send_left_over(self, delivery: Delivery) -> None:
        """Send what the next earlier fit has left, as long as this one has nothing to say."""
        folder = self._left_over.pop(0)
        try:
            spool = Spool.read(folder)
            if not spool.n_unsent():
                return
            with spool.sending():
                other = Delivery(spool, self._store, self._stop.wait)
                while delivery.is_done and not self._stop.is_set():
                    if not other.step():
                        return
            self._left_over.append(folder)
        except BeingSentError:
            return
        except Exception:  # theirs is no business of this fit; `autotl sync` tells what is wrong
            self._store.disconnect()

    def _fail(self, error: Exception) -> None:
        self._is_away = True
        self._n_failures += 1
        self._store.disconnect()
        if self._has_warned or _are_ignored():
            return
        self._has_warned = True
        message = (
            f"nothing reaches the MLflow store {self._uri} for now "
            f"({without_secrets(str(error))[:300]}); the fit goes on, its records are kept and "
            f"sent when the store answers, at the latest by {self._command}"
        )
        try:
            warnings.warn(message, stacklevel=1)
        except UserWarning:  # where warnings are errors, this thread goes on as well
            return


def _are_ignored() -> bool:
    """Whether all warnings are, such as by another thread for a moment: filters are shared."""
    first = warnings.filters[0] if warnings.filters else None
    return first is not None and first[0] == "ignore" and first[2] is Warning
