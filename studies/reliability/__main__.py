"""Run the reliability study, or one part of it, and print one line of JSON with its figures."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = ("kill", "outage", "fuzz", "memory", "contention", "disk_full", "quota")
"""Each is a module of this package with ``run(quick: bool) -> dict``."""
FIGURES = Path(__file__).parent / "reliability.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; minutes")
    parser.add_argument("--only", metavar="NAME", choices=PARTS, help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--keep", action="store_true", help=f"put the figures into {FIGURES.name}")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    for name in (arguments.only,) if arguments.only else PARTS:
        print(f"{name}:", flush=True)
        figures[name] = import_module(f"{__package__}.{name}").run(arguments.quick)
    if arguments.keep and figures:
        known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
        FIGURES.write_text(json.dumps(known | figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
