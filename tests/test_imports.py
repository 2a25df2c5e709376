"""What is loaded when: the design page's floors are import-linter's part."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "timm", "pandas", "optuna", "mlflow", "sklearn", "matplotlib", "torchvision")


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after that code."""
    report = f"import sys; print(*(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import autotl; dir(autotl); autotl.__version__",
        "import autotl.config, autotl.errors, autotl.progress, autotl.runtime",
        "import autotl.workspace",
        "import autotl.tracking.mlflow, autotl.tracking.base",
        "import autotl.cli",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == set()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['autotl', '--help']\n"
        "from autotl.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )
    assert loaded_by(code) == set()


def test_looking_at_studies_loads_optuna_alone() -> None:
    assert "torch" not in loaded_by("import autotl.search.storage")
    assert loaded_by("import autotl.search.storage") <= {"optuna", "pandas", "sklearn"}


def test_public_names_come_when_asked_for_and_analysis_loads_no_search() -> None:
    assert loaded_by("import autotl; autotl.analyze") == {"torch", "timm", "torchvision"}


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import autotl

    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        autotl.fitt  # noqa: B018
    assert set(autotl.__all__) <= set(dir(autotl))
