"""How much disk and memory a fit may take, and what of the past goes to make room for it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from autotl.backbones.zoo import Backbone
from autotl.config import FitConfig
from autotl.data import MIRRORS, Mirrors
from autotl.errors import InputError
from autotl.progress import Progress
from autotl.reuse.quota import DiskQuota
from autotl.runtime import free_disk_bytes, free_memory_bytes
from autotl.search.records import N_MODELS
from autotl.tracking.spool import Spool, spools_below
from autotl.workspace import DECISION, LOCK, RESERVE, Workspace

DISK_SHARE, MAX_DISK_BYTES = 0.1, 20 * 10**9
"""Of the free disk, and at most, for the cache where nobody has said how much."""
MEMORY_SHARE = 0.25
"""Of the available memory, likewise."""
_STATE_COPIES = 4
"""Of the weights, in a running trial's state: they, the best so far, and two of the optimizer's."""
_FINAL_COPIES = 2
"""Of the weights: the model, and the one that MLflow serves."""
_HEAD = 1.05
"""What a classifier adds to a backbone's weights."""
_RECORDS_BYTES = 64 * 10**6
"""For a fit's records, pages, and its part of the databases."""
_N_NAMED = 3


def memory_cache_bytes(config: FitConfig, device: torch.device) -> int:
    """The device's memory that activations may take; by default a quarter of what is free now."""
    if config.memory_cache_gb is not None:
        return int(config.memory_cache_gb * 1e9)
    return int(MEMORY_SHARE * free_memory_bytes(device))


def cache_quota(config: FitConfig, folder: Path) -> DiskQuota:
    """The cache folder with its own limit.

    By default that is a tenth of what would be free without the cache, so that a full cache doesn't
    lower its own limit.
    """
    if config.disk_cache_gb is not None:
        return DiskQuota(folder, int(config.disk_cache_gb * 1e9))
    held = sum(entry.n_bytes for entry in DiskQuota(folder, 0).entries())
    return DiskQuota(
        folder, min(MAX_DISK_BYTES, int(DISK_SHARE * (free_disk_bytes(folder) + held)))
    )


def mirrors_in(cache: Path | None, config: FitConfig, progress: Progress) -> Mirrors:
    """Where copies of data sets behind URLs are kept.

    Args:
        cache: the folder of decoded pictures, beside which they lie; None: in the user's own cache.
        config: the settings; ``disk_quota_gb`` counts copies among what stays.
        progress: whoever watches.
    """
    if cache is None:
        return Mirrors(progress=progress)
    if config.disk_quota_gb is None:
        return Mirrors(cache / MIRRORS, progress=progress)
    losing = sum(file.n_bytes for file in _losers(cache.parent))
    kept = used_bytes(cache.parent) - losing - _evictable_bytes(cache)
    return Mirrors(cache / MIRRORS, int(config.disk_quota_gb * 1e9) - kept, progress)


def make_room(
    config: FitConfig, cache: Path, backbones: Mapping[str, Backbone], study_name: str = ""
) -> DiskQuota:
    """The cache with the limit that ``disk_quota_gb`` leaves it, after the past has made room.

    What a fit may write itself is set aside first. For the rest, models of ended fits' trials give
    way to the cache, the oldest first, and the cache to what has to stay: what fits recommend,
    their pages and records, copies of data sets behind URLs, and what isn't autotl's.

    Args:
        config: the settings; without a quota nothing is deleted.
        cache: its folder, in ``output_dir``.
        backbones: the candidates.
        study_name: of the study that goes on; its models are part of what is set aside.

    Raises:
        InputError: if what has to stay leaves no room for a fit.
    """
    quota = cache_quota(config, cache)
    if config.disk_quota_gb is None:
        return quota
    limit = int(config.disk_quota_gb * 1e9)
    place = Workspace(cache.parent, study_name or ".", config.tracking_uri)
    own = own_bytes(config, place, backbones)
    mine = set(place.trials.rglob("*.safetensors")) if study_name else set()
    losers = [file for file in _losers(place.output_dir) if file.path not in mine]
    losing = sum(file.n_bytes for file in losers)
    kept = used_bytes(place.output_dir) - _evictable_bytes(cache) - losing - sum(map(_size, mine))
    if kept + own > limit:
        raise InputError(
            f"disk_quota_gb must be at least {_gb(kept + own)} for this fit, but got "
            f"{config.disk_quota_gb:g}: its models and records may take {_gb(own)} GB, and "
            f"{_gb(kept)} GB in {str(place.output_dir)!r} are kept{_largest(place.output_dir)}; "
            f"delete fits that aren't needed, or give another output_dir{_copies(cache)}"
        )
    losing -= _delete(losers, kept + losing + own + quota.max_bytes - limit)
    quota = DiskQuota(cache, min(quota.max_bytes, limit - kept - losing - own))
    quota.shrink()
    return quota


