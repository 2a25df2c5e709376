"""How fast a backbone runs here, stage by stage, and in which precision: measured, not foretold."""

from __future__ import annotations

import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from autotl.backbones.optimizers import new_optimizer
from autotl.backbones.small_maps import small_map_gradients
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone

_BATCH = 32
_REPEATS = 3
_HOPELESS = 1.5
_EMULATED = 8.0
"""A precision in which one convolution takes so many times as long isn't timed any further."""
_ENOUGH_S = 2.0


@dataclass(frozen=True)
class Speed:
    """What one picture costs on this machine, as the training loop runs it.

    Attributes:
        precision: ``fp32`` or ``bf16``, whichever trained faster.
        channels_last: whether it trained faster with channels as the innermost dimension.
        forward_to: ``num_stages + 1`` figures; seconds of one picture's forward pass, in
            evaluation, from the pixels to each depth; the first is 0.
        train_from: as many; seconds of one picture's share of a training step when all below
            each depth is frozen and given; the last is that of the head alone.
        peak_bytes: memory that one picture's share of a training step takes; 0: not measured.
    """

    precision: str
    channels_last: bool
    forward_to: tuple[float, ...]
    train_from: tuple[float, ...]
    peak_bytes: int = 0

    @property
    def forward_s(self) -> float:
        """Seconds of one picture's forward pass."""
        return self.forward_to[-1]

    @property
    def train_s(self) -> float:
        """Seconds of one picture's share of a training step with nothing frozen."""
        return self.train_from[0]

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout to give networks and batches."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context to run a forward pass in, for a precision of :class:`Speed`."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@dataclass(frozen=True)
class Way:
    """A way to run a network: ``fp32`` or ``bf16``, channels first or innermost."""

    precision: str
    channels_last: bool


