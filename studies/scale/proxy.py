"""Optuna's gRPC proxy before PostgreSQL, beside connections of one's own: what clients can do.

Plain Optuna, without training or sleep: each client asks for trials, notes what autotl notes of one
(seven attributes, five reports), reads the study's trials and tells. ``direct``: each client has a
connection. ``proxy``: one process has one, and the clients talk to that.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import socket
import time
import warnings
from contextlib import suppress
from typing import Any

import optuna
from optuna.storages import BaseStorage

from studies.postgresql import Server, server, why_not
from studies.scale.processes import below, command_of, cpu_s

_NAME = "proxy"
_N_ATTRIBUTES, _N_REPORTS = 7, 5
_START_S = 30.0


def run(quick: bool = False) -> dict[str, Any]:
    """Both ways, with as many trials.

    Args:
        quick: 8 clients of 4 trials; else 1 and 32 clients of 6.

    Returns:
        Figures by way and number of clients; ``skipped`` with a reason where something is missing.
    """
    if why_not():
        return {"skipped": why_not()}
    if importlib.util.find_spec("grpc") is None:
        return {"skipped": "grpcio and protobuf aren't installed"}
    sizes, n_each = ((8,), 4) if quick else ((1, 32), 6)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    for way in ("direct", "proxy"):
        found[way] = {}
        for n in sizes:
            with server(n_connections=3 * n + 40) as database:
                found[way][str(n)] = _measured(way, n, n_each, database)
            print(way, n, found[way][str(n)], flush=True)
    return found


def _measured(way: str, n: int, n_each: int, database: Server) -> dict[str, float]:
    context = multiprocessing.get_context("fork")
    port = _free_port()
    between = context.Process(target=_serve, args=(database.url, port), daemon=True)
    if way == "proxy":
        between.start()
        _wait_for(port)
    ready, go, told = context.Barrier(n + 1), context.Event(), context.Queue()
    clients = [
        context.Process(target=_work, args=(way, database.url, port, n_each, ready, go, told))
        for _ in range(n)
    ]
    first = context.Process(target=_create, args=(database.url,))
    first.start()
    first.join()
    for client in clients:
        client.start()
    ready.wait()
    n_connections = _n_connections(database)
    database_s, between_s = cpu_s(database.pid), _cpu_s(between)
    began = time.monotonic()
    go.set()
    cpu = [told.get() for _ in clients]
    wall_s = time.monotonic() - began
    n_trials = n * n_each
    found = {
        "n_trials": n_trials,
        "trials_per_s": round(n_trials / wall_s, 1),
        "client_cpu_ms": round(1e3 * sum(cpu) / n_trials, 1),
        "database_cpu_ms": round(1e3 * (cpu_s(database.pid) - database_s) / n_trials, 1),
        "proxy_cpu_ms": round(1e3 * (_cpu_s(between) - between_s) / n_trials, 1),
        "connections": n_connections,
    }
    for client in clients:
        client.join()
    if way == "proxy":
        between.terminate()
        between.join()
    return found


def _create(url: str) -> None:
    optuna.create_study(study_name=_NAME, storage=url)


def _work(way: str, url: str, port: int, n_each: int, ready: Any, go: Any, told: Any) -> None:
    study = optuna.load_study(study_name=_NAME, storage=_open(way, url, port))
    ready.wait()
    go.wait()
    before = time.process_time()
    for _ in range(n_each):
        trial = study.ask()
        for k in range(_N_ATTRIBUTES):
            trial.set_user_attr(f"attribute{k}", {"value": k})
        for step in range(_N_REPORTS):
            trial.report(0.5, step)
        study.get_trials(deepcopy=False)
        study.tell(trial, 0.5)
    told.put(time.process_time() - before)


def _open(way: str, url: str, port: int) -> BaseStorage | str:
    if way == "direct":
        return url
    from optuna.storages import GrpcStorageProxy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return GrpcStorageProxy(host="127.0.0.1", port=port)


def _serve(url: str, port: int) -> None:
    from optuna.storages import RDBStorage, run_grpc_proxy_server

    run_grpc_proxy_server(RDBStorage(url), host="127.0.0.1", port=port)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.1)
    raise TimeoutError(f"the proxy didn't answer in {_START_S:.0f} s")


def _n_connections(database: Server) -> int:
    """PostgreSQL has a process for each, besides some of its own."""
    return sum(" autotl postgres " in command_of(pid) for pid in below(database.pid))


def _cpu_s(process: Any) -> float:
    return 0.0 if process.pid is None else cpu_s(process.pid)
