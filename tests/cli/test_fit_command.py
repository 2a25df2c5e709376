"""``autotl fit`` and ``autotl demo``: what reaches the api, what is printed, how they end."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from autotl.allowance import DISK_SHARE, MAX_DISK_BYTES, MEMORY_SHARE
from autotl.cli import options
from autotl.config import DEFAULT_BUDGET_S, DEFAULT_OUTPUT, FitConfig
from autotl.datasets import wallpaper_groups
from autotl.errors import InputError


def test_options_reach_the_api(api, run, data, tmp_path):
    result = run(
        "fit", data, "--test", data, "--image", "file", "--label", "kind", "--group", "patient",
        "--budget", "60", "--trials", "5", "--strategies", "bottleneck,scratch",
        "--backbones", "embedded,resnet18@w.safetensors", "--metric", "macro_f1",
        "--prefer", "cheap", "--seed", "7", "--device", "cpu", "--workers", "2",
        "--storage", "postgresql://db/o", "--executor", "ray", "--ray-address", "local",
        "--worker-cpus", "2", "--worker-gpus", "0.5",
        "--output", tmp_path, "--disk-quota", "20", "--disk-cache", "1.5", "--memory-cache", "0",
        "--tracking-uri", "http://localhost:1", "--study-name", "one",
        "--register", "clothes", "--no-warm-start", "--trust-paths", "--max-unreadable", "0.3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    dataset, settings = api.calls[0]
    assert dataset == str(data)
    assert settings == {
        "test": str(data),
        "image": "file",
        "label": "kind",
        "group": "patient",
        "time_budget_s": 60.0,
        "n_trials": 5,
        "strategies": ("bottleneck", "scratch"),
        "backbones": ("embedded", "resnet18@w.safetensors"),
        "metric": "macro_f1",
        "prefer": "cheap",
        "seed": 7,
        "device": "cpu",
        "workers": 2,
        "storage": "postgresql://db/o",
        "executor": "ray",
        "ray_address": "local",
        "worker_cpus": 2.0,
        "worker_gpus": 0.5,
        "output_dir": tmp_path,
        "disk_quota_gb": 20.0,
        "disk_cache_gb": 1.5,
        "memory_cache_gb": 0.0,
        "tracking_uri": "http://localhost:1",
        "study_name": "one",
        "register": "clothes",
        "space": {},
        "warm_start": False,
        "trust_paths": True,
        "max_unreadable": 0.3,
    }


def test_without_options_the_defaults_are_the_configs(api, run, data):
    run("fit", data)
    defaults = FitConfig()
    expected = {name: getattr(defaults, name) for name in FitConfig.model_fields}
    expected["register"] = expected.pop("register_as")
    assert api.calls[0][1] == {"test": None, **expected}


def test_defaults_in_the_help_are_the_configs():
    assert f"{DEFAULT_BUDGET_S:g} s." in options.Budget.__metadata__[0].help
    share = {0.1: "A tenth of the free disk, at most 20."}[DISK_SHARE]
    assert options.DiskCache.__metadata__[0].help.endswith(share)
    assert MAX_DISK_BYTES == 20e9
    assert options.MaxUnreadable.__metadata__[0].help.endswith(f"{FitConfig().max_unreadable}.")
    assert MEMORY_SHARE == 0.25
    assert str(DEFAULT_OUTPUT) in options.Output.__metadata__[0].help
    assert options.DEFAULT_OUTPUT == DEFAULT_OUTPUT
    assert options.Prefer.__metadata__[0].help.endswith(f"{FitConfig().prefer}.")


def test_result_goes_to_stdout_and_progress_to_stderr(api, run, data, tmp_path):
    result = run("fit", data, "--output", tmp_path / "my runs")
    assert "Use the bottleneck strategy." in result.stdout
    assert "report   runs/a b/report.html" in result.stdout
    assert "autotl predict 'runs/a b/model' IMAGES..." in result.stdout
    assert f"autotl ui --output '{tmp_path / 'my runs'}'" in result.stdout
    assert "trial" not in result.stdout.split("report")[0]
    assert "note: the hub can't be reached" in result.stderr
    assert "trial 0 bottleneck: 0.910 after 2.0 s, best so far" in result.stderr
    assert "trial 1 scratch: pruned after 3.0 s" in result.stderr


def test_lines_are_not_broken_in_a_pipe(api, run, data):
    lines = run("fit", data).stdout.splitlines()
    assert max(len(line) for line in lines) > 150


def test_another_tracking_server_is_named(api, run, data):
    api.recommendation.tracking_uri = "http://server:1"
    assert "MLflow   http://server:1" in run("fit", data).stdout


def test_json_is_the_only_line_on_stdout(api, run, data):
    result = run("fit", data, "--json")
    assert result.stdout.count("\n") == 1
    values = json.loads(result.stdout)
    assert values["strategy"] == "bottleneck"
    assert values["expected"] == {"value": 0.91, "low": 0.88, "high": None}
    assert "Use the bottleneck strategy." in result.stderr


def test_several_wrong_options_are_named_at_once_by_the_options_names(api, run, data):
    wrong = ("--strategies", "botleneck", "--metric", "acuracy", "--disk-cache", "-1")
    result = run("fit", data, "--budget", "0", *wrong)
    assert result.exit_code == 2
    assert "--disk-cache: Input should be greater than or equal to 0" in result.stderr
    assert result.stdout == ""
    assert "--budget: Input should be greater than 0, but got 0.0" in result.stderr
    assert "did you mean 'bottleneck'?" in result.stderr
    assert "did you mean 'accuracy'?" in result.stderr
    assert not api.calls


@pytest.mark.parametrize("option", ["", "--test"])
def test_a_missing_file_is_named(api, run, data, option):
    arguments = ["nowhere"] if not option else [data, option, "nowhere"]
    result = run("fit", *arguments)
    assert result.exit_code == 2
    assert "no such file or folder: nowhere" in result.stderr
    assert str(Path("nowhere").absolute()) in result.stderr


def test_a_url_is_left_to_the_fit(api, run):
    assert run("fit", "s3://box/none", "--test", "s3://box/test").exit_code == 0
    assert run("analyze", "s3://box/none").exit_code == 0
    assert [call[0] for call in api.calls] == ["s3://box/none"] * 2


def test_a_user_error_is_told_without_a_traceback(api, run, data):
    api.error = InputError("class 'cat' has one image; it needs 2")
    result = run("fit", data)
    assert result.exit_code == 2
    assert "error: class 'cat' has one image; it needs 2\n" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_adds_the_traceback(api, run, data):
    api.error = InputError("class 'cat' has one image")
    result = run("fit", data, "--debug")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("error: class 'cat' has one image\n")


def test_a_bug_is_called_one(api, run, data):
    api.error = RuntimeError("shapes\ndon't fit")
    result = run("fit", data)
    assert result.exit_code == 1
    assert "error: RuntimeError: shapes don't fit\n" in result.stderr
    assert "this is a bug; run with --debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_interrupt_outside_the_search_is_130(api, run, data):
    api.error = KeyboardInterrupt()
    result = run("fit", data)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_analyze_prints_text_or_json(api, run, data):
    result = run("analyze", data, "--label", "kind", "--backbones", "embedded")
    assert result.stdout == "120 images; bottleneck\n"
    assert api.calls[0][1]["label"] == "kind"
    assert api.calls[0][1]["backbones"] == ("embedded",)
    result = run("analyze", data, "--json")
    assert json.loads(result.stdout) == {"strategy": "bottleneck", "n_samples": 120}
    assert api.calls[1][1]["html"] is None


def test_analyze_writes_a_page_and_says_where(api, run, data, tmp_path):
    page = tmp_path / "the [page].html"
    result = run("analyze", data, "--html", page)
    assert result.exit_code == 0, result.output
    assert page.is_file()
    assert f"page written to {page}\n" in result.stdout
    result = run("analyze", data, "--html", page, "--json")
    assert json.loads(result.stdout) == {"strategy": "bottleneck", "n_samples": 120}


def test_analyze_refuses_a_bad_place_before_it_starts(api, run, data, tmp_path):
    for place, words in (
        (tmp_path / "absent" / "page.html", "make it first"),
        (tmp_path, "is a folder"),
    ):
        result = run("analyze", data, "--html", place)
        assert result.exit_code == 2
        assert words in result.stderr
        assert str(place) in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert api.calls == []


@pytest.mark.parametrize(("name", "n_classes"), [("digits", 10), ("wallpaper", 17)])
def test_demo_runs_on_built_in_images(api, run, name, n_classes, monkeypatch):
    few = functools.partial(wallpaper_groups, 1)  # drawing all of them takes seconds
    monkeypatch.setattr("autotl.datasets.built_in.wallpaper_groups", few)
    result = run("demo", "--data", name, "--budget", "90")
    assert result.exit_code == 0, result.output
    (images, labels), settings = api.calls[0]
    assert images.dtype == np.uint8
    assert len(images) == len(labels)
    assert len(set(labels)) == n_classes
    assert settings["time_budget_s"] == 90.0
    assert "autotl ui --output autotl-runs" in result.stdout


def test_demo_takes_150_seconds_by_default(api, run):
    run("demo")
    assert api.calls[0][1]["time_budget_s"] == 150.0


def test_demo_refuses_other_data(api, run):
    result = run("demo", "--data", "walpaper")
    assert result.exit_code == 2
    assert "did you mean 'wallpaper'?" in result.stderr
