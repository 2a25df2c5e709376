"""``autotl study``: study files and fits of the past."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from jsonschema import Draft202012Validator

from autotl.cli.history import History
from autotl.cli.study_file import read_study
from autotl.config import Range
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


def test_whole_paths_urls_and_auto_stay(tmp_path):
    text = "data: /images\ntest: s3://box/test\nbackbones: auto\nstrategies: [scratch]\n"
    study = read_study(write(tmp_path, text))
    assert study.data == "/images"
    assert study.test == "s3://box/test"
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
def output(tmp_path: Path, template: Path) -> Path:
    """An output folder with one study, as the search leaves it."""
    return Path(shutil.copytree(template, tmp_path / "runs"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is copied, since a new storage takes a while."""
    folder = tmp_path_factory.mktemp("template") / "runs"
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


def test_a_space_is_checked_with_the_file(tmp_path):
    path = write(
        tmp_path,
        "data: digits\nspace:\n  finetune.freeze_depth: [1, 2]\n"
        "  finetune.lr: {low: 1e-4, high: 1e-3}\n  scratch.mirror: false\n",
    )
    assert read_study(path).plain_space == {
        "finetune.freeze_depth": [1, 2],
        "finetune.lr": {"low": 1e-4, "high": 1e-3},
        "scratch.mirror": [False],
    }
    path = write(tmp_path, "data: digits\nspace:\n  finetune.lr: 1\n  finetune.had: svm\n")
    with pytest.raises(InputError) as caught:
        read_study(path)
    message = str(caught.value)
    for part in ("2 problems", "finetune.lr: 1 is outside", "did you mean 'finetune.head'"):
        assert part in message


def test_the_published_schema_is_that_of_the_code(run):
    published = (STUDIES / "study.schema.json").read_text(encoding="utf-8")
    result = run("study", "schema")
    assert result.exit_code == 0, result.output
    assert result.stdout == published, "autotl study schema > studies/study.schema.json"
    schema = json.loads(published)
    assert all(own["description"] for own in schema["properties"].values())


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("data: digits", True),
        ("data: digits\nspace: {finetune.freeze_depth: [1, 2], finetune.head: probe}", True),
        ("data: digits\nspace: {scratch.lr: {low: 0.001, high: 0.002}}\nmetric: auroc", True),
        ("data: digits\nstrategies: [scratch]\nbackbones: embedded, resnet18", True),
        ("data: digits\nspace: {finetune.freeze_dept: 1}", False),
        ("data: digits\nspace: {finetune.head: prob}", False),
        ("data: digits\nspace: {scratch.lr: {low: 0.001, high: 2}}", False),
        ("data: digits\nspace: {scratch.lr: []}", False),
        ("data: digits\nstrategies: [scrach]", False),
        ("data: digits\nmetric: acuracy", False),
        ("seed: 1", False),
        ("data: digits\nseeed: 1", False),
    ],
)
def test_the_schema_refuses_what_autotl_refuses(tmp_path, text, is_valid):
    schema = json.loads((STUDIES / "study.schema.json").read_text(encoding="utf-8"))
    checker = Draft202012Validator(schema)
    assert checker.is_valid(yaml.safe_load(text)) == is_valid
    try:
        read_study(write(tmp_path, text))
    except InputError:
        assert not is_valid
    else:
        assert is_valid


