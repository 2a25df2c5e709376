"""What a search policy loses, and how soon it stops losing: replays on the outcome table.

    python -m studies.regret [--quick] [--seeds N] [--policy NAME ...] [--jobs N] [--work FOLDER]
        [--out FOLDER] [--resample] [--common] [--against NAME]

Results of policies that weren't asked for are kept if they are of the same table. The last line
printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from studies.regret import plots, report
from studies.regret.experiment import play_all, seeds_of
from studies.regret.problems import problems_of, read
from studies.regret.registry import POLICIES

_QUICK_SEEDS = 3


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.regret")
    parser.add_argument("--quick", action="store_true", help="3 seeds; writes to --out only")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--policy", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--work", type=Path, help="replay the lines of this folder")
    parser.add_argument("--out", type=Path, help="default: beside this file")
    parser.add_argument("--resample", action="store_true", help="validation samples, by seed")
    parser.add_argument("--common", action="store_true", help="only configs that all tasks have")
    parser.add_argument("--against", default="random", choices=list(POLICIES))
    args = parser.parse_args(argv)
    if min(args.seeds, args.jobs) < 1:
        parser.error(f"--seeds and --jobs must be 1 or more, got {args.seeds} and {args.jobs}")
    n_seeds = min(args.seeds, _QUICK_SEEDS) if args.quick else args.seeds
    problems = problems_of(read(args.work), only_common=args.common)
    if not problems:
        print("skipped: no task has all configs that a replay needs")
        print(json.dumps({"skipped": "no task has all configs that a replay needs"}))
        return
    made_on = report.header(problems, resample=args.resample, only_common=args.common)
    n_configs = sum(task["candidates"] for task in made_on["tasks"].values())
    print(f"{made_on['n_tasks']} tasks of {made_on['n_datasets']} data sets, {n_configs} rows")
    out = args.out or report.FILE.parent
    is_kept = bool(args.out) or not args.quick
    results, dropped = report.merge(made_on, {}, out / report.FILE.name)
    if dropped:
        print(f"left out, as of another table or other settings: {', '.join(dropped)}")
    fresh = {}
    started = time.monotonic()
    every = play_all(problems, args.policy, n_seeds, resample=args.resample, n_jobs=args.jobs)
    for name, played in every:
        seeds = seeds_of(POLICIES[name], n_seeds, resample=args.resample)
        passed_s = time.monotonic() - started
        print(f"{passed_s:7.1f} s  {name}: {len(played)} tasks, seeds: {seeds}", flush=True)
        if not played:
            continue
        fresh[name] = report.summary(name, played, made_on, n_seeds)
        results, _ = report.merge(made_on, fresh, out / report.FILE.name)
        if is_kept:  # after each, so that what is broken off isn't lost
            out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(results, indent=1, allow_nan=False)
            (out / report.FILE.name).write_text(text + "\n")
    if is_kept:
        plots.write(results, out / "regret.png")
    print("\n".join(report.lines(results)))
    figures = {
        "n_tasks": made_on["n_tasks"],
        "n_datasets": made_on["n_datasets"],
        "mean_regret": {name: own["mean"] for name, own in results["policies"].items()},
        "worst_regret": {name: own["worst"] for name, own in results["policies"].items()},
        "within_1_point": {n: own["within_1_point"] for n, own in results["policies"].items()},
    }
    if args.against in results["policies"]:
        apart = report.differences(results, args.against)
        print(f"less the mean regret of {args.against}, [95 % interval over data sets]:")
        for name, by_budget in apart.items():
            cells = (f"{b}: {m:.2f} [{low}, {high}]" for b, (m, low, high) in by_budget.items())
            print(f"  {name:<20}" + "  ".join(cells))
        figures[f"less_{args.against}"] = apart
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
