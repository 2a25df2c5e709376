"""Weight gradients of convolutions with many channels and few positions, as matrix products.

In a network's last stages the gradient with respect to the weights took 1.2 to 3 times as long as
the forward pass (``python -m studies.reuse --part gradients``). It is a sum over positions, so that
each tap of the kernel is one matrix product over the positions that it reaches within the map; what
would fall on padding isn't computed at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode

_LEAST_WEIGHTS = 128 * 128
_LEAST_BY_POSITION = 512
"""Input times output channels, at all and by position of the output, from which products pay."""


def small_map_gradients(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass after which weights' gradients are matrix products.

    The forward pass is the same to the bit, gradients differ by rounding. Convolutions on large
    maps, with groups, dilation or padding other than by so many zeros are left as they are, and
    all convolutions on a GPU or in bf16, where it wasn't measured.

    Args:
        precision: ``fp32`` or ``bf16``.
        device: of the forward pass.
    """
    return _SmallMaps() if precision == "fp32" and device.type == "cpu" else nullcontext()


class _SmallMaps(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, or a convolution of ours in the place of :func:`torch.conv2d`."""
        if func is functional.conv2d and not kwargs and len(args) == 7:
            x, weight, bias, stride, padding, dilation, groups = args
            if groups == 1 and pays(x, weight, stride, padding, dilation):
                return _Convolution.apply(x, weight, bias, stride, padding)
        return func(*args, **(kwargs or {}))


def pays(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int] | str,
    dilation: tuple[int, int],
) -> bool:
    """Whether a convolution without groups, as :func:`torch.conv2d` is given it, is one of ours."""
    if not (weight.requires_grad and torch.is_grad_enabled() and x.ndim == 4):
        return False
    if not (isinstance(stride, tuple) and isinstance(padding, tuple) and dilation == (1, 1)):
        return False  # also where one number stands for both sides, or a padding's name
    if not x.dtype == weight.dtype == torch.float32:
        return False
    sides = zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True)
    height, width = ((side + 2 * pad - kernel) // step + 1 for side, kernel, step, pad in sides)
    return weight.shape[0] * weight.shape[1] >= max(
        _LEAST_WEIGHTS, _LEAST_BY_POSITION * height * width
    )


class _Convolution(torch.autograd.Function):
    """:func:`torch.conv2d`, but that its weights' gradient is that of :func:`weight_gradient`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        return functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.geometry
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = conv2d_input(x.shape, weight, gradient, stride, padding)
        if ctx.needs_input_grad[1]:
            kernel = weight.shape[2], weight.shape[3]
            of_weight = weight_gradient(x, gradient, kernel, stride, padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=(0, 2, 3))
        return of_x, of_weight, of_bias, None, None


def weight_gradient(
    x: Tensor,
    gradient: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """The gradient of a convolution's weights, tap by tap.

    Args:
        x: ``(n, c_in, h, w)``, what the convolution read.
        gradient: ``(n, c_out, h_out, w_out)`` with respect to what it gave, of the same dtype.
        kernel: its height and width.
        stride: along each side.
        padding: by zeros, along each side.

    Returns:
        ``(c_out, c_in, *kernel)``, channels innermost in memory.
    """
    rows, columns = (
        [_reached(tap - pad, step, size, given) for tap in range(taps)]
        for taps, step, pad, size, given in zip(
            kernel, stride, padding, x.shape[2:], gradient.shape[2:], strict=True
        )
    )
    x, gradient = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
    c_in, c_out = x.shape[3], gradient.shape[3]
    found = x.new_empty(c_out, *kernel, c_in)
    for row, (read_y, given_y) in enumerate(rows):
        for column, (read_x, given_x) in enumerate(columns):
            read = x[:, read_y, read_x].reshape(-1, c_in)
            given = gradient[:, given_y, given_x].reshape(-1, c_out)
            torch.mm(given.t(), read, out=found[:, row, column])
    return found.permute(0, 3, 1, 2)


def _reached(offset: int, step: int, size: int, n_given: int) -> tuple[slice, slice]:
    """Positions along a side of the input that a tap reads, and those of the output it adds to.

    Args:
        offset: of the tap from the place of the stride; below 0 it starts on padding.
        step: the stride.
        size: of the input.
        n_given: positions of the output.
    """
    first = max(0, -(offset // step))
    end = min(n_given, (size - 1 - offset) // step + 1)
    if end <= first:
        return slice(0), slice(0)
    return slice(first * step + offset, (end - 1) * step + offset + 1, step), slice(first, end)
