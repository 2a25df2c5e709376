"""Weight gradients by matrix products are the convolution's, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from autotl.backbones import small_maps
from autotl.backbones.small_maps import small_map_gradients, weight_gradient
from autotl.backbones.speed import measure_speed
from autotl.backbones.zoo import open_backbone

CPU = torch.device("cpu")
GEOMETRIES = list(
    product(
        [(1, 1), (3, 2), (4, 7)],
        [(1, 1), (3, 3), (2, 3), (5, 5)],
        [(1, 1), (2, 2), (1, 3)],
        [(0, 0), (1, 1), (2, 0), (3, 2)],
    )
)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), GEOMETRIES)
def test_gradient_is_the_convolutions(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    if any(a + 2 * p < k for a, p, k in zip(size, padding, kernel, strict=True)):
        return
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator)
    weight = torch.zeros(4, 3, *kernel, dtype=torch.float64)
    gradient = torch.randn_like(functional.conv2d(x, weight, None, stride, padding))
    expected = conv2d_weight(x, weight.shape, gradient, stride, padding)
    torch.testing.assert_close(weight_gradient(x, gradient, kernel, stride, padding), expected)


def is_replaced(maps: Tensor) -> bool:
    return type(maps.grad_fn).__name__ == "_ConvolutionBackward"


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_on_a_small_map(stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 256, 3, stride, padding=1, bias=bias)
    layer = layer.to(memory_format=torch.channels_last)
    x = torch.randn(4, 128, 4, 4).contiguous(memory_format=torch.channels_last)
    found: list[list[Tensor]] = []
    for context in (nullcontext(), small_map_gradients("fp32", CPU)):
        given = x.clone().requires_grad_()
        with context:
            maps = layer(given)
        (maps**2).sum().backward()
        assert is_replaced(maps) == bool(found)
        assert given.grad is not None
        found.append([maps, given.grad, *(p.grad.clone() for p in layer.parameters())])  # type: ignore[union-attr]
        layer.zero_grad()
    assert torch.equal(found[0][0], found[1][0])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    assert found[1][2].is_contiguous(memory_format=torch.channels_last)


LEFT: dict[str, Callable[[Tensor], Tensor]] = {
    "large map": lambda x: nn.Conv2d(128, 128, 3, padding=4)(x),
    "few channels": lambda x: nn.Conv2d(128, 64, 3, padding=1)(x),
    "groups": lambda x: nn.Conv2d(128, 256, 3, padding=1, groups=2)(x),
    "dilation": lambda x: nn.Conv2d(128, 256, 3, padding=1, dilation=2)(x),
    "padding by name": lambda x: nn.Conv2d(128, 256, 3, padding="same")(x),
    "a number for both sides": lambda x: functional.conv2d(
        x, torch.zeros(256, 128, 3, 3, requires_grad=True), None, 1, 1, 1, 1
    ),
    "double precision": lambda x: nn.Conv2d(128, 256, 1).double()(x.double()),
    "one picture": lambda x: nn.Conv2d(128, 256, 1)(x[0]),
    "frozen": lambda x: nn.Conv2d(128, 256, 1).requires_grad_(False)(x.requires_grad_()),
}


@pytest.mark.parametrize("kind", LEFT)
def test_other_convolutions_are_left_as_they_are(kind: str) -> None:
    with small_map_gradients("fp32", CPU):
        maps = LEFT[kind](torch.randn(2, 128, 4, 4))
    maps.sum().backward()
    assert not is_replaced(maps)


def test_without_gradients_nothing_is_replaced() -> None:
    with small_map_gradients("fp32", CPU), torch.no_grad():
        assert nn.Conv2d(128, 256, 1)(torch.zeros(2, 128, 4, 4)).grad_fn is None


@pytest.mark.parametrize(("precision", "device"), [("bf16", "cpu"), ("fp32", "cuda")])
def test_what_was_not_measured_is_left(precision: str, device: str) -> None:
    with small_map_gradients(precision, torch.device(device)):
        assert not is_replaced(nn.Conv2d(128, 256, 1)(torch.zeros(2, 128, 4, 4)))


def test_networks_are_timed_as_they_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: set[torch.Size] = set()

    def noted(x: Tensor, gradient: Tensor, *rest: tuple[int, int]) -> Tensor:
        shapes.add(gradient.shape[1:])
        return weight_gradient(x, gradient, *rest)

    monkeypatch.setattr(small_maps, "weight_gradient", noted)
    monkeypatch.setattr("autotl.backbones.speed._supports_bf16", lambda _: False)
    measure_speed(open_backbone("embedded"), CPU)
    assert shapes == {torch.Size((128, 4, 4)), torch.Size((256, 2, 2))}
