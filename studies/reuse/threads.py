"""Several trainings side by side, a thread each, or one on all cores: pictures per second."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import torch

from autotl.backbones.speed import Speed
from autotl.backbones.zoo import open_backbone
from autotl.runtime import n_cpus
from studies.reuse.bare import bare_steps
from studies.reuse.timing import interleaved

_BATCH = 32
_N_CLASSES = 10


def side_by_side(backbone: str, speed: Speed, seconds: float, repeats: int) -> dict[str, float]:
    """Pictures per second of bare loops: one on all cores, and as many as cores, a thread each.

    Every loop is a process of its own, which waits while others are timed.

    Args:
        backbone: its name.
        speed: in which precision and layout it is run.
        seconds: of training in each round.
        repeats: rounds, in turn.

    Returns:
        ``one``: of one process on all cores; ``several``: of all others together; their ``ratio``.
    """
    n = n_cpus()
    with ExitStack() as opened:
        teams = {
            name: [opened.enter_context(_trainer(backbone, speed, threads)) for _ in range(count)]
            for name, count, threads in (("one", 1, n), ("several", n, 1))
        }

        def images_per_s(team: list[Connection]) -> float:
            for trainer in team:
                trainer.send(seconds)
            return float(sum(trainer.recv() for trainer in team))

        found = interleaved(
            {
                name: lambda team=team: images_per_s(team)  # type: ignore[misc]
                for name, team in teams.items()
            },
            repeats,
        )
    return found | {"ratio": found["several"] / found["one"]}


@contextmanager
def _trainer(backbone: str, speed: Speed, threads: int) -> Iterator[Connection]:
    """A process that trains for as many seconds as it is sent, and sends pictures per second."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_train, args=(its, backbone, speed, threads), daemon=True)
    process.start()
    its.close()
    try:
        yield ours
    finally:
        ours.send(None)
        process.join()


def _train(orders: Connection, backbone: str, speed: Speed, threads: int) -> None:
    torch.set_num_threads(threads)
    opened = open_backbone(backbone)
    generator = torch.Generator().manual_seed(0)
    size = (10 * _BATCH, 3, opened.image_size, opened.image_size)
    pixels = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, _N_CLASSES, (len(pixels),), generator=generator)
    network = opened.create(_N_CLASSES, pretrained=True)
    steps = bare_steps(network, pixels, labels, _BATCH, speed.precision, speed.channels_last)
    next(steps)  # warms up
    while (seconds := orders.recv()) is not None:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            taken.append(next(steps))
        orders.send(_BATCH / statistics.median(taken))
