"""From options and study files to a validated config, in the words that the user used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from autotl.config import FitConfig, make_config
from autotl.errors import InputError

OPTIONS = {
    "time_budget_s": "--budget",
    "n_trials": "--trials",
    "output_dir": "--output",
    "strategies": "--strategies",
    "backbones": "--backbones",
    "metric": "--metric",
    "prefer": "--prefer",
    "seed": "--seed",
    "workers": "--workers",
    "storage": "--storage",
    "executor": "--executor",
    "ray_address": "--ray-address",
    "worker_cpus": "--worker-cpus",
    "worker_gpus": "--worker-gpus",
    "disk_quota_gb": "--disk-quota",
    "disk_cache_gb": "--disk-cache",
    "memory_cache_gb": "--memory-cache",
    "max_unreadable": "--max-unreadable",
    "study_name": "--study-name",
    "register_as": "--register",
    "tracking_uri": "--tracking-uri",
}
"""The option for each setting; those not here can't be wrong."""


def from_options(values: Mapping[str, Any]) -> FitConfig:
    """The config of a command's options.

    Args:
        values: by setting; None for an option that wasn't given.

    Raises:
        InputError: naming every wrong option.
    """
    try:
        config: FitConfig = make_config(given(values))
    except InputError as error:
        raise InputError(_in_options(str(error))) from error
    return config


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that aren't None."""
    return {name: value for name, value in values.items() if value is not None}


def _in_options(message: str) -> str:
    """The message with settings at the start of a line replaced by their options."""
    return re.sub(
        r"^((?:  - )?)(\w+)(?=:)",
        lambda found: found[1] + OPTIONS.get(found[2], found[2]),
        message,
        flags=re.MULTILINE,
    )
