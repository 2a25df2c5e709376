"""Checkpoints of a running trial on disk, from which it goes on after its process was killed.

A file is written beside its place and moved there, so that it is either old, new or absent, and is
safetensors with a line of JSON: reading it runs nobody's code. What can't be read, or belongs to
another trial, counts as absent; where nothing can be written, training goes on without.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autotl.runtime import free_disk_bytes

LEAST_S = 1.0
"""Work of less than this is done again rather than kept."""
_PAYS = 20.0
"""A checkpoint is due when so many times has passed what the last one took: 5 % at most."""
_SPARE_BYTES = 64 * 2**20
"""Of the disk, which checkpoints leave to others."""
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        tensors: by name, on the CPU.
        values: plain values by name.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


class Checkpoint(Protocol):
    """A place for the state of one part of a trial."""

    def at(self, name: str) -> Checkpoint:
        """The place of a smaller part."""
        ...

    def load(self) -> Saved | None:
        """What was kept of this part; None: nothing."""
        ...

    def is_due(self) -> bool:
        """Whether enough was done since the last one that another one pays."""
        ...

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Keep the state of this part, in place of what was kept before."""
        ...

    def remove(self) -> None:
        """Forget what was kept of this part and of all smaller ones."""
        ...


class NoCheckpoint:
    """Keeps nothing."""

    def at(self, name: str) -> NoCheckpoint:
        """The same."""
        return self

    def load(self) -> Saved | None:
        """Nothing."""
        return None

    def is_due(self) -> bool:
        """Never."""
        return False

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Nothing."""

    def remove(self) -> None:
        """Nothing."""


def checkpoint_of(reporter: object) -> Checkpoint:
    """Where the trial of a reporter keeps its state; a reporter may have no such place."""
    found: Checkpoint = getattr(reporter, "checkpoint", None) or NoCheckpoint()
    return found


@dataclass
class _Clock:
    """When the last checkpoint of a trial was written, and what that took."""

    saved_at: float = field(default_factory=time.perf_counter)
    took_s: float = 0.0


@dataclass(frozen=True)
class TrialCheckpoint:
    """Checkpoints of one trial: the files of a folder, which goes when the trial has ended.

    Attributes:
        folder: made when first written to.
        trial: what the trial is, in words; the files of another one count as absent.
        extra: called at each save for what else is to be kept.
        name: of the part.
    """

    folder: Path
    trial: str
    extra: Callable[[], Mapping[str, Any]] = dict
    name: str = "trial"
    _clock: _Clock = field(default_factory=_Clock)

    def at(self, name: str) -> TrialCheckpoint:
        """The place of a smaller part."""
        return TrialCheckpoint(
            self.folder, self.trial, self.extra, f"{self.name}-{name}", self._clock
        )

    @property
    def file(self) -> Path:
        """Where this part's state is, if it is kept."""
        return self.folder / f"{self.name}{_SUFFIX}"

    def load(self) -> Saved | None:
        """What was kept of this part; None: nothing that is the trial's and can be read."""
        values = self._values(self.file)
        if values is None:
            return None
        with suppress(OSError, SafetensorError), safe_open(self.file, framework="pt") as opened:
            return Saved({name: opened.get_tensor(name) for name in list(opened.keys())}, values)
        return None

    def latest_extra(self) -> Mapping[str, Any]:
        """Of :attr:`extra`, what the latest file of the trial holds; empty without any."""
        found = [self._values(file) for file in self.folder.glob(f"*{_SUFFIX}")]
        latest = max((own for own in found if own), key=lambda own: float(own["at"]), default={})
        extra: Mapping[str, Any] = latest.get("extra", {})
        return extra

    def _values(self, file: Path) -> dict[str, Any] | None:
        """The plain values of a file; None if it isn't the trial's or can't be read."""
        with suppress(OSError, ValueError, LookupError, TypeError, SafetensorError):
            with safe_open(file, framework="pt") as opened:
                values = json.loads(opened.metadata()["values"])
            if values["trial"] == self.trial and float(values["at"]) > 0:
                return dict(values)
        return None

    def is_due(self) -> bool:
        """Whether the work since the last one is worth keeping, for what keeping it takes."""
        passed_s = time.perf_counter() - self._clock.saved_at
        return passed_s >= max(LEAST_S, _PAYS * self._clock.took_s)

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Keep the state of this part; where the disk has no room, nothing is kept."""
        started = time.perf_counter()
        n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        own = {**values, "trial": self.trial, "at": time.time(), "extra": dict(self.extra())}
        with suppress(OSError):
            if free_disk_bytes(self.folder) > n_bytes + _SPARE_BYTES:
                self.folder.mkdir(parents=True, exist_ok=True)
                part = self.file.with_suffix(".part")
                plain = {
                    name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()
                }
                try:
                    part.write_bytes(save(plain, {"values": json.dumps(own)}))
                    os.replace(part, self.file)
                finally:
                    part.unlink(missing_ok=True)
        self._clock.saved_at = time.perf_counter()
        self._clock.took_s = self._clock.saved_at - started

    def remove(self) -> None:
        """Forget what was kept of this part and of all smaller ones."""
        self.file.unlink(missing_ok=True)
        for file in self.folder.glob(f"{self.name}-*"):
            file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget all that was kept of the trial."""
        shutil.rmtree(self.folder, ignore_errors=True)
