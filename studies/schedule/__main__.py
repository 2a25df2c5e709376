"""What is a longer schedule worth, so that the time could go into folds instead?

    python -m studies.schedule [--quick] [--datasets NAME ...] [--size N] [--epochs N ...]
        [--seeds N] [--work FILE]

Everything of the embedded backbone is fine-tuned on all development samples of a task of the
outcome table, and scored on its test set. Runs that ``--work`` holds aren't made again. The last
line printed is one JSON object: mean test score by number of epochs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from autotl.backbones.speed import measure_speed
from autotl.backbones.zoo import EMBEDDED
from autotl.search.recipes import recipe
from autotl.strategies import STRATEGIES
from autotl.strategies.base import SilentReporter
from studies.outcomes.tasks import SIZES, SOURCES, OutcomeTask, TaskName, open_task

DATASETS = ("clothing10", "fsdd_spectrograms10", "trashnet6", "omniglot136")
RECIPE = "full-2e-3"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.schedule")
    parser.add_argument("--quick", action="store_true", help="one task, 1 and 2 epochs")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(SOURCES))
    parser.add_argument("--size", type=int, default=300, choices=SIZES)
    parser.add_argument("--epochs", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, help="JSON lines of the runs, made or gone on with")
    args = parser.parse_args(argv)
    if args.quick:
        args.datasets, args.size, args.epochs, args.seeds = args.datasets[:1], 100, [1, 2], 1
    torch.set_num_threads(1)
    rows = []
    if args.work and args.work.is_file():
        rows = [json.loads(line) for line in args.work.read_text().splitlines()]
    done = {tuple(row["key"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for dataset in args.datasets:
            opened = None
            for seed in range(args.seeds):
                for n_epochs in args.epochs:
                    key = (dataset, args.size, n_epochs, seed)
                    if key in done:
                        continue
                    opened = opened or _open(TaskName(dataset, args.size), Path(folder))
                    rows.append({"key": key, **run(opened, n_epochs, seed)})
                    print(json.dumps(rows[-1]), flush=True)
                    if args.work:
                        with args.work.open("a") as file:
                            file.write(json.dumps(rows[-1]) + "\n")
    names = ["dataset", "size", "epochs", "seed"]
    frame = pd.DataFrame([[*row["key"], row["test"], row["seconds"]] for row in rows])
    frame.columns = [*names, "test", "seconds"]
    means = frame.pivot_table(index="dataset", columns="epochs", values="test")
    print(means.round(3).to_string())
    print(json.dumps({str(n): round(float(mean), 4) for n, mean in means.mean().items()}))


def _open(name: TaskName, cache: Path) -> OutcomeTask:
    """A task, run in the precision that is fastest here."""
    opened = open_task(name, EMBEDDED, cache)
    speed = measure_speed(opened.task.backbones[EMBEDDED], opened.task.device)
    return replace(opened, task=replace(opened.task, speeds={EMBEDDED: speed}))


def run(opened: OutcomeTask, n_epochs: int, seed: int) -> dict[str, float]:
    """The ``test`` score after so many epochs, and the processor ``seconds`` that they took."""
    task = replace(opened.task, seed=seed)
    strategy = STRATEGIES["finetune"]
    num_stages = task.backbones[EMBEDDED].num_stages
    fields = recipe("finetune", RECIPE).fields(num_stages, n_epochs)
    config = strategy.Config.model_validate({"backbone": EMBEDDED, "balanced": False, **fields})
    started = time.process_time()
    model = strategy.fit(config, task, opened.development, None, SilentReporter())
    seconds = time.process_time() - started
    pixels = task.pixels(model.backbone.image_size)
    probabilities = model.predict_proba(pixels, opened.test, device=task.device)
    labels = task.labels[opened.test]
    return {"test": opened.metric.score(labels, probabilities), "seconds": round(seconds, 1)}


if __name__ == "__main__":
    main()
