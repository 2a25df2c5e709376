"""Trainings side by side: their sum against one on all cores, each waiting for its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from autotl.backbones.speed import Speed
from studies.reuse import threads
from studies.reuse.threads import side_by_side

SPEED = Speed("fp32", True, (0.0,), (0.0,))


class Trainer:
    """One end of a connection to a training of so many threads."""

    def __init__(self, n_threads: int, log: list[tuple[int, object]]) -> None:
        self._n_threads, self._log = n_threads, log

    def send(self, order: object) -> None:
        self._log.append((self._n_threads, order))

    def recv(self) -> float:
        return {1: 30.0, 4: 80.0}[self._n_threads]


def test_as_many_as_cores_against_one_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[int, object]] = []

    @contextmanager
    def trainer(backbone: str, speed: Speed, n_threads: int) -> Iterator[Trainer]:
        assert (backbone, speed) == ("tiny", SPEED)
        yield Trainer(n_threads, log)
        log.append((n_threads, "ended"))

    def interleaved(candidates: Mapping[str, Callable[[], float]], repeats: int) -> Any:
        assert repeats == 5
        return {name: measured() for name, measured in candidates.items()}

    monkeypatch.setattr(threads, "_trainer", trainer)
    monkeypatch.setattr(threads, "n_cpus", lambda: 4)
    monkeypatch.setattr(threads, "interleaved", interleaved)
    assert side_by_side("tiny", SPEED, 2.0, 5) == {"one": 80.0, "several": 120.0, "ratio": 1.5}
    assert log == [(4, 2.0), *[(1, 2.0)] * 4, *[(1, "ended")] * 4, (4, "ended")]


def test_a_trainer_trains_for_as_long_as_it_is_asked_and_ends(
    monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    """In this process: steps of 0.5 s, batches of 32."""
    orders, sent = iter([2.0, 1.0, None]), []
    used: list[int] = []

    class Connection:
        def recv(self) -> float | None:
            return next(orders)

        def send(self, value: float) -> None:
            sent.append(value)

    def bare_steps(network: Any, pixels: torch.Tensor, labels: torch.Tensor, *rest: Any) -> Any:
        assert len(pixels) == len(labels)
        assert rest == (32, "fp32", True)
        while True:
            clock.take(0.5)
            yield 0.5

    monkeypatch.setattr(threads, "time", clock)
    monkeypatch.setattr(threads, "bare_steps", bare_steps)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    threads._train(Connection(), "embedded", SPEED, 3)  # type: ignore[arg-type]
    assert used == [3]
    assert sent == [64.0, 64.0]
