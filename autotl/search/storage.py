"""Optuna's storage, opened without what training needs: whoever only reads it loads no torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from autotl.errors import AutotlError, InputError, is_disk_full
from autotl.naming import without_secrets

WAIT_S = 600.0
"""So long a fit or a worker waits for a database server that is away before it gives up."""
_PAUSES_S = (0.2, 5.0)
"""Between tries, the first and the longest; each time twice as long."""
_KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
"""A server so learns within a minute that a machine is gone, and frees the locks that it held."""
_NOT_YET = ("too many", "remaining connection slots", "starting up", "shutting down", "recovery")
_AT_ONCE = ("already exists", "duplicate key")
"""Words of a server that will answer soon, or in which another process is making the tables."""

T = TypeVar("T")


class StorageAwayError(AutotlError, OSError):
    """A database server that was there before has been away for too long."""


class PatientStorage(RDBStorage):
    """A storage on a database server; while that is away, every method waits for it.

    A request that was cut off may have been carried out, and is repeated: attributes, parameters
    and reports are the same twice, an end that was told before counts as told, and a trial that was
    created for nobody is one of those that :mod:`autotl.search.watcher` gives to somebody else.
    """

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """As of the base class, but for an end that was told before."""
        asked = 0

        def tell() -> bool:
            nonlocal asked
            asked += 1
            try:
                return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if asked > 1 and super(PatientStorage, self).get_trial(trial_id).state == state:
                    return True
                raise

        return patiently(tell)


def patiently(ask: Callable[[], T], wait_s: float = WAIT_S) -> T:
    """What a server answers, once it does.

    Args:
        ask: asks it; is repeated while the server is away.
        wait_s: at most so long.

    Raises:
        StorageAwayError: if it stays away.
    """
    until, pause_s = time.monotonic() + wait_s, _PAUSES_S[0]
    while True:
        try:
            return ask()
        except Exception as error:
            if not is_away(error):
                raise
            if time.monotonic() > until:
                raise StorageAwayError(
                    f"Optuna's storage has not answered for {wait_s:.0f} s ({_reason(error)}); "
                    "what was finished is kept: start it and give the same command again"
                ) from error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSES_S[1])


@contextmanager
def meanwhile(do: Callable[[], object], every_s: float, name: str) -> Iterator[None]:
    """Ask a server something every few seconds, in a thread, until the block is left.

    What fails as the server is away is done again the next time.

    Args:
        do: asks it.
        every_s: seconds between.
        name: of the thread.
    """
    stopped = threading.Event()

    def go_on() -> None:
        while not stopped.wait(every_s):
            try:
                do()
            except Exception as error:
                if not is_away(error):
                    raise

    thread = threading.Thread(target=go_on, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def is_away(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that a server can't be reached for now.

    A full disk is none that waiting mends.
    """
    if is_disk_full(error):
        return False
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError):
            return True
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        error = error.__cause__
    return False


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @wraps(method)
    def call(self: PatientStorage, *args: Any, **options: Any) -> Any:
        return patiently(lambda: method(self, *args, **options))

    return call


_OF_CACHES = ("_get_trials", "_create_new_trial", "_set_trial_param", "_get_best_trial_id")
"""Methods that Optuna's cache in front of a storage calls besides the public ones."""
_OWN = vars(PatientStorage).keys()
for _name in (*BaseStorage.__abstractmethods__, *_OF_CACHES):
    if _name not in _OWN:
        setattr(PatientStorage, _name, _patient(_name))


def open_storage(url: str) -> RDBStorage:
    """Optuna's storage: a SQLite file is made to wait for other writers, a server is waited for.

    Raises:
        InputError: if there is no such storage, or no driver for it.
    """
    try:
        if is_file(url):
            return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
        return _open_server(url)
    except ArgumentError as error:
        raise InputError(
            f"storage must be a URL such as postgresql://user:password@host/database or "
            f"sqlite:///folder/optuna.db, but got {without_secrets(url)!r}"
        ) from error
    except (ImportError, StorageInternalError, DBAPIError) as error:
        remedy = "start the server or correct the URL"
        if isinstance(error, ImportError):
            remedy = "pip install 'autotl[postgresql]', or the driver of another database"
        raise InputError(
            f"storage {without_secrets(url)!r} can't be opened: {_reason(error)}; {remedy}"
        ) from error


def is_file(url: str) -> bool:
    """Whether a storage is a SQLite file, which processes of one machine can share."""
    return url.startswith("sqlite")


def _open_server(url: str) -> PatientStorage:
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 8}
    if url.startswith(("postgres://", "postgresql://")):
        url = f"postgresql+psycopg://{url.partition('://')[2]}"
    if url.startswith("postgresql+psycopg"):
        settings = " ".join(f"-c {name}={value}" for name, value in _KEEPALIVE.items())
        options["connect_args"] = {"options": settings}
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return PatientStorage(url, engine_kwargs=options)
        except (StorageInternalError, DBAPIError) as error:
            if time.monotonic() > until or not any(
                word in _reason(error) for word in (*_NOT_YET, *_AT_ONCE)
            ):
                raise
        time.sleep(1.0)


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return without_secrets(" ".join(str(error).split()))[:300]
