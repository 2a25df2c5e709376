"""``autotl study``: study files and fits of the past."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import optuna
import pytest

from autotl.cli.history import History
from autotl.cli.study import read_study
from autotl.errors import InputError

STUDIES = Path(__file__).parents[2] / "studies"


def write(folder: Path, text: str) -> Path:
    path = folder / "one.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["digits", "wallpaper_groups"])
def test_the_studies_that_come_with_autotl_are_valid(name):
    study = read_study(STUDIES / f"{name}.yaml")
    assert study.data == name
    assert study.time_budget_s == 240
    assert study.description


def test_paths_are_relative_to_the_file(tmp_path):
    path = write(
        tmp_path,
        "data: ../images\ntest: test.csv\nbackbones: embedded, resnet18@w/r.safetensors, "
        "embedded@96px, resnet18@w/r.safetensors@96px\n"
        "output_dir: here\n",
    )
    study = read_study(path)
    assert study.data == f"{tmp_path}/../images"
    assert study.test == f"{tmp_path}/test.csv"
    file = f"{tmp_path}/w/r.safetensors"
    assert study.backbones == (
        "embedded",
        f"resnet18@{file}",
        "embedded@96px",
        f"resnet18@{file}@96px",
    )
    assert study.output_dir == Path("here")


def test_whole_paths_and_auto_stay(tmp_path):
    study = read_study(write(tmp_path, "data: /images\nbackbones: auto\nstrategies: [scratch]\n"))
    assert study.data == "/images"
    assert study.backbones == "auto"
    assert study.strategies == ("scratch",)


def test_overrides_win(tmp_path):
    path = write(tmp_path, "data: digits\ntime_budget_s: 240\n")
    assert read_study(path, {"time_budget_s": 30}).time_budget_s == 30


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    path = write(tmp_path, "data: digits\ntime_budget: 240\n")
    with pytest.raises(InputError, match=r"one\.yaml: unknown setting 'time_budget'; .*'time_bud"):
        read_study(path)


def test_all_problems_are_listed_at_once(tmp_path):
    path = write(tmp_path, "seeed: 1\nprefer: best\ntime_budget_s: -1\n")
    with pytest.raises(InputError) as caught:
        read_study(path)
    message = str(caught.value)
    assert "4 problems" in message
    for part in ("data is missing", "'seed'", "prefer:", "time_budget_s:"):
        assert part in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "isn't YAML"),
        ("- data\n- digits\n", "is a list"),
        ("", "is empty"),
        ("just words", "is a str"),
        ("data: digits\nseed: many\n", "seed:"),
        ("data: 5\n", "data:"),
        ("data: digits\ntest: digits\n", "test: a built-in"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_study(write(tmp_path, text))


def test_a_missing_study_file_is_named(api, run):
    result = run("study", "run", "nowhere.yaml")
    assert result.exit_code == 2
    assert "no such study file: nowhere.yaml" in result.stderr


def test_a_binary_file_is_no_study(api, run, tmp_path):
    path = tmp_path / "one.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    result = run("study", "run", path)
    assert result.exit_code == 2
    assert "isn't UTF-8" in result.stderr


def test_run_hands_the_study_to_the_api(api, run, tmp_path):
    (tmp_path / "images").mkdir()
    path = write(tmp_path, "data: images\nseed: 3\ntime_budget_s: 240\n")
    result = run("study", "run", path, "--budget", "20", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    dataset, settings = api.calls[0]
    assert dataset == str(tmp_path / "images")
    assert settings["seed"] == 3
    assert settings["time_budget_s"] == 20
    assert settings["output_dir"] == tmp_path / "out"
    assert "data" not in settings


def test_run_knows_the_built_in_sets(api, run):
    run("study", "run", STUDIES / "digits.yaml")
    images, labels = api.calls[0][0]
    assert len(images) == len(labels) == 1797


def test_a_wrong_option_is_named_as_such(api, run):
    result = run("study", "run", STUDIES / "digits.yaml", "--trials", "0")
    assert result.exit_code == 2
    assert "--trials:" in result.stderr


def test_missing_data_of_a_study_is_named(api, run, tmp_path):
    result = run("study", "run", write(tmp_path, "data: nowhere\n"))
    assert result.exit_code == 2
    assert f"no such file or folder: {tmp_path}/nowhere" in result.stderr


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder with one study, as the search leaves it."""
    folder = tmp_path / "runs"
    (folder / "first").mkdir(parents=True)
    (folder / "first" / "report.html").touch()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="first", storage=f"sqlite:///{folder}/optuna.db", direction="maximize"
    )
    strategies = optuna.distributions.CategoricalDistribution(["bottleneck", "scratch"])
    for strategy, state, score in (
        ("bottleneck", "complete", 0.8),
        ("bottleneck", "complete", 0.9),
        ("scratch", "failed", None),
        ("scratch", "unaffordable", None),
        ("scratch", "complete", 0.85),
    ):
        attributes = {"state": state, "config": {"backbone": "embedded", "C": 0.123456}}
        if state == "failed":
            attributes = {**attributes, "error": "out of memory"}
        study.add_trial(
            optuna.trial.create_trial(
                params={"strategy": strategy},
                distributions={"strategy": strategies},
                value=score,
                state=optuna.trial.TrialState.COMPLETE
                if state == "complete"
                else optuna.trial.TrialState.FAIL,
                user_attrs=attributes,
            )
        )
    study.enqueue_trial({"strategy": "scratch"})
    return folder