def tidy_up(config: FitConfig, place: Workspace) -> None:
    """Let what ``output_dir`` holds beyond ``disk_quota_gb`` go, when a fit has ended.

    A warning says what can't: the records of many trials may have taken more than was set aside.
    """
    if config.disk_quota_gb is None:
        return
    limit = int(config.disk_quota_gb * 1e9)
    excess = used_bytes(place.output_dir) - limit
    excess -= _delete(_losers(place.output_dir), excess)
    if excess > 0:
        DiskQuota(place.cache, max(0, _evictable_bytes(place.cache) - excess)).shrink()
        excess = used_bytes(place.output_dir) - limit
    if excess > 0:
        warnings.warn(
            f"{str(place.output_dir)!r} holds {_gb(limit + excess)} GB that aren't deleted, more "
            f"than disk_quota_gb={config.disk_quota_gb:g}{_largest(place.output_dir)}",
            stacklevel=2,
        )


def own_bytes(config: FitConfig, place: Workspace, backbones: Mapping[str, Backbone]) -> int:
    """The most that a fit writes beside the cache: trials' models and states, the final one's
    copies, records.

    Args:
        config: its settings.
        place: where it writes.
        backbones: the candidates, of which the largest counts.
    """
    weights = _HEAD * 4 * max(backbone.n_parameters for backbone in backbones.values())
    n_strategies = len(config.strategy_names)
    n_copies = N_MODELS * n_strategies + _STATE_COPIES * config.workers + _FINAL_COPIES
    if place.artifact_root is not None:
        n_copies += n_strategies + _FINAL_COPIES
    return int(weights * n_copies) + _RECORDS_BYTES


def used_bytes(folder: Path) -> int:
    """What all files below a folder take on the disk, but for what running fits hold in reserve."""
    return sum(
        _size(Path(root, name))
        for root, _, names in os.walk(folder)
        for name in names
        if name != RESERVE
    )


@dataclass(frozen=True)
class _Loser:
    path: Path
    n_bytes: int


def _losers(output_dir: Path) -> list[_Loser]:
    """Models of ended fits' trials, and MLflow's copies of such, the oldest first.

    Those of a fit that somebody is at stay, and those that a tracking server still has to get.
    """
    unsent = {spool.base for spool in map(Spool.read, spools_below(output_dir)) if spool.n_unsent()}
    files: list[Path] = []
    for decision in output_dir.glob(f"*/{DECISION}"):
        fit = decision.parent
        if fit not in unsent and not _is_in_use(fit):
            files += (fit / "trials").glob("*.safetensors")
    if not unsent:
        copies = output_dir.glob("mlartifacts/*/artifacts/model/*.safetensors")
        files += [file for file in copies if re.fullmatch(r"\d{5,}", file.stem)]
    return [_Loser(file, _size(file)) for file in sorted(files, key=_written_at)]


def _delete(losers: Sequence[_Loser], n_bytes: int) -> int:
    """Delete files until so many bytes are free, or all are gone; the bytes that are."""
    freed = 0
    for file in losers:
        if freed >= n_bytes:
            break
        file.path.unlink(missing_ok=True)
        freed += file.n_bytes
    return freed


def _is_unsent(spool: Path) -> bool:
    try:
        return Spool.read(spool).n_unsent() > 0
    except InputError:  # it can't be read: nobody knows
        return True


def _is_in_use(fit: Path) -> bool:
    lock = FileLock(fit / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _largest(output_dir: Path) -> str:
    """The largest of what lies in a folder, in words."""
    sizes = {}
    with suppress(OSError):
        for path in output_dir.iterdir():
            sizes[path.name] = used_bytes(path) if path.is_dir() else _size(path)
    named = sorted(sizes, key=lambda name: -sizes[name])[:_N_NAMED]
    told = ", ".join(f"{name!r} {_gb(sizes[name])} GB" for name in named if sizes[name])
    return f" (the largest: {told})" if told else ""


def _written_at(file: Path) -> float:
    with suppress(OSError):
        return file.lstat().st_mtime
    return 0.0


def _size(file: Path) -> int:
    """Bytes that a file takes; 0 if it went in between."""
    with suppress(OSError):
        return file.lstat().st_blocks * 512
    return 0


def _evictable_bytes(cache: Path) -> int:
    """What a cache holds but for copies of data sets behind URLs."""
    return used_bytes(cache) - used_bytes(cache / MIRRORS)


def _copies(cache: Path) -> str:
    """Of copies of data sets behind URLs, how to delete them; empty if there are none."""
    n_bytes = used_bytes(cache / MIRRORS)
    if not n_bytes:
        return ""
    return f"; copies of data sets are {_gb(n_bytes)} GB of it: `autotl cache clear` deletes them"


def _gb(n_bytes: int) -> str:
    """Rounded up, so that whoever gives as much as is named has enough."""
    step = 10**6 if n_bytes < 10**9 else 10**7
    return f"{-(-n_bytes // step) * step / 1e9:g}"
