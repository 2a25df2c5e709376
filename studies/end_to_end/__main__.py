"""Real fits: autotl beside other policies, its budget, and what it said beside what is so.

    python -m studies.end_to_end [--part duels deadlines] [--policy NAME ...] [--anew] [--jobs N]
        [--work FOLDER] [--compile]
    python -m studies.end_to_end --quick

One processor thread for each job. Fits that were made are kept in the work folder, line by line,
so that an interrupted run goes on. Writes ``fits.json`` and ``figures.json`` beside this file. The
last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autotl.backbones.zoo import EMBEDDED
from studies.end_to_end import report
from studies.end_to_end.fits import OURS, Request, one_thread, run
from studies.end_to_end.rivals import RIVALS
from studies.outcomes.tasks import BACKBONES, SHARED

PARTS = ("duels", "deadlines")
WORK = Path.home() / ".cache" / "autotl" / "end_to_end"
FITS = Path(__file__).with_name("fits.json")
FIGURES = Path(__file__).with_name("figures.json")

_BUDGET_S = 120.0
_DUELS = (
    ("clothing10", 300),
    ("trashnet6", 1000),
    ("weather4", 300),
    ("sign_digits10", 100),
    ("bccd_cells3", 1000),
    ("pneumonia_xray2", 300),
    ("fsdd_spectrograms10", 100),
    ("omniglot136", 1000),
)
_N_DEADLINES = 30
_DATASETS = ("weather4", "trashnet6", "sign_digits10", "bccd_cells3", "fsdd_spectrograms10")
_SIZES = (60, 700)
_BUDGETS_S = (8.0, 60.0)


def duels() -> list[Request]:
    """Every data set once, at one of three sizes, by every policy."""
    return [
        Request("duels", dataset, n_train, BACKBONES, policy, _BUDGET_S, 0)
        for dataset, n_train in _DUELS
        for policy in (OURS, *RIVALS)
    ]


def deadlines() -> list[Request]:
    """Random data sets, sizes and budgets (log-uniform), the embedded backbone alone."""
    rng = np.random.default_rng(0)
    made = []
    for seed in range(_N_DEADLINES):
        dataset = str(rng.choice(_DATASETS))
        n_train = int(np.exp(rng.uniform(*np.log(_SIZES))))
        budget_s = round(float(np.exp(rng.uniform(*np.log(_BUDGETS_S)))), 1)
        made.append(Request("deadlines", dataset, n_train, (EMBEDDED,), OURS, budget_s, seed))
    return made


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.end_to_end")
    parser.add_argument("--quick", action="store_true", help="one short fit of each policy")
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--work", type=Path, default=WORK, help=f"default: {WORK}")
    parser.add_argument("--policy", nargs="+", default=[OURS, *RIVALS], choices=[OURS, *RIVALS])
    parser.add_argument("--anew", action="store_true", help="published fits are made once more")
    parser.add_argument("--compile", action="store_true", help="only sum up what is there")
    args = parser.parse_args(argv)
    if not (SHARED / "data").is_dir():
        print(json.dumps({"skipped": "../shared/data is absent"}))
        return
    if args.quick:
        policies = (OURS, *RIVALS)
        wanted = [Request("duels", "sign_digits10", 100, (EMBEDDED,), p, 20.0, 0) for p in policies]
        rows = _made(wanted, args.jobs, None)
        print(json.dumps(_summed_up(rows)))
        return
    wanted = [r for part in args.part for r in (duels() if part == "duels" else deadlines())]
    args.work.mkdir(parents=True, exist_ok=True)
    file = args.work / "fits.jsonl"
    known = _kept(file) if args.anew else _known(file)
    if not args.compile:
        missing = [r for r in wanted if r.policy in args.policy and r.key not in known]
        _made(missing, args.jobs, file)
    rows = sorted(_known(file).values(), key=lambda row: str(row["key"]))
    told = _summed_up(rows)
    FITS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    FIGURES.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told))


def _known(file: Path) -> dict[str, dict[str, Any]]:
    """Fits made before: in the work folder, or published."""
    published = json.loads(FITS.read_text()) if FITS.is_file() else []
    return {row["key"]: row for row in published} | _kept(file)


def _kept(file: Path) -> dict[str, dict[str, Any]]:
    """Those in the work folder."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def _made(requests: Sequence[Request], jobs: int, file: Path | None) -> list[dict[str, Any]]:
    started = time.monotonic()
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=one_thread, max_tasks_per_child=1
    ) as pool:
        for future in as_completed([pool.submit(run, request) for request in requests]):
            row = future.result()
            rows.append(row)
            if file is not None:
                with file.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
            minutes = (time.monotonic() - started) / 60
            print(
                f"{minutes:5.1f} min  {row['key']}: test {row['test']:.3f} in {row['seconds']:.1f} "
                f"of {row['budget_s']:g} s, {row['choice']}",
                flush=True,
            )
    return rows


def _summed_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    frame = pd.DataFrame(rows)
    told: dict[str, Any] = {}
    fights = frame[frame["part"] == "duels"]
    ours = frame[frame["policy"] == OURS].reset_index(drop=True)
    if len(fights):
        own = report.preferring_accuracy(fights[fights["policy"] == OURS], f"{OURS}-accuracy")
        told["duels"] = report.duels(pd.concat([fights, own]), OURS)
    if len(ours):
        told["deadlines"] = report.deadlines(ours)
        told["honesty"] = report.honesty(ours)
    return told


if __name__ == "__main__":
    main()
