"""Watching a training's loss: a step that diverges is named, with the gradient that did it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autotl.strategies.base import DivergedError


class Finite:
    """Watches that the loss stays finite.

    On a CPU that is seen at once; on a GPU, for which a step would have to be waited, at the end of
    an epoch.

    Args:
        optimizer: whose parameters have gradients.
        n_batches: steps of an epoch.
        epochs: of the training.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, n_batches: int, epochs: int) -> None:
        self._optimizer = optimizer
        self._n_batches = n_batches
        self._epochs = epochs
        self._step = 0
        self._bad_step: Tensor | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Say which epoch begins, from 0."""
        self._step = epoch * self._n_batches

    def begin_step(self) -> None:
        """Count a step."""
        self._step += 1

    def check(self, loss: Tensor) -> None:
        """See to the loss of a step's first part; then the gradients of the step before go.

        Raises:
            DivergedError: if it isn't finite.
        """
        if loss.is_cuda:
            own = torch.where(torch.isfinite(loss), math.inf, float(self._step))
            self._bad_step = own if self._bad_step is None else self._bad_step.minimum(own)
        elif not math.isfinite(value := float(loss)):
            raise DivergedError(
                f"the loss became {value} in epoch {1 + (self._step - 1) // self._n_batches} of "
                f"{self._epochs}, step {self._step}; {self._gradient('step before')}"
            )
        self._optimizer.zero_grad(set_to_none=True)

    def check_epoch(self, epoch: int, loss: float) -> None:
        """See to the mean loss of an epoch, from 0.

        Raises:
            DivergedError: if it isn't finite.
        """
        if math.isfinite(loss):
            return
        step = math.inf if self._bad_step is None else float(self._bad_step)
        named = f"step {int(step)}" if math.isfinite(step) else f"by step {self._step}"
        raise DivergedError(
            f"the loss became {loss} in epoch {epoch + 1} of {self._epochs}, {named}; "
            f"{self._gradient('last step')}"
        )

    def _gradient(self, when: str) -> str:
        """What the largest gradient is now."""
        held = [p.grad for group in self._optimizer.param_groups for p in group["params"]]
        largest = [float(gradient.abs().max()) for gradient in held if gradient is not None]
        if not largest:
            return "no step was made before it"
        worst = math.nan if any(map(math.isnan, largest)) else max(largest)
        return f"the largest gradient of the {when} was {worst:.3g}"
