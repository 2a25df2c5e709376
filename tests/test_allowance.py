from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autotl import allowance
from autotl.allowance import (
    cache_quota,
    make_room,
    memory_cache_bytes,
    mirrors_in,
    own_bytes,
    tidy_up,
    used_bytes,
)
from autotl.backbones.zoo import Backbone, open_backbone
from autotl.config import FitConfig, make_config
from autotl.data import MIRRORS, Mirrors
from autotl.errors import InputError
from autotl.progress import Progress
from autotl.reuse.quota import DiskQuota
from autotl.tracking.spool import Spool
from autotl.workspace import Workspace

CPU = torch.device("cpu")
MB = 10**6


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two ended fits of two trials' models, and a cache of two entries; 12 MB."""
    for age, fit in enumerate(("new", "old")):
        make_file(tmp_path / fit / "trials" / "00000.safetensors", age_s=1000 * age + 10)
        make_file(tmp_path / fit / "trials" / "00003.safetensors", age_s=1000 * age)
        make_file(tmp_path / fit / "model" / "model.safetensors", age_s=1000 * age)
        make_file(tmp_path / fit / "trials" / "00000.json", n_bytes=100)
        make_file(tmp_path / fit / "decision.json", n_bytes=100)
    for run, name in (("a", "00003"), ("b", "model")):
        make_file(
            tmp_path / "mlartifacts" / run / "artifacts/model" / f"{name}.safetensors", age_s=500
        )
    quota = DiskQuota(tmp_path / "cache", 100 * MB)
    for name, seconds in (("cheap", 1.0), ("dear", 100.0)):
        assert quota.reserve(name, 2 * MB, seconds)
        make_file(quota.file(name), n_bytes=2 * MB)
    return tmp_path


def make_file(path: Path, age_s: float = 0.0, n_bytes: int = MB) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\1" * n_bytes)
    now = path.stat().st_mtime
    os.utime(path, (now - age_s, now - age_s))


@pytest.fixture
def backbones(weights_file: Path) -> dict[str, Backbone]:
    opened = open_backbone(f"resnet10t@{weights_file}", device_type="cpu")
    return {"small": opened, "tiny": replace(opened, n_parameters=3)}


def config(output: Path, mb: float | None, **values: object) -> FitConfig:
    gb = None if mb is None else mb / 1000
    made: FitConfig = make_config(
        {"output_dir": output, "disk_quota_gb": gb, "disk_cache_gb": 0.0041, **values}
    )
    return made


def own_mb(output: Path, backbones: dict[str, Backbone]) -> float:
    return own_bytes(config(output, None), Workspace(output, "it"), backbones) / MB


def models(output: Path) -> list[str]:
    return sorted(str(p.relative_to(output)) for p in output.rglob("*.safetensors"))


def cached(output: Path) -> list[str]:
    return [entry.name for entry in DiskQuota(output / "cache", 0).entries()]


EVERY_MODEL = [
    "mlartifacts/a/artifacts/model/00003.safetensors",
    "mlartifacts/b/artifacts/model/model.safetensors",
    "new/model/model.safetensors",
    "new/trials/00000.safetensors",
    "new/trials/00003.safetensors",
    "old/model/model.safetensors",
    "old/trials/00000.safetensors",
    "old/trials/00003.safetensors",
]
RECOMMENDED = [name for name in EVERY_MODEL if "/model.safetensors" in name]


def test_without_a_quota_nothing_goes(output: Path, backbones: dict[str, Backbone]) -> None:
    given = config(output, None)
    assert make_room(given, output / "cache", backbones).max_bytes == 4_100_000
    tidy_up(given, Workspace(output, "it"))
    assert (models(output), cached(output)) == (EVERY_MODEL, ["cheap", "dear"])


def test_the_models_of_old_trials_go_first_and_no_more_than_needed(
    output: Path, backbones: dict[str, Backbone]
) -> None:
    held = (used_bytes(output) - used_bytes(output / "cache")) / MB + 4.1
    room = config(output, own_mb(output, backbones) + held + 0.1)
    assert make_room(room, output / "cache", backbones).max_bytes == 4_100_000
    assert models(output) == EVERY_MODEL
    short = config(output, own_mb(output, backbones) + held - 2.5)
    assert make_room(short, output / "cache", backbones).max_bytes == 4_100_000
    gone = {"old/trials/00000.safetensors", "old/trials/00003.safetensors"}
    gone |= {"mlartifacts/a/artifacts/model/00003.safetensors"}
    assert set(EVERY_MODEL) - set(models(output)) == gone
    assert cached(output) == ["cheap", "dear"]


def test_then_the_cache_and_what_fits_recommend_stays(
    output: Path, backbones: dict[str, Backbone]
) -> None:
    kept = 3.1  # three models, records
    tight = config(output, own_mb(output, backbones) + kept + 2.1)
    quota = make_room(tight, output / "cache", backbones)
    assert 2 * MB < quota.max_bytes < 2.3 * MB
    assert models(output) == RECOMMENDED
    assert cached(output) == ["dear"]
    assert (output / "old" / "trials" / "00000.json").is_file()


