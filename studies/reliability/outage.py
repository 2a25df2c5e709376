"""Is a fit slower, or its record incomplete, when the MLflow server is away while it runs?

A real server, its processes started here on loopback with a SQLite store of their own, is stopped,
frozen (SIGSTOP) and started again while the same small fit runs. What it holds in the end, after
``autotl sync``, is compared with what the fit's spool says it was told.

Other jobs on the machine, the server among them, would be most of a difference in wall time. So a
fit's seconds are those in which its main thread ran or was blocked by something; that it waited for
a core is left out, as Linux counts it. How long it was blocked is given by itself: training that
waited for MLflow would be.

    python -m studies.reliability.outage [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

from studies.reliability.few import write_digits

FILE = Path(__file__).with_name("outage.json")
N_TRIALS, N_PICTURES, N_EPOCHS = 8, 60, 3
_SCENARIOS = ("undisturbed", "stopped", "frozen", "restarted", "absent")
_TIMES = ("seconds", "blocked_s", "wall_s")
_FIT = """
import json, sys, time, warnings
import autotl
import autotl.search.budget as budget
from autotl.progress import Progress

class Told(Progress):
    def trial_ended(self, number, *rest):
        print("trial", number, flush=True)

pictures, n_trials, output, uri = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
def used():
    ran, waited, _ = open("/proc/self/schedstat").read().split()
    return time.perf_counter() - int(waited) / 1e9, int(ran) / 1e9

budget.UNLIMITED_EPOCHS = int(sys.argv[5])
began, (own, ran) = time.perf_counter(), used()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    autotl.fit(
        pictures, n_trials=n_trials, time_budget_s=None, backbones=["embedded@32px"],
        output_dir=output, tracking_uri=uri, study_name="fit", progress=Told(), warm_start=False,
    )
