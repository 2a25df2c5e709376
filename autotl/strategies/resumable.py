"""All that a training's next epoch depends on, to be kept and taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autotl.strategies.checkpoint import Saved
from autotl.strategies.mixing import Mixer


@dataclass(frozen=True)
class TrainingState:
    """The parts of a training that change from epoch to epoch.

    A training that goes on from here does bit for bit what it would have done on the CPU.

    Attributes:
        network: weights and buffers.
        optimizer: moments and steps.
        schedule: of the learning rate.
        shuffle: the order of samples.
        mixer: pairs of mixed pictures.
        device: whose random state counts, beside the CPU's.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    shuffle: np.random.Generator
    mixer: Mixer
    device: torch.device

    def tensors(self) -> dict[str, Tensor]:
        """By name, weights, moments and torch's random states."""
        found = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        for index, parameter in enumerate(self._trained()):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    found[f"optimizer/{index}/{name}"] = value
        found["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["random/cuda"] = torch.cuda.get_rng_state(self.device)
        return found

    def values(self) -> dict[str, Any]:
        """The number of steps and NumPy's random states."""
        return {
            "n_steps": self.schedule.last_epoch,
            "shuffle": self.shuffle.bit_generator.state,
            "mixer": self.mixer.state,
        }

    def take_up(self, saved: Saved) -> None:
        """Go on from a state; to be called where random draws are the training's own.

        Raises:
            RuntimeError: if the network is another one; then it is as it was.
            KeyError: if something is missing.
        """
        tensors, values = saved.tensors, saved.values
        self.network.load_state_dict(_below("network/", tensors))
        for index, parameter in enumerate(self._trained()):
            for name, value in _below(f"optimizer/{index}/", tensors).items():
                place = parameter.device if value.ndim or _is_fused(self.optimizer) else "cpu"
                layout = torch.preserve_format
                kept = torch.empty_like(parameter).copy_(value) if value.ndim else value
                self.optimizer.state[parameter][name] = kept.to(place, memory_format=layout)
        self._set_steps(int(values["n_steps"]))
        self.shuffle.bit_generator.state = values["shuffle"]
        self.mixer.state = values["mixer"]
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)

    def _set_steps(self, n_steps: int) -> None:
        schedule = self.schedule
        rates = [
            base * factor(n_steps)
            for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
        ]
        schedule.load_state_dict(
            {
                **schedule.state_dict(),
                "last_epoch": n_steps,
                "_step_count": n_steps + 1,
                "_last_lr": rates,
            }
        )
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _trained(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]


def _is_fused(optimizer: torch.optim.Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused"))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
