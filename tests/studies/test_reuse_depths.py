"""What freezing buys: the first epoch left out, on and off in turn, and what may be expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autotl.backbones.zoo import Backbone
from autotl.data import Fold
from autotl.strategies.base import Task
from studies.reuse import depths
from studies.reuse.depths import allowed_ratio, config_at, epoch_seconds, measure, ratio_by_time

MakeTask = Callable[..., Task]
N_TRAIN, N_VALIDATED = 60, 30


@pytest.fixture
def task(make_task: MakeTask) -> Task:
    return make_task(folds=(Fold(np.arange(N_TRAIN), np.arange(N_TRAIN, N_TRAIN + N_VALIDATED)),))


def test_every_epoch_but_the_first_is_timed(
    monkeypatch: pytest.MonkeyPatch, clock: Any, task: Task, backbone: Backbone
) -> None:
    def run(_: Any, config: Any, task: Task, reporter: Any) -> None:
        for seconds in (100.0, 2.0, 3.0, 5.0):
            clock.take(seconds)
            reporter.report(0.5, 0.5, {})

    monkeypatch.setattr(depths, "time", clock)
    monkeypatch.setattr(depths.Finetune, "run", run)
    assert epoch_seconds(config_at(backbone.name, 0, 4), task) == [2.0, 3.0, 5.0]


def test_one_epoch_of_those_that_are_asked_for_does_not_count(
    task: Task, backbone: Backbone
) -> None:
    seconds = epoch_seconds(config_at(backbone.name, backbone.num_stages, 3), task)
    assert len(seconds) == 2
    assert min(seconds) > 0


def test_what_freezing_allows_grows_with_the_depth(task: Task, backbone: Backbone) -> None:
    """At the last depth it is the whole forward pass above the head's few operations."""
    ratios = [allowed_ratio(task, backbone.name, d) for d in (0, 1, 3, 5)]
    assert ratios[0] == 1.0
    assert ratios == sorted(set(ratios))
    network = backbone.create(3, pretrained=True).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.activation(torch.zeros((1, 3, 32, 32)), backbone.num_stages)
    head = 2 * backbone.num_features * 3
    with_store = (2 * N_TRAIN + N_VALIDATED) * head  # a step is a pass forward and one back
    below = (N_TRAIN + N_VALIDATED) * counter.get_total_flops()
    assert ratios[-1] == pytest.approx(1 + below / with_store)


def test_what_the_speed_of_the_stages_allows(task: Task, backbone: Backbone) -> None:
    assert ratio_by_time(task, backbone.name, 0) == 1.0
    above = N_TRAIN * 2.4e-4 + N_VALIDATED * 0.6e-4
    below = (N_TRAIN + N_VALIDATED) * 0.4e-4
    assert ratio_by_time(task, backbone.name, 2) == pytest.approx((above + below) / above)


def test_a_row_compares_medians_of_runs_in_turn(
    monkeypatch: pytest.MonkeyPatch, task: Task, backbone: Backbone
) -> None:
    runs: list[tuple[int, bool]] = []

    def seconds(config: Any, own: Task) -> list[float]:
        keeps = own.seed == 1
        runs.append((config.freeze_depth, keeps))
        return [1.0, 2.0, 30.0] if keeps else [6.0, 7.0, 8.0]

    monkeypatch.setattr(depths, "keeping", lambda task: replace(task, seed=1))
    monkeypatch.setattr(depths, "keeping_nothing", lambda task: replace(task, seed=2))
    monkeypatch.setattr(depths, "epoch_seconds", seconds)
    monkeypatch.setattr(depths, "allowed_ratio", lambda *_: 7.0)
    monkeypatch.setattr(depths, "ratio_by_time", lambda *_: 14.0)
    rows = measure(task, backbone.name, 2, 4)
    assert [row["depth"] for row in rows] == list(range(backbone.num_stages + 1))
    assert runs[:5] == [(0, True), (0, False), (0, True), (0, False), (1, True)]
    row = rows[2]
    assert (row["on_s"], row["off_s"], row["ratio"]) == (2.0, 7.0, 3.5)
    assert (row["share"], row["share_by_time"]) == (0.5, 0.25)
