"""The bare PyTorch loop over pictures in memory: what a training loop is held against."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from autotl.backbones.speed import autocast
from autotl.errors import InputError

_HALF = (0.5, 0.5, 0.5)


def bare_steps(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    batch_size: int,
    precision: str = "fp32",
    channels_last: bool = False,
    *,
    mean: tuple[float, ...] = _HALF,
    std: tuple[float, ...] = _HALF,
    seed: int = 0,
) -> Iterator[float]:
    """Train step by step, without end; can be interleaved with another loop in one process.

    Nothing is frozen, nothing augmented, nothing validated; AdamW with its defaults.

    Args:
        network: logits from normalised pictures; trained in place, on its own device.
        pixels: ``(n, 3, h, w) uint8`` on that device.
        labels: ``(n,) int64`` on that device.
        batch_size: pictures in a step, at most ``n``.
        precision: ``fp32`` or ``bf16``.
        channels_last: whether channels are the innermost dimension.
        mean: per channel, for pictures scaled to [0, 1].
        std: likewise.
        seed: of the order.

    Yields:
        Seconds of each step.

    Raises:
        InputError: on a batch larger than the data set.
    """
    if not 1 <= batch_size <= len(pixels):
        raise InputError(f"batch_size must be in 1 ... {len(pixels)}, but got {batch_size}")
    device = pixels.device
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout).train()
    optimizer = torch.optim.AdamW(network.parameters())
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1) * 255.0
    scale = torch.tensor(std, device=device).view(1, 3, 1, 1) * 255.0
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(pixels), generator=generator).to(device)
        for batch in order.split(batch_size)[: len(pixels) // batch_size]:
            started = _now(device)
            x = pixels[batch].to(torch.float32, memory_format=layout).sub_(shift).div_(scale)
            with autocast(precision, device):
                logits = network(x)
            loss = functional.cross_entropy(logits.float(), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            yield _now(device) - started


def bare_loop(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    batch_size: int,
    precision: str = "fp32",
    channels_last: bool = False,
    n_steps: int = 20,
    *,
    mean: tuple[float, ...] = _HALF,
    std: tuple[float, ...] = _HALF,
    n_warmup: int = 2,
) -> float:
    """Images per second of ``n_steps`` bare steps, after some that don't count.

    Arguments as for :func:`bare_steps`.
    """
    steps = bare_steps(
        network, pixels, labels, batch_size, precision, channels_last, mean=mean, std=std
    )
    for _ in range(n_warmup):
        next(steps)
    seconds = sum(next(steps) for _ in range(n_steps))
    return n_steps * batch_size / seconds


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