def measure_speed(backbone: Backbone, device: torch.device, way: Way | None = None) -> Speed:
    """Time a backbone by stages in a way to run it, or in the one that trains fastest.

    Args:
        backbone: which; its weights don't matter.
        device: where.
        way: how it is run; None: training steps in fp32 and bf16, channels first and last, are
            timed in turn, and the way of the fastest step is taken. That takes a second or two
            for a small network on two cores.
    """
    pixels = torch.zeros((_BATCH, backbone.image_size, backbone.image_size, 3), dtype=torch.uint8)
    x = backbone.normalise(pixels.to(device))
    network = backbone.create(10, pretrained=False).to(device)
    way = way or _fastest(network, x, device)
    probe = _Probe(network, x, way)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    probe.train()  # warms up
    profiles = [(probe.forward(), probe.train()) for _ in range(_REPEATS)]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    forward_to, train_from = (
        tuple(statistics.median(values) / _BATCH for values in zip(*parts, strict=True))
        for parts in zip(*profiles, strict=True)
    )
    return Speed(way.precision, way.channels_last, forward_to, train_from, peak // _BATCH)


def measure_forward(backbone: Backbone, device: torch.device) -> Speed:
    """Time the forward pass alone, in fp32: a small part of what :func:`measure_speed` takes.

    Channels are innermost on a CPU, where that took 0.6 of the time. What a training step costs
    isn't measured; three forward passes are assumed.

    Args:
        backbone: which; its weights don't matter.
        device: where.
    """
    pixels = torch.zeros((_BATCH, backbone.image_size, backbone.image_size, 3), dtype=torch.uint8)
    way = Way("fp32", device.type == "cpu")
    network = backbone.create(1, pretrained=False).to(device)
    probe = _Probe(network, backbone.normalise(pixels.to(device)), way)
    probe.forward()  # warms up
    forward_to = tuple(seconds / _BATCH for seconds in probe.forward())
    train_from = tuple(3 * (forward_to[-1] - below) for below in forward_to)
    return Speed(way.precision, way.channels_last, forward_to, train_from)


class _Probe:
    """Training steps and forward passes of one network in one precision and layout."""

    def __init__(self, network: StagedNetwork, x: Tensor, way: Way) -> None:
        self._precision = way.precision
        layout = torch.channels_last if way.channels_last else torch.contiguous_format
        self._network = network.to(memory_format=layout)
        self._x = x.contiguous(memory_format=layout)

    def forward(self) -> list[float]:
        """Seconds from the pixels to each depth, in evaluation."""
        self._network.eval()
        times = [self._now()]
        with torch.inference_mode(), self._network.watched(lambda *_: times.append(self._now())):
            self._logits()
        times.append(self._now())
        return [t - times[0] for t in times]

    def train(self) -> list[float]:
        """Seconds of a training step from each depth on, the optimizer's share included."""
        depths = [
            self._network.depth_of(name) for name, _ in self._network.model.named_parameters()
        ]
        sizes = [parameter.numel() for parameter in self._network.model.parameters()]
        optimizer_s = self._optimizer_s() / sum(sizes)
        n_trained = [
            sum(size for size, own in zip(sizes, depths, strict=True) if own >= depth)
            for depth in range(self._network.num_stages + 1)
        ]
        passes_s = [*self._passes_s(), self._head_s()]
        return [s + optimizer_s * n for s, n in zip(passes_s, n_trained, strict=True)]

    def step(self) -> float:
        """Seconds of a forward and a backward pass through the whole network."""
        return self._passes_s()[0]

    def _passes_s(self) -> list[float]:
        """Seconds of a forward and a backward pass through what lies above each depth.

        From one step: what lies above a depth is entered when its activation is made, and left
        when the gradient with respect to that activation is.
        """
        self._network.train()
        entered = {0: self._now()}
        left: dict[int, float] = {}

        def note(depth: int, activation: Tensor) -> None:
            entered[depth] = self._now()
            if isinstance(activation, Tensor):  # some architectures pass several on
                activation.register_hook(lambda _: left.update({depth: self._now()}))

        gradients = small_map_gradients(self._precision, self._x.device)
        with self._network.watched(note), gradients:
            loss = self._logits().float().logsumexp(dim=1).mean()
        loss.backward()
        end = self._now()
        self._network.zero_grad(set_to_none=True)
        return [left.get(depth, end) - begun for depth, begun in entered.items()]

    def _head_s(self) -> float:
        """Seconds of a forward and a backward pass through the classifier alone."""
        with torch.no_grad(), autocast(self._precision, self._x.device):
            features = self._network.features(self._x, [self._network.num_stages])[0]
        started = self._now()
        with autocast(self._precision, self._x.device):
            loss = self._network.classifier(features).float().logsumexp(dim=1).mean()
        loss.backward()
        return self._now() - started

    def _optimizer_s(self) -> float:
        """Seconds of one step of the optimizer on the whole network."""
        for parameter in self._network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer = new_optimizer([{"params": list(self._network.parameters()), "lr": 0.0}])
        optimizer.step()  # makes its state
        started = self._now()
        optimizer.step()
        seconds = self._now() - started
        self._network.zero_grad(set_to_none=True)
        return seconds

    def _logits(self) -> Tensor:
        with autocast(self._precision, self._x.device):
            logits: Tensor = self._network(self._x)
        return logits

    def _now(self) -> float:
        if self._x.is_cuda:
            torch.cuda.synchronize(self._x.device)
        return time.perf_counter()


def _fastest(network: StagedNetwork, x: Tensor, device: torch.device) -> Way:
    """The way of the fastest training step, each tried in turn; hopeless ones end early.

    The least of some times, since other jobs on the machine can only add to them.
    """
    precisions = ["fp32", "bf16"] if _supports_bf16(device) else ["fp32"]
    ways = [Way(precision, last) for precision in precisions for last in (False, True)]
    least = {way: float("inf") for way in ways}
    for way in ways:
        _Probe(network, x, way).step()  # warms up
    started = time.perf_counter()
    for _ in range(_REPEATS):
        for way in ways:
            least[way] = min(least[way], _Probe(network, x, way).step())
        fastest = min(least.values())
        ways = [way for way in ways if least[way] < _HOPELESS * fastest]
        if time.perf_counter() - started > _ENOUGH_S:
            break
    return min(ways, key=least.__getitem__)


def _supports_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type != "cpu" or not _is_emulated(torch.bfloat16)


def _is_emulated(dtype: torch.dtype) -> bool:
    """Whether this processor lacks instructions for a dtype, by one small convolution.

    Without them it took 60 times as long as in fp32 where this was measured: a step of a whole
    network would take seconds to say so.
    """
    least: dict[torch.dtype, float] = {}
    for own in (torch.float32, dtype):
        x, weight = torch.zeros(4, 32, 16, 16, dtype=own), torch.zeros(32, 32, 3, 3, dtype=own)
        times = []
        for _ in range(_REPEATS + 1):  # the first warms up
            started = time.perf_counter()
            torch.nn.functional.conv2d(x, weight, padding=1)
            times.append(time.perf_counter() - started)
        least[own] = min(times)
    return least[dtype] > _EMULATED * least[torch.float32]
