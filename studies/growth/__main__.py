"""What a model gains that learns from all samples after it was validated on folds.

    python -m studies.growth [--quick] [--repeats N]

Fits linear models (``outcomes.jsonl.gz``, kept and gone on with), estimates how scores rise with
the samples, and says how right expectations are without and with it, each data set by what the
others say. The last line printed is one JSON object; its ``rise`` is ``KNOWN`` in
``autotl/recommend/growth.py``.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autotl.recommend.growth import KNOWN
from studies.analyzer.problems import SETS, SHARED
from studies.growth.estimate import FILE, Honesty, estimate, honesty, left_out, read, table_of
from studies.growth.measure import outcomes

_QUICK_SIZES = (60, 120)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.growth")
    parser.add_argument("--quick", action="store_true", help="few models; kept nowhere")
    parser.add_argument("--repeats", type=int, default=5, help="draws of each data set and size")
    arguments = parser.parse_args(argv)
    there = [name for name in SETS if (SHARED / "data" / name).is_dir()]
    rows = [] if arguments.quick or not FILE.is_file() else read()
    known = {(row["dataset"], row["repeat"]) for row in rows}
    for name in there:
        for repeat in range(1 if arguments.quick else arguments.repeats):
            if (name, repeat) in known:
                continue
            rows += outcomes(name, repeat, *((_QUICK_SIZES,) if arguments.quick else ()))
            if not arguments.quick:
                _write(FILE, rows)
        print(name, sum(row["dataset"] == name for row in rows), "models", flush=True)
    if len({row["dataset"] for row in rows}) < 2:
        print(json.dumps({"skipped": "fewer than two data sets in ../shared/data"}))
        return
    frame = table_of(rows)
    found = estimate(frame)
    others = left_out(frame)
    told: dict[str, Any] = {"models": len(frame), "rise": asdict(found), "known": asdict(KNOWN)}
    for name, rises in (("validated", dict.fromkeys(others)), ("expected", others)):
        every = honesty(frame, rises)
        told[name] = asdict(every)
        print(_line(name, every))
        for n_folds, rows_of in frame.groupby("n_folds"):
            print("  ", _line(f"{n_folds} folds", honesty(rows_of, rises)))
    print("rise by data set, mean (by the curve):")
    for name, own in frame.groupby("dataset"):
        print(f"  {name:<20} {own['rise'].mean():.2f} ({own['own'].mean():.2f})")
    print(json.dumps(told))


def _line(name: str, found: Honesty) -> str:
    low, high = found.bias_interval
    return (
        f"{name:<10} {found.n:>4} models: {found.bias:+.1f} points [{low:+.1f}, {high:+.1f}], "
        f"interval right {100 * found.covered:.0f} %, allowing for the test set's noise "
        f"{100 * found.allowing:.0f} %"
    )


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    part = file.with_suffix(".part")
    with gzip.open(part, "wt") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    part.replace(file)


if __name__ == "__main__":
    main()
