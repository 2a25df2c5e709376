"""A PostgreSQL server of one's own: Debian's package, in a temporary folder, on a socket there.

Where this is root's process, it runs as another user. Without the package or a driver for
SQLAlchemy (psycopg, psycopg2 or pg8000) there is none, and :func:`why_not` says so.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DRIVERS = ("psycopg", "psycopg2", "pg8000")
_BINARIES = (Path("/usr/local/bin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin")))
_START_S = 60.0


def why_not() -> str:
    """Why there is no PostgreSQL; empty: there is."""
    if _binary("initdb") is None or _binary("postgres") is None:
        return "no initdb and postgres (Debian's package postgresql)"
    if _driver() is None:
        return f"no driver for SQLAlchemy is installed: {', '.join(_DRIVERS)}"
    if os.getuid() == 0 and _other_user() is None:
        return "root's process can't run it, and there is no user postgres or nobody"
    return ""


class Server:
    """A server that can be stopped and started again.

    Args:
        folder: of its data, which belongs to the user that it runs as.
        n_connections: at most.
    """

    def __init__(self, folder: Path, n_connections: int = 100) -> None:
        self.folder = folder
        self._user = _other_user() if os.getuid() == 0 else None
        self._options = ["-D", str(folder / "data"), "-k", str(folder), "-p", "5432"]
        self._options += ["-c", "listen_addresses=", "-c", f"max_connections={n_connections}"]
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(folder, self._user)
        subprocess.run(
            [str(_binary("initdb")), "-D", str(folder / "data"), "-U", "autotl", "-A", "trust"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd=folder,
        )

    @property
    def url(self) -> str:
        """SQLAlchemy's, of its database."""
        driver = _driver()
        name = "unix_sock" if driver == "pg8000" else "host"
        place = self.folder / ".s.PGSQL.5432" if driver == "pg8000" else self.folder
        return f"postgresql+{driver}://autotl@/postgres?{name}={place}"

    @property
    def pid(self) -> int:
        """Of its first process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [str(_binary("postgres")), *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd=self.folder,
        )
        _wait_for(self.url)

    def stop(self) -> None:
        """End it at once, whoever is connected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None


@contextmanager
def server(n_connections: int = 100) -> Iterator[Server]:
    """A server that runs, in a temporary folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="autotl-pg-"))
    own = Server(folder, n_connections)
    try:
        own.start()
        yield own
    finally:
        own.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name: str) -> Path | None:
    return next((folder / name for folder in _BINARIES if (folder / name).is_file()), None)


def _driver() -> str | None:
    return next((name for name in _DRIVERS if importlib.util.find_spec(name)), None)


def _other_user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


def _wait_for(url: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    until = time.monotonic() + _START_S
    while True:
        engine = create_engine(url)
        try:
            engine.connect().close()
            return
        except SQLAlchemyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        finally:
            engine.dispose()