def test_history_reads_what_the_search_wrote(output):
    past = History(output).study("first")
    assert [trial.state for trial in past.trials] == [
        "complete",
        "complete",
        "failed",
        "complete",
    ]
    assert [(trial.strategy, trial.score) for trial in past.best] == [
        ("bottleneck", 0.9),
        ("scratch", 0.85),
    ]
    assert isinstance(past.started, datetime)


def test_list_shows_every_study(run, output):
    result = run("study", "list", "--output", output)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("first")]
    assert line.split()[3:7] == ["4", "3", "bottleneck", "0.900"]
    assert line.rstrip().endswith(str(output / "first"))


def test_a_storage_elsewhere_is_read(run, output, tmp_path):
    storage = f"sqlite:///{output}/optuna.db"
    result = run("study", "list", "--output", tmp_path / "none", "--storage", storage)
    assert "first" in result.stdout
    assert "0.900" in run("study", "show", "first", "--storage", storage).stdout


def test_show_lists_trials_the_best_and_the_files(run, output):
    result = run("study", "show", "first", "--output", output)
    assert result.exit_code == 0, result.output
    assert "backbone=embedded, C=0.123" in result.stdout
    assert "out of memory" in result.stdout
    assert f"report   {output}/first/report.html" in result.stdout
    assert f"model    none ({output}/first/model doesn't exist)" in result.stdout
    assert "decided" not in result.stdout


def test_show_tells_what_was_decided(run, output):
    score = {"value": 0.9, "low": 0.85, "high": 0.95}
    decided = {"strategy": "bottleneck", "metric": "accuracy", "expected": score, "test": score}
    (output / "first" / "decision.json").write_text(json.dumps(decided))
    result = run("study", "show", "first", "--output", output)
    assert (
        "decided  bottleneck: accuracy 0.900 (0.850 to 0.950) expected, "
        "0.900 (0.850 to 0.950) on the locked test set\n"
    ) in result.stdout


def test_show_names_the_nearest_study(run, output):
    result = run("study", "show", "frist", "--output", output)
    assert result.exit_code == 2
    assert "did you mean 'first'?" in result.stderr


@pytest.mark.parametrize("command", [("list",), ("show", "first")])
def test_a_folder_without_studies_is_told(run, tmp_path, command):
    result = run("study", *command, "--output", tmp_path)
    assert result.exit_code == 2
    assert "no studies in" in result.stderr
    assert "run `autotl fit" in result.stderr
    assert not list(tmp_path.iterdir())
