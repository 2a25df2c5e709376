"""Settings are frozen and strict; every wrong one is told of at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from autotl.config import STRATEGY_NAMES, FitConfig, StudyFile, make_config
from autotl.errors import InputError


def test_defaults_are_valid() -> None:
    config = make_config({})
    assert config == FitConfig()
    assert config.strategy_names == STRATEGY_NAMES


def test_strategy_names_are_those_of_the_registry() -> None:
    from autotl.strategies import STRATEGIES

    assert set(STRATEGY_NAMES) == set(STRATEGIES)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_config({}).seed = 3


@pytest.mark.parametrize(
    ("key", "nearest"), [("time_budget", "time_budget_s"), ("seeds", "seed"), ("strategy", "str")]
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"unknown setting '{key}'; did you mean '{nearest}"):
        make_config({key: 1})


def test_unknown_keys_are_refused_without_make_config_too() -> None:
    with pytest.raises(ValidationError):
        FitConfig(budget=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("time_budget_s", 0),
        ("time_budget_s", -1.0),
        ("time_budget_s", float("inf")),
        ("time_budget_s", float("nan")),
        ("n_trials", 0),
        ("n_trials", 1.5),
        ("seed", -1),
        ("seed", 2**31),
        ("workers", 0),
        ("workers", 257),
        ("disk_quota_gb", 0),
        ("disk_cache_gb", -0.1),
        ("disk_cache_gb", float("inf")),
        ("disk_cache_gb", float("nan")),
        ("memory_cache_gb", -1),
        ("memory_cache_gb", float("inf")),
        ("memory_cache_gb", "much"),
        ("metric", "acuracy"),
        ("prefer", "fast"),
        ("strategies", "finetun"),
        ("strategies", ()),
        ("strategies", ""),
        ("strategies", 5),
        ("backbones", ()),
        ("register_as", ""),
        ("register_as", "team/model"),
        ("space", {"finetune.lr": []}),
        ("space", {"finetune.lr": {"low": 1e-3}}),
        ("space", {"finetune.lr": {"low": 2.0, "high": 1.0}}),
        ("space", {"finetune.lr": None}),
        ("space", ["finetune.lr"]),
    ],
)
def test_every_bound_is_kept_and_the_value_is_told(key: str, wrong: Any) -> None:
    with pytest.raises(InputError) as caught:
        make_config({key: wrong})
    assert key in str(caught.value)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("time_budget_s", 0.5),
        ("time_budget_s", None),
        ("n_trials", 1),
        ("seed", 0),
        ("seed", 2**31 - 1),
        ("workers", 256),
        ("disk_cache_gb", 0),
        ("disk_cache_gb", None),
        ("disk_cache_gb", 0.5),
        ("memory_cache_gb", 0),
        ("memory_cache_gb", None),
        ("metric", "auto"),
        ("metric", "log_loss"),
        ("prefer", "cheap"),
    ],
)
def test_values_at_the_bounds_are_taken(key: str, right: Any) -> None:
    assert getattr(make_config({key: right}), key) == right


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        make_config({"sed": 1, "workers": 0, "metric": "acuracy"})
    told = str(caught.value)
    assert told.startswith("3 problems:")
    assert "'seed'" in told
    assert "workers" in told
    assert "did you mean 'accuracy'" in told


@pytest.mark.parametrize("given", ["scratch, bottleneck,", ["scratch", "bottleneck", "scratch"]])
def test_text_and_lists_of_names_mean_the_same(given: object) -> None:
    config = make_config({"strategies": given})
    assert config.strategies == ("scratch", "bottleneck")
    assert config.strategy_names == ("scratch", "bottleneck")


def test_one_backbone_with_a_file() -> None:
    assert make_config({"backbones": "resnet18@/w.pt"}).backbones == ("resnet18@/w.pt",)
    assert make_config({"backbones": "auto"}).backbones == "auto"


def test_output_dir_becomes_a_path() -> None:
    assert make_config({"output_dir": "somewhere"}).output_dir == Path("somewhere")


def test_study_file_needs_data_and_takes_every_setting_of_a_fit() -> None:
    with pytest.raises(InputError, match="data"):
        make_config({"seed": 1}, StudyFile)
    study = make_config({"data": "digits", "seed": 1, "description": "x"}, StudyFile)
    assert (study.data, study.seed) == ("digits", 1)


def test_settings_of_a_study_file_are_not_those_of_a_fit() -> None:
    with pytest.raises(InputError, match="unknown setting 'description'"):
        make_config({"description": "x"})


@pytest.mark.parametrize("kind", [FitConfig, StudyFile])
def test_a_model_isn_t_registered_unless_a_name_is_given(kind: type[FitConfig]) -> None:
    values = {"data": "digits"} if kind is StudyFile else {}
    assert make_config(values, kind).register_as is None
    assert make_config({**values, "register_as": "clothes"}, kind).register_as == "clothes"
