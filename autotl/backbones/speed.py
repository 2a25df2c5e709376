"""How fast a backbone runs here, and in which precision: measured, since it can't be foretold."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autotl.backbones.zoo import Backbone

_BATCH = 32
_REPEATS = 3
_HOPELESS = 1.5
_ENOUGH_S = 2.0


@dataclass(frozen=True)
class Speed:
    """What one picture costs on this machine, as the training loop runs it.

    Attributes:
        precision: ``fp32`` or ``bf16``, whichever trained faster.
        channels_last: whether it trained faster with channels as the innermost dimension.
        forward_s: seconds of one picture's forward pass, in evaluation.
        train_s: seconds of one picture's share of a training step with nothing frozen.
    """

    precision: str
    channels_last: bool
    forward_s: float
    train_s: float

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout to give networks and batches."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context to run a forward pass in, for a precision of :class:`Speed`."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def measure_speed(backbone: Backbone, device: torch.device) -> Speed:
    """Time training steps in fp32 and bf16, channels first and last, interleaved; medians.

    Takes a second or two for a small network on two cores.
    """
    pixels = torch.zeros((_BATCH, backbone.image_size, backbone.image_size, 3), dtype=torch.uint8)
    x = backbone.normalise(pixels.to(device))
    network = backbone.create(10, pretrained=False).to(device)
    precisions = ["fp32", "bf16"] if _supports_bf16(device) else ["fp32"]
    options = [(precision, last) for precision in precisions for last in (False, True)]

    def laid_out(channels_last: bool) -> tuple[nn.Module, Tensor]:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return network.to(memory_format=layout), x.contiguous(memory_format=layout)

    def train(option: tuple[str, bool]) -> float:
        network.train()
        module, batch = laid_out(option[1])
        started = _now(device)
        with autocast(option[0], device):
            loss = module(batch).float().logsumexp(dim=1).mean()
        loss.backward()
        seconds = _now(device) - started
        network.zero_grad(set_to_none=True)
        return seconds

    def forward(option: tuple[str, bool]) -> float:
        network.eval()
        module, batch = laid_out(option[1])
        started = _now(device)
        with torch.inference_mode(), autocast(option[0], device):
            module(batch)
        return _now(device) - started

    train_s = _medians(options, train)
    best = min(options, key=train_s.__getitem__)
    forward_s = _medians([best], forward)[best]
    return Speed(best[0], best[1], forward_s / _BATCH, train_s[best] / _BATCH)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _medians(
    options: list[tuple[str, bool]], measure: Callable[[tuple[str, bool]], float]
) -> dict[tuple[str, bool], float]:
    """Median seconds of each option, the first round left out; hopeless options end early."""
    seconds: dict[tuple[str, bool], list[float]] = {option: [] for option in options}
    for option in options:
        measure(option)  # warms up
    started = time.perf_counter()
    for _ in range(_REPEATS):
        for option in options:
            seconds[option].append(measure(option))
        fastest = min(statistics.median(seconds[option]) for option in options)
        options = [o for o in options if statistics.median(seconds[o]) < _HOPELESS * fastest]
        if time.perf_counter() - started > _ENOUGH_S:
            break
    return {option: statistics.median(values) for option, values in seconds.items()}


def _supports_bf16(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
