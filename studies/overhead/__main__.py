"""What does a search cost beside its trials?

    python -m studies.overhead [--quick] [--sizes N ...]

Figures go to ``overhead.json`` beside this file. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import autotl
from autotl.datasets.digits import digits
from studies.overhead.overhead import grows

FILE = Path(__file__).with_name("overhead.json")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.overhead")
    parser.add_argument(
        "--quick", action="store_true", help="after 10 and 100 trials, kept nowhere"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 5000])
    args = parser.parse_args(argv)
    pictures, labels = digits()
    profile = autotl.analyze((pictures[:500], labels[:500]), backbones=["embedded"]).profile
    found = grows([10, 100] if args.quick else args.sizes, profile)
    for n_before, parts in found.items():
        listed = ", ".join(f"{name} {ms:g}" for name, ms in parts.items())
        print(f"after {n_before} trials, ms: {listed}", flush=True)
    if not args.quick:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({"overhead_ms": {str(n): parts["all"] for n, parts in found.items()}}))


if __name__ == "__main__":
    main()
