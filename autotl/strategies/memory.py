"""Exhausted memory: telling it from bugs, and gradients of a batch in as many parts as fit.

The gradient of a batch is the sum of its parts' gradients, so that a training goes on as it was
begun, with the same effective batch. Only BatchNorm sees the parts: where it is trained, it
standardises each of them by its own mean and variance and takes a step of its running figures for
each, so that the result is that of smaller batches for BatchNorm (frozen stages use their running
figures and aren't concerned).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from autotl.strategies.mixing import Mix

LEAST = 2
"""Pictures in a part: of one alone BatchNorm knows no variance."""


def out_of_memory(error: BaseException) -> str | None:
    """What an error says if it is one of exhausted memory, on a GPU or not; None if it isn't."""
    message = str(error)
    # On the CPU torch raises a plain RuntimeError.
    full = isinstance(error, RuntimeError) and "can't allocate memory" in message
    if not (full or isinstance(error, torch.OutOfMemoryError | MemoryError)):
        return None
    return f"out of memory: {message.strip().partition(chr(10))[0][:300]}".rstrip(": ")


@dataclass(frozen=True)
class MemoryLimits:
    """How many pictures at once memory was found to hold; shared by the trials of a process.

    Attributes:
        found: pictures by backbone, its picture size, and how many of its stages are frozen.
    """

    found: dict[tuple[str, int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchLoss:
    """The cross-entropy of a batch.

    Attributes:
        weight: ``(n_classes,)`` of the classes; None: all weigh the same.
        label_smoothing: in [0, 1).
    """

    weight: Tensor | None
    label_smoothing: float

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The weighted mean over the samples."""
        return functional.cross_entropy(
            logits, target, weight=self.weight, label_smoothing=self.label_smoothing
        )

    def mass(self, target: Tensor) -> Tensor:
        """Of these samples, what the mean divides by."""
        if self.weight is None:
            return torch.tensor(float(len(target)), device=target.device)
        return self.weight[target].sum()

    def of_part(self, logits: Tensor, target: Tensor, rows: slice, mix: Mix) -> Tensor:
        """A part's share of a batch's loss; all parts' shares add up to it.

        Args:
            logits: of the part.
            target: ``(n,)``, labels of the whole batch.
            rows: the part.
            mix: how the batch is mixed.
        """
        loss = mix.share * self._share(logits, target, rows)
        if mix.partner is not None:
            other = target[torch.from_numpy(mix.partner).to(target.device)]
            loss = loss + (1.0 - mix.share) * self._share(logits, other, rows)
        return loss

    def _share(self, logits: Tensor, target: Tensor, rows: slice) -> Tensor:
        own = target[rows]
        return self(logits, own) * (self.mass(own) / self.mass(target))


class Accumulation:
    """Computes gradients of batches, halving the parts as long as memory doesn't hold them.

    Args:
        limits: what was found before, and is found now.
        kind: what is trained, see :class:`MemoryLimits`.
        most: pictures at once to begin with, where nothing was found before.
    """

    def __init__(self, limits: MemoryLimits, kind: tuple[str, int, int], most: int) -> None:
        self._limits = limits
        self._kind = kind
        self.most = max(LEAST, limits.found.get(kind, most))

    def gradients(
        self,
        x: Tensor,
        target: Tensor,
        mix: Mix,
        loss_of: BatchLoss,
        forward: Callable[[Tensor], Tensor],
        begin: Callable[[Tensor], None],
    ) -> Tensor:
        """Add the gradients of a batch's loss to those of the parameters.

        Args:
            x: ``(n, ...)``, what the network gets, mixed.
            target: ``(n,) int64``.
            mix: how it is mixed.
            loss_of: the loss.
            forward: logits of a part of ``x``.
            begin: called with the loss of the first part before any gradient is computed; clears
                the gradients of the batch before, and those of an attempt that failed.

        Returns:
            The loss, without a graph.

        Raises:
            RuntimeError: if memory doesn't hold two pictures.
        """
        while True:
            try:
                return self._attempt(x, target, mix, loss_of, forward, begin)
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error) is None or min(self.most, len(x)) <= LEAST:
                    raise
            # Out of the handler the failed attempt's activations are free.
            self.most = max(LEAST, math.ceil(min(self.most, len(x)) / 2))
            self._limits.found[self._kind] = self.most
            if x.is_cuda:
                torch.cuda.empty_cache()

    def _attempt(
        self,
        x: Tensor,
        target: Tensor,
        mix: Mix,
        loss_of: BatchLoss,
        forward: Callable[[Tensor], Tensor],
        begin: Callable[[Tensor], None],
    ) -> Tensor:
        if len(x) <= self.most:
            loss = mix.loss(forward(x), target, loss_of)
            begin(loss.detach())
            loss.backward()
            return loss.detach()
        total = torch.zeros((), device=x.device)
        for index, rows in enumerate(parts(len(x), self.most)):
            loss = loss_of.of_part(forward(x[rows]), target, rows, mix)
            if index == 0:
                begin(loss.detach())
            loss.backward()
            total += loss.detach()
        return total


def parts(n: int, most: int) -> list[slice]:
    """Parts of ``n`` samples, as even as can be, each of :data:`LEAST` to ``most`` if possible.

    Args:
        n: samples, at least 1.
        most: in a part, at least :data:`LEAST`.
    """
    n_parts = max(1, min(math.ceil(n / most), n // LEAST))
    edges = [round(index * n / n_parts) for index in range(n_parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
