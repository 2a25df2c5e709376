"""Every block of Python in the documentation runs, page by page, on small pictures."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

import autotl

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
SLOW = {"scikit-learn.md", "export.md", "backbone.md"}
"""Pages that fit several models, translate one into other formats, or look with a large one."""
QUICK = {"time_budget_s": None, "n_trials": 1, "strategies": "bottleneck", "warm_start": False}
"""What the pages' fits are cut down to."""


def blocks(page: Path) -> list[str]:
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
) -> Path:
    """A folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("docs")
    for i, (picture, label) in enumerate(zip(pictures, picture_labels, strict=True)):
        file = folder / "pictures" / f"class-{label}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    (folder / "new").mkdir()
    for name in ("new/one.jpg", "new/two.png", "new.jpg"):
        Image.fromarray(pictures[0]).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def quick_fit(place: Path, weights_file: Path) -> Any:
    """``autotl.fit``, cut down; fits with the same settings are the same fit."""
    made: dict[str, Any] = {}
    real = autotl.fit

    def fit(dataset: Any, **settings: Any) -> Any:
        given = {k: v for k, v in settings.get("space", {}).items() if "bottleneck." in k}
        space = given or {"bottleneck.layers": "last"}  # so that it is a timm model, too
        named = {"register": settings.get("register")}
        quick = {**QUICK, **named, "space": space, "backbones": f"resnet10t@{weights_file}"}
        key = f"{dataset if isinstance(dataset, str) else id(dataset)} {quick}"
        if key not in made:
            made[key] = real(dataset, output_dir=place / "autotl-runs", **quick)
        return made[key]

    return fit


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=str(page.relative_to(ROOT)),
            marks=[pytest.mark.slow] if page.name in SLOW else [],
        )
        for page in PAGES
        if blocks(page)
    ],
)
def test_every_block_runs(
    page: Path,
    place: Path,
    quick_fit: Any,
    weights_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    if page.name == "tutorial.md":
        small = functools.partial(autotl.analyze, backbones=f"resnet10t@{weights_file}")
        monkeypatch.setitem(autotl.__dict__, "analyze", small)
    if page.name != "scikit-learn.md":  # that one's fits are small by themselves
        monkeypatch.setitem(autotl.__dict__, "fit", quick_fit)
    known: dict[str, Any] = {"autotl": autotl}
    if not any("autotl.fit(" in block for block in blocks(page)):
        known["recommendation"] = quick_fit("pictures/")
    for number, block in enumerate(blocks(page), start=1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), known)


def test_blocks_of_yaml_are_study_files(tmp_path: Path) -> None:
    from autotl.cli.study_file import read_study

    found = re.findall(
        r"^```yaml\n(.*?)^```$",
        (DOCS / "how-to" / "studies.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    assert found
    for text in found:
        file = tmp_path / "study.yaml"
        file.write_text(text, encoding="utf-8")
        assert read_study(file).space


def test_every_page_is_in_the_menu_and_every_link_between_pages_leads_somewhere() -> None:
    menu = yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    for page in DOCS.rglob("*.md"):
        assert f": {page.relative_to(DOCS)}\n" in menu
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).is_file(), (page.name, link)


def test_every_command_has_a_line() -> None:
    from typer.main import get_command

    from autotl.cli.app import app

    told = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    commands: Any = get_command(app)
    for name, command in commands.commands.items():
        assert f"`autotl {name}" in told
        for part in getattr(command, "commands", {}):
            assert f"`{part}`" in told or f"`autotl {name} {part}`" in told
