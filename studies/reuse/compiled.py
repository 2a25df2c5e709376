"""Does ``torch.compile`` pay within a trial's length? Training steps with and without it."""

from __future__ import annotations

import copy
import statistics
import time
from itertools import islice

import torch

from autotl.strategies.base import Task
from autotl.strategies.training import batch_size_for
from studies.reuse.bare import bare_steps
from studies.reuse.timing import interleaved


def steps(task: Task, backbone: str, n_steps: int, repeats: int) -> dict[str, float | None]:
    """Seconds of the bare loop's steps, as it is and compiled, and of compiling.

    Args:
        task: the problem.
        backbone: its name.
        n_steps: in each round.
        repeats: rounds, in turn.

    Returns:
        ``compile_s``: what the first step takes beyond any other; ``eager_s`` and ``compiled_s``
        of a step; ``ratio`` of these; ``worth_from_images``: pictures, seen in training, from
        which compiling has paid for itself, None if it never does.
    """
    opened, speed, train = task.backbones[backbone], task.speeds[backbone], task.folds[0].train
    batch_size = batch_size_for(len(train))
    pixels = torch.from_numpy(task.pixels(opened.image_size)[train]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(task.labels[train])
    network = opened.create(task.n_classes, pretrained=True)
    torch.compiler.reset()
    loops = {
        name: bare_steps(
            *(own, pixels.contiguous(), labels, batch_size, speed.precision, speed.channels_last),
            mean=opened.mean,
            std=opened.std,
        )
        for name, own in (
            ("compiled_s", torch.compile(copy.deepcopy(network))),
            ("eager_s", network),
        )
    }
    started = time.perf_counter()
    next(loops["compiled_s"])
    first_s = time.perf_counter() - started
    found = interleaved(
        {
            name: lambda loop=loop: statistics.median(islice(loop, n_steps))  # type: ignore[misc]
            for name, loop in loops.items()
        },
        repeats,
    )
    compile_s, saved_s = first_s - found["compiled_s"], found["eager_s"] - found["compiled_s"]
    return found | {
        "compile_s": compile_s,
        "ratio": found["eager_s"] / found["compiled_s"],
        "worth_from_images": batch_size * compile_s / saved_s if saved_s > 0 else None,
    }
