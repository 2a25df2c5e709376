"""The measured speed describes a way to run that works."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

from autotl.backbones.speed import Speed, autocast, measure_forward, measure_speed
from autotl.backbones.zoo import Backbone

CPU = torch.device("cpu")


def test_speed_is_measured_without_a_trace(
    backbone: Backbone, random_state: Callable[[], object]
) -> None:
    before = random_state()
    speed = measure_speed(backbone, CPU)
    assert random_state() == before
    assert speed.precision in {"fp32", "bf16"}
    assert 0 < speed.forward_s < 1
    assert 0 < speed.train_s < 1
    assert speed.forward_to[0] == 0
    assert list(speed.forward_to) == sorted(speed.forward_to)
    assert all(seconds > 0 for seconds in speed.train_from)
    assert len(speed.forward_to) == len(speed.train_from) == backbone.num_stages + 1


def test_a_precision_that_is_emulated_is_not_timed(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    convolve = torch.nn.functional.conv2d

    def slow_in_bf16(x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        if x.dtype == torch.bfloat16:
            time.sleep(0.02)
        return convolve(x.float(), rest[0].float(), *rest[1:], **options)

    def refuse(precision: str, device: torch.device) -> AbstractContextManager[object]:
        assert precision == "fp32"
        return autocast(precision, device)

    monkeypatch.setattr(torch.nn.functional, "conv2d", slow_in_bf16)
    monkeypatch.setattr("autotl.backbones.speed.autocast", refuse)
    assert measure_speed(backbone, CPU).precision == "fp32"


def test_scratch_only_backbones_are_measured_too(backbone: Backbone) -> None:
    from autotl.backbones.zoo import random_backbone

    assert measure_speed(random_backbone("resnet10t", 32, channels=(8, 8, 8, 8)), CPU).train_s > 0


def test_the_forward_pass_is_measured_alone(
    backbone: Backbone, random_state: Callable[[], object]
) -> None:
    before = random_state()
    speed = measure_forward(backbone, CPU)
    assert random_state() == before
    assert (speed.precision, speed.channels_last) == ("fp32", True)
    assert 0 < speed.forward_s < 1
    assert list(speed.forward_to) == sorted(speed.forward_to)
    assert len(speed.forward_to) == len(speed.train_from) == backbone.num_stages + 1
    assert speed.train_s == 3 * speed.forward_s
    assert list(speed.train_from) == sorted(speed.train_from, reverse=True)


def test_layout() -> None:
    assert Speed("fp32", True, (0.0, 1.0), (1.0, 0.5)).memory_format == torch.channels_last
    assert Speed("fp32", False, (0.0, 1.0), (1.0, 0.5)).memory_format == torch.contiguous_format


def test_precision_of_the_context() -> None:
    linear = torch.nn.Linear(2, 2)
    with autocast("bf16", CPU):
        assert linear(torch.zeros(1, 2)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert linear(torch.zeros(1, 2)).dtype == torch.float32
