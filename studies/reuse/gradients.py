"""Weight gradients of convolutions on small maps: as torch computes them and as products."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autotl.backbones.small_maps import pays, small_map_gradients, weight_gradient
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from studies.reuse.timing import interleaved

CPU = torch.device("cpu")

Way = Callable[[], object]


def measure(backbone: Backbone, batch_size: int, repeats: int) -> dict[str, Any]:
    """Seconds of a training step and of each kind of convolution that is computed otherwise.

    In fp32, channels innermost, random pictures.

    Args:
        backbone: which; its weights don't matter.
        batch_size: pictures in a step.
        repeats: rounds, in turn.

    Returns:
        ``torch_s``, ``products_s`` of a step, without the optimizer's, and their ``ratio``;
        ``convolutions``: a row for each kind, with its ``kind`` in words, ``forward_s``, and of
        its weight gradient ``torch_s``, ``products_s`` and ``ratio``.
    """
    generator = torch.Generator().manual_seed(0)
    size = (batch_size, 3, backbone.image_size, backbone.image_size)
    x = torch.randn(size, generator=generator).contiguous(memory_format=torch.channels_last)
    network = backbone.create(10, pretrained=False).to(memory_format=torch.channels_last).train()
    rows = [
        {"kind": kind} | _convolution(module, given, repeats)
        for kind, (module, given) in _taken(network, x).items()
    ]

    def step(context: Callable[[], AbstractContextManager[object]]) -> None:
        with context():
            loss = network(x).logsumexp(dim=1).mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    steps = {
        "torch_s": partial(step, nullcontext),
        "products_s": partial(step, partial(small_map_gradients, "fp32", CPU)),
    }
    return _compared(steps, repeats) | {"convolutions": rows}


def _taken(network: StagedNetwork, x: Tensor) -> dict[str, tuple[nn.Conv2d, Tensor]]:
    """By its kind, the first of the convolutions that pay, and what it reads."""
    found: dict[str, tuple[nn.Conv2d, Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        given = inputs[0].detach()
        sizes = module.stride, module.padding, module.dilation
        if module.groups == 1 and pays(given, module.weight, *sizes):
            side, kernel, stride = given.shape[2], module.kernel_size[0], module.stride[0]
            channels = f"{module.in_channels} to {module.out_channels} channels"
            kind = f"{kernel} x {kernel}, {channels}, {side} x {side}, stride {stride}"
            found.setdefault(kind, (module, given))

    handles = [
        module.register_forward_pre_hook(note)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return found


def _convolution(module: nn.Conv2d, x: Tensor, repeats: int) -> dict[str, Any]:
    weight, geometry = module.weight.detach(), (module.stride, module.padding)
    with torch.no_grad():
        gradient = torch.randn_like(module(x))
    ways: dict[str, Way] = {
        "forward_s": lambda: torch.conv2d(x, weight, None, *geometry),
        "torch_s": lambda: torch.ops.aten.convolution_backward(
            *(gradient, x, weight, None, *geometry),
            *((1, 1), False, (0, 0), 1, (False, True, False)),
        ),
        "products_s": lambda: weight_gradient(x, gradient, module.kernel_size, *geometry),
    }
    return _compared(ways, repeats)


def _compared(ways: dict[str, Way], repeats: int) -> dict[str, Any]:
    """Median seconds of each way, and how many times as long as products torch takes."""
    found = interleaved({name: partial(_seconds, way) for name, way in ways.items()}, repeats)
    return found | {"ratio": found["torch_s"] / found["products_s"]}


def _seconds(way: Way) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started
