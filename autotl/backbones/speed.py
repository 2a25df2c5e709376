"""How fast a backbone runs here, and in which precision. Measured, since it can't be told from outside."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from autotl.backbones.zoo import Backbone

_BATCH = 32
_REPEATS = 3


@dataclass(frozen=True)
class Speed:
    """What one picture costs on this machine, as the training loop runs it.

    Attributes:
        precision: ``fp32`` or ``bf16``, whichever trained faster.
        forward_s: seconds of one picture's forward pass, in evaluation.
        train_s: seconds of one picture's share of a training step with nothing frozen.
    """

    precision: str
    forward_s: float
    train_s: float


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context to run a forward pass in, for a precision of :class:`Speed`."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def measure_speed(backbone: Backbone, device: torch.device) -> Speed:
    """Time forward passes and training steps in fp32 and bf16, interleaved; medians.

    Takes about a second for a small network on two cores.
    """
    network = backbone.create(10, pretrained=False).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.zeros((_BATCH, backbone.image_size, backbone.image_size, 3), dtype=torch.uint8)
    x = backbone.normalise(pixels.to(device)).contiguous(memory_format=torch.channels_last)

    def train(precision: str) -> None:
        with autocast(precision, device):
            loss = network(x).float().logsumexp(dim=1).mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    def forward(precision: str) -> None:
        with torch.inference_mode(), autocast(precision, device):
            network(x)

    precisions = ["fp32", "bf16"] if _supports_bf16(device) else ["fp32"]
    network.train()
    train_s = _medians({p: lambda p=p: train(p) for p in precisions}, device)
    precision = min(precisions, key=train_s.__getitem__)
    network.eval()
    forward_s = _medians({precision: lambda: forward(precision)}, device)
    return Speed(precision, forward_s[precision] / _BATCH, train_s[precision] / _BATCH)


def _supports_bf16(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def _medians(actions: dict[str, Callable[[], None]], device: torch.device) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(_REPEATS + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


