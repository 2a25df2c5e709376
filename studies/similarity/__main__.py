"""What the analyzer's figures foretell.

    python -m studies.similarity [--quick] [--work FOLDER] [--table FILE] [--to FOLDER]

Reads the outcome table (``studies/outcomes/outcomes.parquet``) and the figures measured here
(``figures.json``; measured anew where they are missing, for which ``../shared`` is needed). Makes
the scales of the similarity, too. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from studies.outcomes import table
from studies.outcomes.__main__ import WORK
from studies.outcomes.tasks import BACKBONES, SHARED
from studies.similarity import calibration, figures, foretold, plots, truth
from studies.similarity.policies import regrets


def main(argv: list[str] | None = None) -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(prog="python -m studies.similarity")
    parser.add_argument("--quick", action="store_true", help="fewer resamples, no new figures")
    parser.add_argument("--work", type=Path, default=WORK, help=f"default: {WORK}")
    parser.add_argument("--table", type=Path, default=table.FILE, help="default: the published one")
    parser.add_argument("--to", type=Path, default=here, help="folder of the pictures")
    args = parser.parse_args(argv)
    if not args.quick and (SHARED / "data").is_dir():
        measured = figures.measure_all(BACKBONES, args.work / "pixels", print)
    else:
        measured = figures.load()
    rows = table.read(args.table)
    found = truth.common_arms(truth.arms(rows))
    resamples = 100 if args.quick else foretold.RESAMPLES
    n_tasks = found.groupby(truth.TASK).ngroups
    print(f"{n_tasks} tasks of {found['dataset'].nunique()} data sets with the same arms")

    by_backbone = foretold.targets(rows, found, measured)
    correlations: dict[str, Any] = {}
    for backbone, by_name in by_backbone.items():
        own = measured[measured["backbone"] == backbone]
        correlations[backbone] = {
            name: foretold.of_target(target, own, resamples) for name, target in by_name.items()
        }
        for name, by_figure in correlations[backbone].items():
            _tell_correlations(f"Kendall's tau with {name}, {backbone}", by_figure)
    known = [
        value
        for by_name in correlations.values()
        for by_figure in by_name.values()
        for value in by_figure.values()
        if value["tau"] is not None
    ]
    n_sure = sum(value["low"] > 0 or value["high"] < 0 for value in known)
    print(f"{n_sure} of {len(known)} intervals leave out 0; {len(known) / 20:.0f} by chance alone")
    summary_of_depths = foretold.depth_summary(rows, measured, by_backbone)
    for backbone in BACKBONES:
        print(f"freeze depth, {backbone}: {json.dumps(summary_of_depths[backbone])}")

    order = foretold.order_of_backbones(found, measured, resamples)
    n_clear = order.pop("n_tasks")
    print(f"right order of the two backbones, of {n_clear} tasks that differ by a point, and tau")
    for name, value in order.items():
        lead = value["lead"]
        print(
            f"  {name:<20}{value['right']!s:>8}{lead['tau']!s:>8}  [{lead['low']}, {lead['high']}]"
        )

    lost = regrets(found, measured)
    print("points of regret of a recommendation without training, mean and worst:")
    summary = {}
    for name in lost:
        summary[name] = {
            "mean": round(float(lost[name].mean()), 2),
            "worst": round(float(lost[name].max()), 2),
        }
        print(f"  {name:<42}{summary[name]['mean']:>8}{summary[name]['worst']:>8}")

    judged = calibration.judge(rows, found, measured)
    calibration.tell(judged)
    if not args.quick:
        plots.write(by_backbone, found, measured, lost, judged, args.to)
    figures_by_name = {
        "n_tasks": n_tasks,
        "foretold": correlations,
        "depths": summary_of_depths,
        "order_of_backbones": {"n_tasks": n_clear, **order},
        "regret": summary,
        "calibration": judged,
    }
    print(json.dumps(figures_by_name))


def _tell_correlations(title: str, by_figure: dict[str, Any]) -> None:
    """Print them; one line where there are too few tasks for any."""
    known = {name: value for name, value in by_figure.items() if value["tau"] is not None}
    n_tasks = max((value["n"] for value in by_figure.values()), default=0)
    if not known:
        print(f"{title}: not told by {n_tasks} tasks")
        return
    print(f"{title}, {n_tasks} tasks:")
    for name, value in known.items():
        print(f"  {name:<20}{value['tau']:>8}  [{value['low']}, {value['high']}]")


if __name__ == "__main__":
    main()
