"""Memory that doesn't hold a batch: does the trial finish, with the same effective batch?

In a child process the address space is limited (``RLIMIT_AS``) so far above what it has taken that
a step of half a batch fits, but not that of a whole one. A network trains there, and in another
child without the limit, for some steps; the weights are compared. BatchNorm's statistics are
frozen, since it would see the parts, see :mod:`autotl.strategies.memory`.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("memory.json")
_BATCH, _SIDE, _WIDTH = 64, 48, 32
_STEPS = 3


def run(quick: bool = False) -> dict[str, Any]:
    """Train under limits of a whole batch's share.

    Args:
        quick: one limit instead of four.

    Returns:
        By share of what a whole batch takes: pictures in a part, whether the training finished, and
        the largest difference of gradients and weights, relative to their largest value.
    """
    shares = (0.6,) if quick else (0.8, 0.6, 0.4, 0.25)
    free = _in_child(None)
    found: dict[str, Any] = {"batch": _BATCH, "needs_mb": round(free["needs_bytes"] / 2**20)}
    for share in shares:
        own = _in_child(int(share * free["needs_bytes"]))
        if "error" in own:
            found[str(share)] = own
            continue
        found[str(share)] = {
            "pictures_at_once": own["most"],
            "n_steps": own["n_steps"],
            "gradient_difference": _difference(free["gradient"], own["gradient"]),
            "weight_difference": _difference(free["weights"], own["weights"]),
        }
        print(share, found[str(share)], flush=True)
    if not quick:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _difference(expected: list[float], got: list[float]) -> float:
    largest = max(abs(value) for value in expected)
    pairs = zip(expected, got, strict=True)
    return float(f"{max(abs(a - b) for a, b in pairs) / largest:.2g}")


def _in_child(allowed_bytes: int | None) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(its, allowed_bytes))
    process.start()
    its.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        found = {"error": "the process died"}
    process.join()
    return found


def _child(pipe: Any, allowed_bytes: int | None) -> None:
    try:
        pipe.send(_train(allowed_bytes))
    except Exception as error:
        pipe.send({"error": f"{type(error).__name__}: {str(error)[:300]}"})


def _train(allowed_bytes: int | None) -> dict[str, Any]:
    """Some steps of training; the limit counts from what is taken before the first one."""
    import torch
    from torch import nn

    from autotl.strategies.memory import Accumulation, BatchLoss, MemoryLimits
    from autotl.strategies.mixing import Mixer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for n_in in (3, *[_WIDTH] * 5):
        layers += [nn.Conv2d(n_in, _WIDTH, 3, padding=1), nn.BatchNorm2d(_WIDTH), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTH, 5))
    network.eval()  # BatchNorm by its running figures
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss_of = BatchLoss(weight=torch.rand(5) + 0.5, label_smoothing=0.1)
    batches = Accumulation(MemoryLimits(), ("it", _SIDE, 0), _BATCH)
    mixer = Mixer("mixup", 0)
    clear: Callable[[object], None] = lambda _: optimizer.zero_grad(set_to_none=True)  # noqa: E731

    def step(x: torch.Tensor) -> None:
        target = torch.randint(0, 5, (len(x),))
        batches.gradients(x, target, mixer.draw(len(x)), loss_of, network, clear)

    step(torch.rand(2, 3, _SIDE, _SIDE))  # makes the threads and the code's own buffers
    optimizer.step()
    first = torch.rand(_BATCH, 3, _SIDE, _SIDE)
    before = _taken_bytes()
    if allowed_bytes is not None:
        limit = before + allowed_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    gradient: list[float] = []
    n_steps = 0
    for _ in range(_STEPS):
        step(first)
        gradient = gradient or _flat([p.grad for p in network.parameters() if p.grad is not None])
        optimizer.step()
        n_steps += 1
    return {
        "needs_bytes": _most_taken_bytes() - before,
        "most": batches.most,
        "n_steps": n_steps,
        "gradient": gradient,
        "weights": _flat([p.detach() for p in network.parameters()]),
    }


def _flat(tensors: list[Any]) -> list[float]:
    import torch

    found: list[float] = torch.cat([tensor.flatten() for tensor in tensors]).tolist()
    return found


def _taken_bytes() -> int:
    return _status("VmSize:")


def _most_taken_bytes() -> int:
    return _status("VmPeak:")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    print(json.dumps(run("--quick" in sys.argv[1:])))
