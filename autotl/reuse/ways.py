"""Which precision and layout trains a backbone fastest on this machine: measured once."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import torch

from autotl.backbones.speed import Speed, Way
from autotl.backbones.zoo import Backbone
from autotl.reuse.quota import DiskQuota
from autotl.runtime import n_cpus

_BYTES = 4096


def known_way(backbone: Backbone, device: torch.device, quota: DiskQuota) -> Way | None:
    """The way that an earlier fit found fastest; None if none did, or its file is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        values = json.loads(quota.file(_name(backbone, device)).read_text(encoding="utf-8"))
        if values["precision"] in ("fp32", "bf16"):
            return Way(values["precision"], bool(values["channels_last"]))
    return None


def keep_way(
    backbone: Backbone, device: torch.device, quota: DiskQuota, speed: Speed, seconds: float
) -> None:
    """Keep what was found, if there is a place.

    Args:
        backbone: of which.
        device: where.
        quota: of the cache.
        speed: what was found.
        seconds: that finding it took.
    """
    name = _name(backbone, device)
    if quota.reserve(name, _BYTES, seconds):
        values = {"precision": speed.precision, "channels_last": speed.channels_last}
        with suppress(OSError):
            quota.file(name).write_text(json.dumps(values), encoding="utf-8")


def _name(backbone: Backbone, device: torch.device) -> str:
    """All that the answer depends on."""
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else n_cpus()
    parts = (backbone.architecture, sorted(backbone.architecture_options.items()))
    described = repr((*parts, backbone.image_size, device.type, machine, torch.__version__))
    return f"way-{hashlib.blake2b(described.encode(), digest_size=8).hexdigest()}"
