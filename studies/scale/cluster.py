"""Two Ray nodes, PostgreSQL and an MLflow server, and in the middle a worker and a node are killed.

Both nodes are raylets of their own on this machine. ``autotl fit --executor ray`` places four
workers on them. When some trials have ended, one worker process gets SIGKILL, and after some more
trials the second node's raylet does. Counted are finished trials that are missing afterwards, in
Optuna's storage, in the fit's folder or in MLflow. The same fit with one worker says what the
verdict should be.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.postgresql import server, why_not
from studies.reliability.outage import Server as MlflowServer
from studies.scale.pictures import write_digits
from studies.scale.processes import below, command_of

_N_PICTURES, _N_WORKERS = 80, 4
_BUDGET_S, _LIMIT_S = 480.0, 3600.0
_N_STARTS = 4
"""Ray gives a node 30 s to start, which can't be set; on a busy machine it takes several tries."""
_NAME = "scale"


def run(quick: bool = False) -> dict[str, Any]:
    """Run the fit on the cluster, and once with one worker.

    Args:
        quick: 8 trials instead of 12.

    Returns:
        Figures; ``skipped`` with a reason where there is no PostgreSQL.
    """
    if why_not():
        return {"skipped": why_not()}
    n_trials = 8 if quick else 12
    with tempfile.TemporaryDirectory(prefix="autotl-scale-") as name:
        folder = Path(name)
        data = write_digits(folder / "digits", _N_PICTURES)
        one = _fit(data, folder / "one", n_trials, ["--workers", "1"])
        assert one.wait() == 0
        expected = _decision(folder / "one")
        with server() as database:
            mlflow = MlflowServer(folder)
            mlflow.start()
            try:
                found = _on_cluster(data, folder / "ray", n_trials, database.url, mlflow.uri)
            finally:
                mlflow.stop()
    return {
        **found,
        "one_worker": {"strategy": expected["strategy"], "verdict": expected["verdict"]},
    }


def _on_cluster(
    data: Path, output: Path, n_trials: int, storage: str, tracking: str
) -> dict[str, Any]:
    from ray.cluster_utils import Cluster

    from autotl.search.storage import open_storage

    cluster = Cluster()
    _started(lambda: cluster.add_node(num_cpus=2, include_dashboard=False))
    node = _started(lambda: cluster.add_node(num_cpus=2))
    options = ["--executor", "ray", "--ray-address", cluster.address]
    options += ["--workers", str(_N_WORKERS), "--storage", storage, "--tracking-uri", tracking]
    started = time.monotonic()
    fit = _fit(data, output, n_trials, options)
    try:
        opened = open_storage(storage)

        def ended() -> dict[int, float]:
            """Trials that were run to their end, or pruned, and their scores."""
            known = [own.study_name for own in opened.get_all_studies()]
            if _NAME not in known:
                return {}
            trials = opened.get_all_trials(opened.get_study_id_from_name(_NAME), deepcopy=False)
            return {t.number: float(t.value) for t in trials if t.value is not None}

        _until(lambda: len(ended()) >= n_trials // 4, fit)
        before_worker = ended()
        _kill_a_worker(node)
        _until(lambda: len(ended()) >= n_trials // 2, fit)
        before_node = ended()
        cluster.remove_node(node, allow_graceful=False)
        code = fit.wait(_LIMIT_S)
        after = ended()
    finally:
        fit.kill()
        cluster.shutdown()
    records = [json.loads(file.read_text()) for file in (output / _NAME / "trials").glob("*.json")]
    kept = {r["number"] for r in records if not r["repeat"]}
    sent = _sent(tracking)
    known = before_worker | before_node
    decided = _decision(output)
    return {
        "n_trials": n_trials,
        "exit_code": code,
        "n_before_worker_killed": len(before_worker),
        "n_before_node_killed": len(before_node),
        "n_finished": len(after),
        "n_lost": len([n for n in known if after.get(n) != known[n]]),
        "n_without_record": len(after.keys() - kept),
        "n_not_in_mlflow": len(after.keys() - sent),
        "report": (output / _NAME / "report.html").is_file(),
        "strategy": decided["strategy"],
        "verdict": decided["verdict"],
        "seconds": round(time.monotonic() - started, 1),
    }


def _fit(data: Path, output: Path, n_trials: int, options: list[str]) -> subprocess.Popen[bytes]:
    code = "from autotl.cli import main; main()"
    common = ["--study-name", _NAME, "--output", str(output), "--trials", str(n_trials)]
    common += ["--budget", str(_BUDGET_S), "--backbones", "embedded", "--device", "cpu", "--quiet"]
    command = [sys.executable, "-c", code, "fit", str(data), *common, *options]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _started(start: Callable[[], Any]) -> Any:
    """A node, if need be at the last of several tries."""
    for left in reversed(range(_N_STARTS)):
        try:
            return start()
        except Exception as error:  # Ray raises plain ones
            if not left or "timed out during startup" not in str(error):
                raise
            print(f"a Ray node didn't start in Ray's 30 s; {left} tries left", flush=True)


def _until(is_so: Callable[[], bool], fit: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _LIMIT_S
    while not is_so():
        if fit.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the fit ended before it could be disturbed")
        time.sleep(0.5)


def _kill_a_worker(node: Any) -> None:
    """SIGKILL to a process in which a worker runs, on that node."""
    raylet = next(info.process.pid for info in node.all_processes["raylet"])
    for pid in below(raylet):
        if "autotl worker" in command_of(pid):
            os.kill(pid, signal.SIGKILL)
            return
    raise RuntimeError("no worker runs on the second node")


def _sent(tracking: str) -> set[int]:
    """Numbers of the trials that MLflow has as finished."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking)
    experiments = [own.experiment_id for own in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`autotl.kind` = 'trial'", max_results=1000)
    return {int(run.data.tags["trial"]) for run in runs if run.info.status == "FINISHED"}


def _decision(output: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((output / _NAME / "decision.json").read_text())
    return values
