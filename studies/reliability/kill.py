"""Kill -9 of everything at random moments: what is lost, what is there twice, what comes out?

A small real fit (60 handwritten digits of 3 classes, the embedded backbone, 4 trials of all three
strategies with 2 epochs each, and the repeats of the best) runs in a process group of its own,
which is killed after a random time; then the same call is made again, until the fit comes to its
end, and the next one begins in an empty folder. The process is forked from one that has imported
everything, so that the time goes into fits. What a picture costs is given, not measured, so that
the order of the trials doesn't hang on a clock.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("kill.json")
N_TRIALS = 4
_N_SAMPLES, _CLASSES, _EPOCHS = 60, "012", 2
_NAME = "it"
_VERDICT = ("strategy", "config", "verdict", "headline", "metric", "expected", "test")


@dataclass
class Tally:
    """What was seen.

    Attributes:
        kills: by phase of the fit.
        n_fits: that came to their end.
        n_lost: finished trials and repeats that were gone or changed afterwards.
        n_duplicates: trials that were there twice, in Optuna, on disk or in MLflow.
        n_errors: calls that ended by an error.
        n_other_verdicts: ends with another verdict than the undisturbed fit's.
        n_other_trials: ends with other trials or scores than the undisturbed fit's.
        errors: the last lines of such ends.
    """

    kills: Counter[str] = field(default_factory=Counter)
    n_fits: int = 0
    n_lost: int = 0
    n_duplicates: int = 0
    n_errors: int = 0
    n_other_verdicts: int = 0
    n_other_trials: int = 0
    errors: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """As plain values."""
        return {"n_kills": sum(self.kills.values())} | vars(self) | {"kills": dict(self.kills)}


def run(quick: bool = False) -> dict[str, Any]:
    """Kill fits of one worker and of two.

    Args:
        quick: 8 and 3 kills instead of 40 and 15.

    Returns:
        Figures by number of workers; all kills together in ``n_kills``.
    """
    for module in ("autotl.search.executors.local", "mlflow.tracking"):
        importlib.import_module(module)  # before anything is forked
    found: dict[str, Any] = {}
    for n_workers, n_kills in ((1, 8 if quick else 40), (2, 3 if quick else 15)):
        with tempfile.TemporaryDirectory(prefix="autotl-kill-") as folder:
            tally = _fits(Path(folder), n_workers, n_kills)
        found[f"workers_{n_workers}"] = tally.figures()
        print(f"{n_workers} workers: {tally.figures()}", flush=True)
    found["n_kills"] = sum(own["n_kills"] for own in found.values())
    if not quick:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _fits(folder: Path, n_workers: int, n_kills: int) -> Tally:
    rng, tally = random.Random(n_workers), Tally()
    started = time.monotonic()
    undisturbed = folder / "undisturbed"
    if not _call(undisturbed, n_workers, None):
        raise RuntimeError(f"the undisturbed fit failed: {_last_words(undisturbed)}")
    takes_s = time.monotonic() - started
    expected, trials = _verdict(undisturbed), _trials(undisturbed)
    while sum(tally.kills.values()) < n_kills:
        output = folder / f"fit{tally.n_fits}"
        held: dict[str, str] = {}
        for _ in range(200):
            is_last = sum(tally.kills.values()) >= n_kills
            ended = _call(output, n_workers, None if is_last else rng.uniform(0, 0.8 * takes_s))
            now = _records(output)
            tally.n_lost += sum(now.get(name) != content for name, content in held.items())
            held = now
            if ended is not None:
                break
            tally.kills[_phase(output)] += 1
        if not ended:
            tally.n_errors += 1
            tally.errors.append(_last_words(output))
        else:
            tally.n_duplicates += _duplicates(output)
            if n_workers == 1:
                tally.n_other_verdicts += _verdict(output) != expected
                tally.n_other_trials += _trials(output) != trials
        tally.n_fits += 1
        done = sum(tally.kills.values())
        print(f"{n_workers} workers, {done} kills, {tally.n_fits} fits: {tally}", flush=True)
    return tally


def _call(output: Path, n_workers: int, kill_after_s: float | None) -> bool | None:
    """Make the call in a process group; whether it succeeded, or None: it was killed."""
    output.mkdir(exist_ok=True)
    (output / "phase").write_text("start")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_fit, args=(output, n_workers))
    process.start()
    assert process.pid is not None
    with suppress(PermissionError):  # it has a group of its own already
        os.setpgid(process.pid, process.pid)
    process.join(kill_after_s)
    if process.exitcode is not None:
        return process.exitcode == 0
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    return None


def _fit(output: Path, n_workers: int) -> None:
    """The call, in a process of its own."""
    os.setpgid(0, 0)
    log = os.open(output / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        import autotl
        import autotl.preparation as preparation
        import autotl.search.budget as budget
        import autotl.strategies.checkpoint as checkpoint
        from autotl.progress import Progress

        class Phases(Progress):
            def phase(self, name: str, time_left_s: float | None = None) -> None:
                (output / "phase").write_text(name)

        budget.UNLIMITED_EPOCHS = _EPOCHS
        checkpoint.LEAST_S = 0.0
        preparation.measure_speed = _speed  # type: ignore[assignment]
        autotl.fit(
            _data(),
            time_budget_s=None,
            n_trials=N_TRIALS,
            backbones=["embedded"],
            prefer="accuracy",
            device="cpu",
            workers=n_workers,
            output_dir=output,
            study_name=_NAME,
            progress=Phases(),
        )
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _speed(backbone: Any, *_: object) -> Any:
    from autotl.backbones.speed import Speed

    shares = [depth / backbone.num_stages for depth in range(backbone.num_stages + 1)]
    forward, train = [1e-3 * share for share in shares], [4e-3 * (1 - share) for share in shares]
    return Speed("fp32", True, tuple(forward), (*train[:-1], 1e-5))


def _data() -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    from autotl.datasets import digits

    pictures, labels = digits()
    kept = np.flatnonzero(np.isin(labels, list(_CLASSES)))[:_N_SAMPLES]
    return pictures[kept], labels[kept]


def _phase(output: Path) -> str:
    return (output / "phase").read_text() or "start"


def _last_words(output: Path) -> str:
    return "\n".join((output / "log").read_text().splitlines()[-4:])


def _records(output: Path) -> dict[str, str]:
    """Finished trials and repeats on disk, by file."""
    trials = output / _NAME / "trials"
    files = [*trials.glob("*.json"), *(trials / "repeats").glob("*.json")]
    found = {str(file.relative_to(output)): file.read_text() for file in files}
    return {name: text for name, text in found.items() if json.loads(text)["state"] == "complete"}


def _verdict(output: Path) -> dict[str, Any]:
    decided = json.loads((output / _NAME / "decision.json").read_text())
    return {name: decided[name] for name in _VERDICT}


def _trials(output: Path) -> list[Any]:
    """What was tried and what came out, repeats included, in order."""
    listed = [json.loads(text) for text in _records(output).values()]
    return sorted(
        [v["number"], v["repeat"], v["strategy"], v["config"], v["result"]["metrics"]]
        for v in listed
    )


def _duplicates(output: Path) -> int:
    """Trials too many: in Optuna, and in MLflow, where a run that was killed doesn't count."""
    import optuna
    from mlflow.tracking import MlflowClient

    study = optuna.load_study(study_name=_NAME, storage=f"sqlite:///{output / 'optuna.db'}")
    configs = [json.dumps(trial.user_attrs.get("config")) for trial in study.trials]
    n_twice = len(study.trials) - N_TRIALS + len(configs) - len(set(configs))
    n_twice += sum(not trial.state.is_finished() for trial in study.trials)
    client = MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    experiments = [own.experiment_id for own in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    alive = [own for own in runs if own.info.status != "KILLED"]
    names = Counter(
        (own.data.tags.get("trial"), own.data.params.get("seed"), own.data.tags["autotl.kind"])
        for own in alive
    )
    return n_twice + sum(n - 1 for n in names.values())


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv[1:])))
