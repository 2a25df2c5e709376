"""Makes the outcome table.

    python -m studies.outcomes [--quick] [--work FOLDER] [--jobs N] [--strategy NAME ...]
        [--backbone NAME ...] [--dataset NAME ...] [--size N ...] [--part NAME ...] [--compile]

Runs what is missing, one processor thread for each job; what has been measured is kept in the work
folder, line by line, so that an interrupted run goes on. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from autotl.backbones.zoo import EMBEDDED
from studies.outcomes import table
from studies.outcomes.tasks import BACKBONES, SHARED, SIZES, SOURCES, task_names
from studies.outcomes.units import Unit, run_unit

PARTS = ("first", "all", "repeats")
WORK = Path.home() / ".cache" / "autotl" / "outcomes"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.outcomes")
    parser.add_argument("--quick", action="store_true", help="one small task, some minutes")
    parser.add_argument("--work", type=Path, default=WORK, help=f"default: {WORK}")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--strategy", nargs="+", default=["bottleneck", "finetune", "scratch"])
    parser.add_argument("--backbone", nargs="+", default=list(BACKBONES), choices=BACKBONES)
    parser.add_argument("--dataset", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--size", type=int, nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--compile", action="store_true", help="only write what is there")
    args = parser.parse_args(argv)
    if not (SHARED / "data").is_dir():
        print("skipped: ../shared/data is absent")
        print(json.dumps({"skipped": "../shared/data is absent"}))
        return
    started = time.monotonic()
    n_configs = 2 if args.quick else 0
    work = args.work / "quick" if args.quick else args.work
    names = task_names(("sign_digits10",) if args.quick else tuple(args.dataset))
    names = [name for name in names if name.n_train in args.size]
    names = names[:1] if args.quick else names
    backbones = [EMBEDDED] if args.quick else args.backbone
    units = [
        Unit(name, backbone, tuple(args.strategy), part, n_configs)
        for part in args.part
        for name in names
        for backbone in backbones
    ]
    work.mkdir(parents=True, exist_ok=True)
    if not args.quick:
        table.restore(work)
    if not args.compile:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
            futures = [pool.submit(run_unit, unit, work) for unit in units]
            for unit, future in zip(units, futures, strict=True):
                minutes = (time.monotonic() - started) / 60
                print(
                    f"{minutes:6.1f} min  {unit.task} {unit.backbone} {unit.part}: "
                    f"{future.result()} rows added",
                    flush=True,
                )
    rows = [row for file in sorted(work.glob("*.jsonl")) for row in table.from_lines(file.open())]
    frame = table.write(rows, work / "outcomes.parquet" if args.quick else table.FILE)
    complete = frame[frame["state"] == "complete"]
    figures = {
        "rows": len(frame),
        "tasks": int(complete.groupby(["dataset", "n_train"]).ngroups),
        "configs": int(complete.groupby(["backbone", "strategy", "name"]).ngroups),
        "processor_hours": round(float(frame["seconds"].sum()) / 3600, 2),
        "processor_hours_without_store": round(float(frame["seconds_without"].sum()) / 3600, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
