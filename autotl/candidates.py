"""The backbones of a fit: opened by their names, and timed."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from autotl.backbones.speed import Speed, Way, measure_forward, measure_speed
from autotl.backbones.weights import hub_reachable
from autotl.backbones.zoo import EMBEDDED, HUB_DEFAULTS, Backbone, open_backbone
from autotl.config import FitConfig
from autotl.errors import BackboneUnavailableError, InputError
from autotl.progress import Progress
from autotl.reuse.quota import DiskQuota
from autotl.reuse.ways import keep_way, known_way
from autotl.runtime import Deadline

FP32_BY_BF16 = 2.4
"""Seconds of a pass in fp32 for one in bf16, at most, where bf16 was the faster one (CPUs with
AMX, ResNets)."""
HURRIED_S = 30.0
"""With less time than this, no precisions are compared."""


def open_backbones(config: FitConfig, device_type: str, progress: Progress) -> dict[str, Backbone]:
    """The candidates by name; ``auto`` is the embedded one and the hub's, where it is reachable."""
    if not isinstance(config.backbones, str):
        named = {name: open_backbone(name, device_type=device_type) for name in config.backbones}
        _refuse_equals(named)
        return named
    candidates = {EMBEDDED: open_backbone(EMBEDDED, device_type=device_type)}
    names = HUB_DEFAULTS.get(device_type, HUB_DEFAULTS["cpu"])
    if not hub_reachable():
        progress.note(
            "the model hub can't be reached: going on with the embedded backbone alone "
            "(give others with backbones=NAME@FILE)"
        )
        return candidates
    for name in names:
        try:
            candidates[name] = open_backbone(name, device_type=device_type)
        except BackboneUnavailableError as error:
            progress.note(f"going on without {name}: {error}")
    return candidates


def _refuse_equals(backbones: Mapping[str, Backbone]) -> None:
    """Refuse two names of one network at one size."""
    first: dict[tuple[str, str, int], str] = {}
    for name, backbone in backbones.items():
        key = (backbone.architecture, backbone.weights_hash, backbone.image_size)
        other = first.setdefault(key, name)
        if other != name:
            raise InputError(
                f"backbones {other!r} and {name!r} are the same weights at the same "
                f"{backbone.image_size} px; leave one of them out"
            )


def speeds_of(
    backbones: Mapping[str, Backbone],
    device: torch.device,
    quota: DiskQuota,
    deadline: Deadline,
    *,
    only_measured: bool = False,
) -> dict[str, Speed]:
    """The measured speeds by name; where nothing is trained, of the forward pass alone."""
    if only_measured:
        return {name: measure_forward(own, device) for name, own in backbones.items()}
    return {
        name: _speed_of(backbone, device, quota, deadline) for name, backbone in backbones.items()
    }


def _speed_of(
    backbone: Backbone, device: torch.device, quota: DiskQuota, deadline: Deadline
) -> Speed:
    """The measured speed; in which precision, only the first fit with this cache finds out.

    One that is hurried doesn't, and takes what is never slow; so does one on the CPU that has no
    time to end in, whose scores may not hang on a clock.
    """
    is_on_cpu = device.type == "cpu"
    started = time.perf_counter()
    way = known_way(backbone, device, quota)
    if (deadline.at is None and is_on_cpu) or (way is None and deadline.left_s() < HURRIED_S):
        way = Way("fp32", is_on_cpu)
    speed = measure_speed(backbone, device, way)
    if way is None:
        keep_way(backbone, device, quota, speed, time.perf_counter() - started)
    return speed


def scoring_s(n_test: int, speeds: Mapping[str, Speed]) -> float:
    """Predicted seconds of scoring a test set in fp32, by the slowest of the backbones."""
    return n_test * max(
        speed.forward_s * (1.0 if speed.precision == "fp32" else FP32_BY_BF16)
        for speed in speeds.values()
    )