told = [str(w.message) for w in caught if "MLflow" in str(w.message)]
now, ran_now = used()
seconds = {"seconds": now - own, "blocked_s": now - own - (ran_now - ran)}
wall_s = time.perf_counter() - began
print("done", json.dumps({**seconds, "wall_s": wall_s, "warnings": told}), flush=True)
"""


class Server:
    """An MLflow server on loopback that can be stopped, frozen and started again.

    Args:
        folder: of its store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        variables = {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
        variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "2"),
            *("--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"),
            *("--artifacts-destination", (self._folder / "artifacts").as_uri()),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **variables},
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        while wait and not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"no server: see {self._folder / 'server.log'}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:
            return bool(reply.status == 200)
        return False

    def stop(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop its processes: connections are taken and never answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def run(quick: bool) -> dict[str, Any]:
    """Fits beside a server that is well and beside one that is not.

    Args:
        quick: one fit of each kind instead of three, in turn.

    Returns:
        By scenario: medians of ``seconds`` (of these, ``blocked_s``) and ``wall_s``; ``slower``
        (against undisturbed, as a share), ``n_warnings``, ``n_expected`` and ``n_found`` (figures),
        ``share_found``, ``n_left`` (operations, before the sync), ``n_duplicates`` (runs, and
        figures of the same step).
    """
    n_repeats = 1 if quick else 3
    found: dict[str, list[dict[str, Any]]] = {scenario: [] for scenario in _SCENARIOS}
    _warm_up()
    for _ in range(n_repeats):
        for scenario in _SCENARIOS:
            found[scenario].append(_observe(scenario))
            print(f"{scenario}: {found[scenario][-1]}", flush=True)
    usual = median(one["seconds"] for one in found["undisturbed"])
    told: dict[str, Any] = {}
    for scenario, ones in found.items():
        middle = {name: median(one[name] for one in ones) for name in _TIMES}
        total = {name: sum(one[name] for one in ones) for name in ones[0] if name not in _TIMES}
        told[scenario] = {
            "n_fits": len(ones),
            **{name: round(seconds, 2) for name, seconds in middle.items()},
            "slower": round(middle["seconds"] / usual - 1, 4),
            **total,
            "share_found": total["n_found"] / total["n_expected"],
            "most_warnings": max(one["n_warnings"] for one in ones),
        }
    if not quick:
        FILE.write_text(json.dumps(told, indent=1) + "\n")
    return told


def _warm_up() -> None:
    """One fit that nobody times: files are read into the memory of the machine."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/warm.db"
        for _ in _lines_of_fit(Path(folder), uri, n_trials=1):
            pass


def _observe(scenario: str) -> dict[str, Any]:
    """One fit beside a server to which that happens."""
    with tempfile.TemporaryDirectory() as place, _served(Path(place)) as server:
        if scenario == "absent":
            server.stop()
        acts = _acts(scenario, server)
        told: dict[str, Any] = {}
        for line in _lines_of_fit(Path(place), server.uri, N_TRIALS):
            word, _, rest = line.partition(" ")
            if word == "trial" and acts:
                # The number of ended trials says when, so that it is in the middle everywhere.
                _after(acts.pop(0))
            if word == "done":
                told = json.loads(rest)
        for act in acts:
            act()
        server.thaw()
        if not server._answers():
            server.stop()
            server.start()
        return _checked(Path(place), server.uri, told)


def _acts(scenario: str, server: Server) -> list[Callable[[], None]]:
    """What happens to the server after each ended trial, in turn."""

    def nothing() -> None:
        pass

    def start() -> None:
        server.start(wait=False)

    return {
        "undisturbed": [],
        "absent": [],
        "stopped": [nothing, nothing, server.stop],
        "frozen": [nothing, nothing, server.freeze],
        "restarted": [
            *(nothing, server.stop, nothing, start, nothing),
            *(server.freeze, nothing, nothing, server.thaw),
        ],
    }[scenario]


def _after(act: Callable[[], None]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


@contextmanager
def _served(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _lines_of_fit(folder: Path, uri: str, n_trials: int) -> Iterator[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    variables.pop("MLFLOW_TRACKING_URI", None)
    pictures = write_digits(folder / "digits", N_PICTURES)
    given = [str(pictures), str(n_trials), str(folder / "out"), uri, str(N_EPOCHS)]
    command = [sys.executable, "-c", _FIT, *given]
    place: dict[str, Any] = {"env": variables, "cwd": folder}
    with subprocess.Popen(command, **place, stdout=subprocess.PIPE, text=True) as fit:
        assert fit.stdout is not None
        yield from fit.stdout
    if fit.returncode:
        raise RuntimeError(f"the fit ended with exit code {fit.returncode}")


def _checked(folder: Path, uri: str, told: dict[str, Any]) -> dict[str, Any]:
    """Sync, and compare what the server has with what the fit was told to record."""
    from mlflow.tracking import MlflowClient

    from autotl.tracking.spool import Spool
    from autotl.tracking.store import EXPERIMENT, ID_TAG

    (place,) = (folder / "out" / "fit" / "mlflow").iterdir()
    spool = Spool.read(place)
    n_left = spool.n_unsent()
    sync = [sys.executable, "-c", "from autotl.cli import main; main()", "sync"]
    done = subprocess.run([*sync, "--output", str(folder / "out")], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"autotl sync: {done.stdout}{done.stderr}")
    wanted = Counter(_figures_of(spool))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    ids = Counter(run.data.tags[ID_TAG] for run in runs)
    has = Counter(
        (run.data.tags[ID_TAG], name, point.step, point.value)
        for run in runs
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )
    open_runs = sum(run.info.status == "RUNNING" for run in runs)
    return {
        **{name: told[name] for name in _TIMES},
        "n_warnings": len(told["warnings"]),
        "n_runs": len(ids),
        "n_open_runs": open_runs,
        "n_expected": len(wanted),
        "n_found": len(set(wanted) & set(has)),
        "n_left": n_left,
        "n_duplicates": sum(n - 1 for n in ids.values()) + sum((has - wanted).values()),
    }


def _figures_of(spool: Any) -> Iterator[tuple[str, str, int, float]]:
    offset = 0
    while lines := spool.lines(offset):
        for line in lines:
            if line.operation.get("do") == "metrics":
                run, step = line.operation["run"], line.operation["step"]
                for name, value in line.operation["values"].items():
                    yield run, name, step, value
        offset = lines[-1].end


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.reliability.outage")
    parser.add_argument("--quick", action="store_true", help="one fit of each kind")
    print(json.dumps(run(parser.parse_args(argv).quick)))


if __name__ == "__main__":
    main()
