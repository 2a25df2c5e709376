"""Kill -9 of everything at random moments: what is lost, what is there twice, what comes out?

A small real fit (45 handwritten digits of 3 classes, the embedded backbone at 32 px, 4 trials of
all three strategies with 2 epochs each, and the repeats of the best) runs in a process group of its
own, which is killed at a random moment of a random phase; then the same call is made again, until
the fit comes to its end, and the next one begins in an empty folder. After a kill one call in three
is left alone, so that many fits end. The process is forked from one that has imported everything,
so that the time goes into fits. Nothing but the number of epochs, and that a trial keeps its state
after each of them, differs from what a user would call.
"""

from __future__ import annotations

import importlib
import itertools
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

from studies.reliability.few import write_digits

FILE = Path(__file__).with_name("kill.json")
N_TRIALS = 4
_N_SAMPLES, _EPOCHS = 45, 2
_NAME = "it"
_PHASES, _DATA = "phases", "digits"
_LEFT_ALONE = 1 / 3
"""Of the calls after a kill, the share that nothing happens to."""
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
        quick: 6 and 2 kills instead of 40 and 12.

    Returns:
        Figures by number of workers; all kills together in ``n_kills``.
    """
    for module in ("autotl.api", "mlflow.store.tracking.sqlalchemy_store", "autotl.datasets"):
        importlib.import_module(module)  # before anything is forked
    found: dict[str, Any] = {}
    for n_workers, n_kills in ((1, 6 if quick else 40), (2, 2 if quick else 12)):
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
    write_digits(folder / _DATA, _N_SAMPLES)
    undisturbed = folder / "undisturbed"
    if not _call(undisturbed, n_workers, None):
        raise RuntimeError(f"the undisturbed fit failed: {_last_words(undisturbed)}")
    lasts_s = _lasting(undisturbed)
    expected, trials = _verdict(undisturbed), _trials(undisturbed)
    while sum(tally.kills.values()) < n_kills:
        output = folder / f"fit{tally.n_fits}"
        held: dict[str, str] = {}
        ended: bool | None = None
        while ended is None:
            is_over = sum(tally.kills.values()) >= n_kills
            is_left_alone = is_over or (output.exists() and rng.random() < _LEFT_ALONE)
            phase = rng.choice(list(lasts_s))
            moment = (phase, rng.uniform(0, lasts_s[phase]))
            ended = _call(output, n_workers, None if is_left_alone else moment)
            now = _records(output)
            tally.n_lost += sum(now.get(name) != content for name, content in held.items())
            held = now
            if ended is None:
                tally.kills[_phases(output)[-1][0]] += 1
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


def _call(output: Path, n_workers: int, moment: tuple[str, float] | None) -> bool | None:
    """Make the call in a process group; whether it succeeded, or None: it was killed.

    Args:
        output: of the fit.
        n_workers: of it.
        moment: to kill it at: a phase, and seconds from its beginning on; None: never.
    """
    output.mkdir(exist_ok=True)
    (output / _PHASES).write_text("")
    _begin_phase(output, "start")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_fit, args=(output, n_workers))
    process.start()
    assert process.pid is not None
    with suppress(PermissionError):  # it has a group of its own already
        os.setpgid(process.pid, process.pid)
    if moment is not None:
        while process.is_alive() and moment[0] not in dict(_phases(output)):
            time.sleep(0.002)
    process.join(None if moment is None else moment[1])
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
        import autotl.search.budget as budget
        import autotl.strategies.checkpoint as checkpoint
        from autotl.progress import Progress

        class Phases(Progress):
            def phase(self, name: str, time_left_s: float | None = None) -> None:
                _begin_phase(output, name)

        budget.UNLIMITED_EPOCHS = _EPOCHS
        checkpoint.LEAST_S = 0.0
        autotl.fit(
            output.parent / _DATA,
            time_budget_s=None,
            n_trials=N_TRIALS,
            backbones=["embedded@32px"],
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


def _begin_phase(output: Path, name: str) -> None:
    with (output / _PHASES).open("a") as file:
        file.write(f"{name} {time.monotonic()}\n")


def _phases(output: Path) -> list[tuple[str, float]]:
    """The phases of the last call until now, and when each began."""
    lines = [line.split() for line in (output / _PHASES).read_text().splitlines()]
    return [(name, float(began)) for name, began in (line for line in lines if len(line) == 2)]


def _lasting(output: Path) -> dict[str, float]:
    """Seconds of each phase of a call that has just ended."""
    began = [*_phases(output), ("", time.monotonic())]
    return {name: after - at for (name, at), (_, after) in itertools.pairwise(began)}


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
