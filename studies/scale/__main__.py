"""What survives on a cluster, and what more workers bring?

    python -m studies.scale [--quick] [--only PART]

Parts: ``cluster`` (two Ray nodes, PostgreSQL and an MLflow server; a worker and a node are killed),
``workers`` (trials an hour with one and two workers), ``turn`` (how long choosing a trial keeps
others waiting) and ``simulated`` (sleeping trials with up to 128 workers). Figures go to
``scale.json`` beside this file, a part at a time. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = ("cluster", "workers", "turn", "simulated", "proxy")
"""Each is a module of this package with ``run(quick: bool) -> dict``."""
FILE = Path(__file__).with_name("scale.json")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.scale")
    parser.add_argument("--quick", action="store_true", help="fewer trials; kept nowhere")
    parser.add_argument("--only", metavar="PART", choices=PARTS, help=f"one of {', '.join(PARTS)}")
    arguments = parser.parse_args(argv)
    figures: dict[str, Any] = {}
    for name in (arguments.only,) if arguments.only else PARTS:
        figures[name] = import_module(f"{__package__}.{name}").run(arguments.quick)
        print(name, json.dumps(figures[name]), flush=True)
        if not arguments.quick:
            known = json.loads(FILE.read_text()) if FILE.is_file() else {}
            FILE.write_text(json.dumps(known | {name: figures[name]}, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
