"""``autotl ui``: MLflow's own UI on the store of an output folder."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from autotl.cli import options
from autotl.cli.terminal import errors_to_exits, say
from autotl.errors import InputError

STORE = "mlflow.db"
_PATIENCE_S = 10.0
_VIEW = "viewStateShareKey=autotl"
"""The view that :mod:`autotl.tracking.mlflow` saves with the experiment."""


@errors_to_exits
def ui(
    output: options.Output = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    debug: options.Debug = False,
) -> None:
    """Open MLflow's UI on the fits of an output folder. Ctrl-C ends it."""
    folder = output or options.DEFAULT_OUTPUT
    command = ui_command(folder, host, port)
    if not is_loopback(host):
        say(
            f"warning: {host} is reachable from other machines, and MLflow asks for no password: "
            "whoever reaches it can read, change and delete these runs; leave --host out to keep "
            "it on this machine",
            style="yellow",
        )
    require_free(host, port)
    address = f"http://{_in_url(host)}:{port}"
    say(f"MLflow on {address} (Ctrl-C ends it)")
    say(f"all trials, best first: {address}/#{trials_page(folder.expanduser() / STORE)}")
    code = run_until_interrupted(command, _environment())
    if code != 0:
        raise InputError(f"MLflow's server ended by itself with exit code {code}; see above")


def ui_command(output: Path, host: str, port: int) -> list[str]:
    """The command line of MLflow's UI, run by this same Python.

    Raises:
        InputError: if the folder holds no MLflow store.
    """
    folder = output.expanduser().absolute()
    store = folder / STORE
    if not store.is_file():
        raise InputError(
            f"no MLflow store in {output} (looked for {store}); run `autotl demo --output "
            f"{output}` or `autotl fit DATA --output {output}` first, or give the --output folder "
            "of an earlier fit"
        )
    return [
        *(sys.executable, "-m", "mlflow", "ui"),
        *("--backend-store-uri", f"sqlite:///{store}"),
        *("--default-artifact-root", (folder / "mlartifacts").as_uri()),
        *("--host", host),
        *("--port", str(port)),
        *("--workers", "1"),
    ]


def trials_page(store: Path) -> str:
    """The page of MLflow's UI that shows the trials by score, as autotl saved it."""
    found = None
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(store)) as connection:
        found = connection.execute(
            "SELECT experiment_id FROM experiments WHERE name = 'autotl'"
        ).fetchone()
    return "/experiments" if found is None else f"/experiments/{found[0]}/runs?{_VIEW}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_free(host: str, port: int) -> None:
    """See that one can listen there.

    Raises:
        InputError: if the port is taken, or the address isn't this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"can't listen on {host}:{port}: {error.strerror or error}; give another --port, "
                f"e.g. --port {port + 1 if port < 65535 else 5000}, or end what listens there"
            ) from error


def run_until_interrupted(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program; at Ctrl-C or SIGTERM, end it and wait until it is gone.

    Args:
        command: program and arguments.
        environment: variables.

    Returns:
        Its exit code; 0 if it was ended so.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
        signal.signal(signal.SIGTERM, before)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server and the processes it started, gently at first."""
    if server.poll() is None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            server.wait(_PATIENCE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)  # what its own workers left behind
    server.wait()


def _environment() -> dict[str, str]:
    """The user's variables; unless they say otherwise, no telemetry and no queue of server jobs,
    which is of no use here and takes eight more processes."""
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    return {**defaults, **os.environ}


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