def test_study_files_name_their_schema():
    for path in STUDIES.glob("*.yaml"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=study.schema.json"


def add_study(output: Path, name: str, **changes) -> Path:
    """A further study whose fit has ended."""
    storage = f"sqlite:///{output}/optuna.db"
    if name != "first":
        optuna.copy_study(
            from_study_name="first", from_storage=storage, to_storage=storage, to_study_name=name
        )
    folder = output / name
    folder.mkdir(exist_ok=True)
    identity = {"dataset": "digits", "n_samples": 1797, "n_classes": 10, "fingerprint": "f1"}
    settings = {"data": "digits", "test": None, "seed": 0, "strategies": "auto", "in_memory": []}
    settings |= {"backbones": ["embedded"], "metric": "auto", "space": {}, "time_budget_s": 60.0}
    kept = {
        "identity": {**identity, "space": changes.get("space", {})},
        "settings": {**settings, **changes},
    }
    (folder / "study.json").write_text(json.dumps(kept))
    return folder


def decide(folder: Path, strategy: str, value: float) -> None:
    score = {"value": value, "low": value - 0.1, "high": value + 0.05}
    decided = {"strategy": strategy, "verdict": "clear", "metric": "accuracy", "seconds": 60.0}
    decided |= {"expected": score, "test": None, "strategies": {strategy: score}}
    (folder / "decision.json").write_text(json.dumps(decided))


def test_resume_by_name_takes_the_settings_of_the_study(api, run, output):
    add_study(output, "first", seed=5, space={"finetune.lr": {"low": 1e-3, "high": 2e-3}})
    result = run("study", "resume", "first", "--output", output, "--budget", "20")
    assert result.exit_code == 0, result.output
    (images, _), settings = api.calls[0]
    assert len(images) == 1797
    assert settings["study_name"] == "first"
    assert settings["output_dir"] == output
    assert settings["time_budget_s"] == 20
    assert settings["seed"] == 5
    assert settings["space"] == {"finetune.lr": Range(low=1e-3, high=2e-3)}


def test_resume_by_file_finds_the_last_study_that_was_made_of_it(api, run, output, tmp_path):
    path = write(tmp_path, "data: digits\nbackbones: embedded\nn_trials: 9\n")
    for name, seed in (("first", 0), ("second", 0), ("third", 1)):
        add_study(output, name, seed=seed)
    result = run("study", "resume", path, "--output", output)
    assert result.exit_code == 0, result.output
    assert api.calls[0][1]["study_name"] == "second"
    assert api.calls[0][1]["n_trials"] == 9
    path = write(tmp_path, "data: digits\nbackbones: embedded\nseed: 3\n")
    result = run("study", "resume", path, "--output", output)
    assert result.exit_code == 2
    assert f"run it first: `autotl study run {path}`" in result.stderr


def test_what_came_from_memory_is_resumed_from_python(api, run, output):
    add_study(output, "first", data=None, in_memory=["data", "group"])
    result = run("study", "resume", "first", "--output", output)
    assert result.exit_code == 2
    assert "the data and group of study 'first' came from memory" in result.stderr
    assert "autotl.fit(..., study_name='first')" in result.stderr


def test_a_study_that_kept_no_settings_can_t_be_resumed_by_name(api, run, output):
    result = run("study", "resume", "first", "--output", output)
    assert result.exit_code == 2
    assert "has kept no settings" in result.stderr


def test_compare_shows_what_differs(run, output):
    decide(add_study(output, "first"), "bottleneck", 0.9)
    space = {"finetune.freeze_depth": [1, 2]}
    decide(add_study(output, "second", seed=1, space=space), "scratch", 0.8)
    result = run("study", "compare", "first", "second", "--output", output)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines == [
        "first second",
        "data the same",
        "settings seed 0 1",
        "space finetune.freeze_depth - 1, 2",
        "backbones the same",
        "verdict recommended bottleneck scratch",
        "kind clear clear",
        "expected 0.900 (0.800 to 0.950) 0.800 (0.700 to 0.850)",
        "locked test - -",
        "scores bottleneck 0.900 (0.800 to 0.950) 0.900",
        "scratch 0.850 0.800 (0.700 to 0.850)",
        "cost trials 4 4",
        "complete 3 3",
        "seconds 60 60",
    ]
    result = run("study", "compare", "first", "second", "--output", output, "--json")
    found = json.loads(result.stdout)
    assert found["studies"] == ["first", "second"]
    assert found["space"] == {"finetune.freeze_depth": [None, [1, 2]]}
    assert found["data"] == {}
    assert found["scores"]["scratch"][1]["low"] == pytest.approx(0.7)


def test_export_writes_a_row_for_each_trial_and_repeat(run, output, tmp_path):
    decide(add_study(output, "first"), "bottleneck", 0.9)
    repeats = output / "first" / "trials" / "repeats"
    repeats.mkdir(parents=True)
    record = {"number": 1, "repeat": 0, "recipe": "last-svm", "strategy": "bottleneck"}
    record |= {"state": "complete", "seconds": 2.0, "error": None, "config": {"C": "auto"}}
    record["result"] = {"score": 0.9, "metrics": {"log_loss": 0.3}}
    (repeats.parent / "00001.json").write_text(json.dumps(record))
    (repeats / "00001-1.json").write_text(json.dumps({**record, "repeat": 1}))
    files = [tmp_path / f"trials.{kind}" for kind in ("csv", "parquet", "json")]
    for file in files:
        result = run("study", "export", "first", file, "--output", output)
        assert result.exit_code == 0, result.output
    for frame in (pd.read_csv(files[0]), pd.read_parquet(files[1])):
        assert list(frame["number"]) == [0, 1, 2, 4, 1]
        assert list(frame["repeat"]) == [0, 0, 0, 0, 1]
        assert list(frame["recipe"])[1] == "last-svm"
        assert list(frame["score"])[:2] == [0.8, 0.9]
        assert frame["metrics.log_loss"][1] == 0.3
        assert list(frame["config.C"])[3:] == ["0.123456", "auto"]
    values = json.loads(files[2].read_text())
    assert values["decision"]["strategy"] == "bottleneck"
    assert values["trials"][2]["error"] == "out of memory"
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        file.name for file in files
    }


def test_export_refuses_other_files(run, output, tmp_path):
    result = run("study", "export", "first", tmp_path / "trials.xls", "--output", output)
    assert result.exit_code == 2
    assert "unknown ending of a file '.xls'" in result.stderr
    result = run("study", "export", "first", tmp_path / "absent" / "t.csv", "--output", output)
    assert result.exit_code == 2
    assert "can't be written" in result.stderr


@pytest.mark.parametrize(
    "command", [("resume", "frist"), ("compare", "first", "frist"), ("export", "frist", "t.csv")]
)
def test_unknown_studies_are_refused_with_the_nearest(run, output, command):
    result = run("study", *command, "--output", output)
    assert result.exit_code == 2
    assert "did you mean 'first'?" in result.stderr
