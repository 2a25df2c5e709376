"""Makes the embedded backbone: draws the images, trains on them, writes and judges the weights.

    python -m studies.pretrain_embedded [--quick] [--out FILE] [--work DIR]

An interrupted run goes on from the last finished epoch. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from studies.pretrain_embedded import evaluate
from studies.pretrain_embedded.config import QUICK, Config
from studies.pretrain_embedded.train import publish, train


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.pretrain_embedded")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the classes, about 2 minutes"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where the weights go (default: the published file; with --quick in the work folder)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path.home() / ".cache" / "autotl" / "pretrain_embedded",
        help="folder of the drawn images (about 1 GB) and the checkpoint",
    )
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="torch threads"
    )
    parser.add_argument("--workers", type=int, default=2, help="drawing processes")
    args = parser.parse_args(argv)
    config = QUICK if args.quick else Config()
    out = args.out or (args.work / "quick.safetensors" if args.quick else evaluate.WEIGHTS)
    began = time.monotonic()

    def log(line: str) -> None:
        print(f"{(time.monotonic() - began) / 60:6.1f} min  {line}", flush=True)

    model, figures = train(config, args.work, threads=args.threads, workers=args.workers, log=log)
    notes = {k: str(figures[k]) for k in ("epochs", "held_out_top1", "held_out_top5")}
    figures["file_bytes"] = publish(model, out, config, config.phases[-1], notes)
    figures["num_parameters"] = sum(
        p.numel() for n, p in model.named_parameters() if not n.startswith("fc.")
    )
    log(f"wrote {out}")
    checks = evaluate.CHECKS[:1] if args.quick else evaluate.CHECKS
    judged = {"embedded": evaluate.Extractor(evaluate.load(out))}
    table = evaluate.evaluate(judged, checks, n_seeds=1 if args.quick else 3)
    if not table:
        log("the check on real images is skipped: ../shared/data is absent")
    for name, row in table.items():
        figures[f"svm_{name}"] = round(row["embedded"], 4)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
