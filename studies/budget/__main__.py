"""Is the time budget kept, and what does a search cost beside its trials?

    python -m studies.budget [--quick] [--fits N] [--sizes N ...] [--only deadline|overhead]

Figures go to ``budget.json`` beside this file. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import autotl
from autotl.datasets.digits import digits
from studies.budget.deadline import SHARED, fits
from studies.budget.overhead import grows

FILE = Path(__file__).with_name("budget.json")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.budget")
    parser.add_argument("--quick", action="store_true", help="2 fits, 10 and 100 trials")
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 5000])
    parser.add_argument("--only", choices=("deadline", "overhead"))
    args = parser.parse_args(argv)
    n_fits, sizes = (2, [10, 100]) if args.quick else (args.fits, args.sizes)
    known: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
    told: dict[str, Any] = {}
    if args.only != "deadline":
        found = _overhead(sizes)
        known["overhead_ms"] = {str(n): parts for n, parts in found.items()}
        told["overhead_ms"] = {str(n): parts["all"] for n, parts in found.items()}
    if args.only != "overhead":
        if (SHARED / "data").is_dir():
            known["deadline"], told["deadline"] = _deadline(n_fits)
        else:
            print("no fits: ../shared/data is absent")
    if not args.quick:
        FILE.write_text(json.dumps(known, indent=1) + "\n")
    print(json.dumps(told))


def _overhead(sizes: list[int]) -> dict[int, dict[str, float]]:
    pictures, labels = digits()
    profile = autotl.analyze((pictures[:500], labels[:500]), backbones=["embedded"]).profile
    found = grows(sizes, profile)
    for n_before, parts in found.items():
        listed = ", ".join(f"{name} {ms:g}" for name, ms in parts.items())
        print(f"after {n_before} trials, ms: {listed}", flush=True)
    return found


def _deadline(n_fits: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    made = []
    for found in fits(n_fits):
        print(
            f"{found.dataset} ({found.n_pictures} pictures): {found.seconds:.1f} s of "
            f"{found.budget_s:.1f} s, {found.n_trials} trials, {found.phases}",
            flush=True,
        )
        made.append(found)
    late = [found for found in made if found.overrun_s > max(3.0, 0.05 * found.budget_s)]
    worst = max(made, key=lambda found: found.overrun_s)
    told = {
        "fits": len(made),
        "late": len(late),
        "worst_overrun_s": round(worst.overrun_s, 2),
        "its_budget_s": round(worst.budget_s, 1),
    }
    return [asdict(found) for found in made], told


if __name__ == "__main__":
    main()