def test_too_small_a_quota_is_refused_before_anything_goes(
    output: Path, backbones: dict[str, Backbone]
) -> None:
    small = config(output, own_mb(output, backbones) + 1)
    with pytest.raises(InputError, match=r"disk_quota_gb must be at least (\S+) .*got") as error:
        make_room(small, output / "cache", backbones)
    assert "'old' 0.004 GB" in str(error.value)
    assert models(output) == EVERY_MODEL
    least = float(str(error.value).split("at least ")[1].split()[0])
    make_room(config(output, least * 1000), output / "cache", backbones)
    assert models(output) == RECOMMENDED


def test_copies_of_data_sets_stay_and_count(output: Path, backbones: dict[str, Backbone]) -> None:
    make_file(output / "cache" / MIRRORS / "pets-12" / "files" / "cat" / "0.png")
    kept = 4.1  # three models, records, the copy
    own = own_mb(output, backbones)
    mirrors = mirrors_in(output / "cache", config(output, kept + 10), Progress())
    assert mirrors.folder == output / "cache" / MIRRORS
    assert mirrors_in(None, config(output, kept), Progress()).folder == Mirrors().folder
    assert mirrors.max_bytes == pytest.approx(10 * MB, abs=MB / 10)
    with pytest.raises(InputError, match=r"copies of data sets are 0\.002 GB of it: `autotl cache"):
        make_room(config(output, own + kept - 0.5), output / "cache", backbones)
    quota = make_room(config(output, own + kept + 2.1), output / "cache", backbones)
    assert 2 * MB < quota.max_bytes < 2.3 * MB
    tidy_up(config(output, kept + 0.1), Workspace(output, "it"))
    assert cached(output) == []
    assert used_bytes(output / "cache" / MIRRORS) >= MB


def test_the_study_that_goes_on_keeps_its_models(
    output: Path, backbones: dict[str, Backbone]
) -> None:
    tight = config(output, own_mb(output, backbones) + 3.5)
    make_room(tight, output / "cache", backbones, "old")
    assert set(models(output)) == {
        *RECOMMENDED,
        "old/trials/00000.safetensors",
        "old/trials/00003.safetensors",
    }


def test_neither_fits_that_run_nor_unsent_files_are_touched(
    output: Path, backbones: dict[str, Backbone]
) -> None:
    tight = config(output, own_mb(output, backbones) + 8.5)
    spool = Spool(output / "old" / "mlflow" / "x", "http://away")
    spool.make()
    spool.append([{"do": "file", "file": "trials/00003.safetensors"}])
    (output / "new" / "study.json").write_text("{}")
    with Workspace.open(config(output, None, study_name="new")):
        quota = make_room(tight, output / "cache", backbones)
    assert models(output) == EVERY_MODEL
    assert quota.max_bytes < 2 * MB


def test_when_a_fit_has_ended_what_is_too_much_goes(output: Path) -> None:
    place = Workspace(output, "it")
    tidy_up(config(output, 20), place)
    assert models(output) == EVERY_MODEL
    tidy_up(config(output, 6), place)
    assert models(output) == RECOMMENDED
    assert cached(output) == ["dear"]
    with pytest.warns(UserWarning, match=r"more than disk_quota_gb=0.001 \(the largest: "):
        tidy_up(config(output, 1), place)
    assert models(output) == RECOMMENDED
    assert cached(output) == []


def test_a_fit_sets_aside_room_for_the_largest_of_the_candidates(
    tmp_path: Path, backbones: dict[str, Backbone]
) -> None:
    weights = 4 * backbones["small"].n_parameters
    here, elsewhere = Workspace(tmp_path, "it"), Workspace(tmp_path, "it", "http://away")
    one = config(tmp_path, None, strategies="bottleneck")
    n_copies = [
        (own_bytes(given, place, backbones) - own_bytes(given, place, {"t": backbones["tiny"]}))
        / weights
        for given, place in ((one, elsewhere), (one, here), (config(tmp_path, None), here))
    ]
    assert n_copies == pytest.approx([1.05 * 9, 1.05 * 12, 1.05 * 20], rel=1e-3)


def test_the_default_cache_is_a_tenth_of_the_free_disk_and_at_most_20_gb(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = [50_000_000_000]
    monkeypatch.setattr(allowance, "free_disk_bytes", lambda folder: free[0])
    assert cache_quota(make_config({}), tmp_path).max_bytes == 5_000_000_000
    (tmp_path / "x.rows").write_bytes(b"x" * 2**20)
    free[0] -= 2**20  # what the cache holds itself doesn't lower its limit
    assert cache_quota(make_config({}), tmp_path).max_bytes == 5_000_000_000
    free[0] = 10**12
    assert cache_quota(make_config({}), tmp_path).max_bytes == 20_000_000_000
    for given in (0, 0.25, 30):
        quota = cache_quota(make_config({"disk_cache_gb": given}), tmp_path)
        assert quota.max_bytes == given * 10**9
        assert quota.folder == tmp_path


def test_the_default_memory_is_a_quarter_of_what_is_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allowance, "free_memory_bytes", lambda _: 4_000_000)
    assert memory_cache_bytes(make_config({}), CPU) == 1_000_000
    assert memory_cache_bytes(make_config({"memory_cache_gb": 0}), CPU) == 0
    assert memory_cache_bytes(make_config({"memory_cache_gb": 2.5}), CPU) == 2_500_000_000
