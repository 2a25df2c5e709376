"""Estimates what a search knows beforehand from the outcome table.

    python -m studies.knowledge [--table FILE] [--to FILE]

Writes ``autotl/search/knowledge.json``. The last line printed is one JSON object: the mean lead of
each strategy's best recipe on drawn settings, in logits, and what the estimate rests on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from autotl.search.knowledge import DRAWN, FILE
from studies.knowledge.estimate import STRATEGIES, estimate
from studies.outcomes import table
from studies.similarity import figures


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.knowledge")
    parser.add_argument("--table", type=Path, default=table.FILE, help="default: the published one")
    parser.add_argument("--to", type=Path, default=FILE, help=f"default: {FILE.name} of autotl")
    args = parser.parse_args(argv)
    frame = table.read(args.table)
    found = estimate(frame, figures.load())
    text = json.dumps(_rounded(found.as_json()), indent=1)
    part = args.to.with_suffix(".part")
    part.write_text(text + "\n")
    part.replace(args.to)
    leads = {}
    for strategy in STRATEGIES:
        own = {name: mean for name, mean in found.means.items() if name.startswith(strategy)}
        best = max(own, key=own.__getitem__)
        leads[best] = round(own[best] - own[f"{strategy}/{DRAWN}"], 3)
    told = {
        "rows": int((frame["seed"] == 0).sum()),
        "tasks": int(frame.groupby(["dataset", "n_train"]).ngroups),
        "leads": leads,
        "noise": round(found.noise, 3),
        "shared_noise": round(found.shared_noise, 3),
        "left_out_noise": round(found.left_out_noise, 3),
    }
    print(json.dumps(told))


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(own) for name, own in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
