"""The way to run a backbone is measured by the first fit and read by the others."""

from __future__ import annotations

from pathlib import Path

import torch

from autotl.backbones.speed import Speed, Way
from autotl.backbones.zoo import Backbone, random_backbone
from autotl.reuse.quota import DiskQuota
from autotl.reuse.ways import keep_way, known_way

CPU = torch.device("cpu")
SPEED = Speed("bf16", True, (0.0, 1e-4), (4e-4, 0.0))


def test_what_was_kept_is_known(backbone: Backbone, tmp_path: Path) -> None:
    quota = DiskQuota(tmp_path / "cache", 10**6)
    assert known_way(backbone, CPU, quota) is None
    keep_way(backbone, CPU, quota, SPEED, seconds=2.0)
    assert known_way(backbone, CPU, quota) == Way("bf16", True)
    [entry] = quota.entries()
    assert entry.seconds == 2.0
    other = random_backbone("resnet10t", 32, channels=(8, 8, 8, 8))
    assert known_way(other, CPU, quota) is None


def test_a_damaged_file_is_as_good_as_none(backbone: Backbone, tmp_path: Path) -> None:
    quota = DiskQuota(tmp_path, 10**6)
    keep_way(backbone, CPU, quota, SPEED, seconds=2.0)
    [file] = tmp_path.glob("way-*")
    for damaged in ("", "{", "[]", '{"precision": "fp7", "channels_last": true}'):
        file.write_text(damaged)
        assert known_way(backbone, CPU, quota) is None


def test_without_a_place_nothing_is_kept(backbone: Backbone, tmp_path: Path) -> None:
    quota = DiskQuota(tmp_path / "cache", 0)
    keep_way(backbone, CPU, quota, SPEED, seconds=2.0)
    assert known_way(backbone, CPU, quota) is None
    assert not (tmp_path / "cache").exists()
