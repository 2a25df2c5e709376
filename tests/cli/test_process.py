"""The ``autotl`` command as the shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "optuna", "mlflow", "pandas", "sklearn", "timm", "torchvision", "matplotlib")


def autotl(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from autotl.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=240,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import autotl",
        "import autotl.cli",
        "from typer.testing import CliRunner; from autotl.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from typer.testing import CliRunner; from autotl.cli import app; "
        "assert CliRunner().invoke(app, ['fit', '--help']).exit_code == 0",
        "from typer.testing import CliRunner; from autotl.cli import app; "
        "assert CliRunner().invoke(app, ['--version']).exit_code == 0",
        "from typer.testing import CliRunner; from autotl.cli import app; "
        "assert CliRunner().invoke(app, ['fit', 'nowhere']).exit_code == 2",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    code += f"; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command():
    done = autotl("--help")
    assert done.returncode == 0
    for command in ("fit", "analyze", "predict", "study", "ui", "demo"):
        assert f"│ {command} " in done.stdout


def test_version():
    done = autotl("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("autotl 0.")


def test_no_arguments_show_the_help():
    assert "Usage: autotl" in autotl().stdout + autotl().stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "nowhere"), "no such file or folder"),
        (("fit",), "Missing argument"),
        (("fit", ".", "--budgte", "3"), "No such option"),
        (("fit", ".", "--budget", "soon"), "--budget"),
        (("predict", "nowhere", "x.png"), "no such model folder"),
        (("ui", "--output", "nowhere"), "no MLflow store"),
    ],
)
def test_wrong_input_exits_with_2_and_no_traceback(arguments, message):
    done = autotl(*arguments, COLUMNS="200")
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_colour_is_for_terminals_only():
    assert "\x1b" not in autotl("fit", "nowhere").stderr
