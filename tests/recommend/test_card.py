from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.zoo import random_backbone
from autotl.recommend.card import escaped, model_card
from autotl.recommend.model import Recommendation
from autotl.strategies.fitted import FittedModel

EVIL = (
    "a|b",
    "*bold* _it_ `code`",
    "<script>alert(1)</script>",
    "[link](https://x.example)",
    "line\nbreak\n# heading",
    "![image](x)",
    "https://y.example www.z.example me@x.example",
    "&amp; ~~gone~~ \\ $x$",
)


def html(markdown: str) -> str:
    return str(MarkdownIt("gfm-like", {"linkify": False}).render(markdown))


@pytest.fixture
def make_recommendation(
    make_profile: Callable[..., DatasetProfile],
) -> Callable[..., Recommendation]:
    def make(names: tuple[str, ...] = EVIL, backbone: str = "embedded", **changes: Any) -> Any:
        described = replace(random_backbone("resnet10t", 32), name=backbone)
        network = described.create(len(names), pretrained=False)
        profile = make_profile(np.arange(80 + len(names)) % len(names), names)
        values = {
            "strategy": "finetune",
            "config": {"backbone": backbone, "lr": 0.01, "freeze_depth": 2},
            "class_names": names,
            "model": FittedModel(described, network, len(names), 1234, temperature=1.25),
            "profile": profile,
            "metric": "accuracy",
            "text": "Use ``` it.\n# not a heading",
            "table": pd.DataFrame({"trial": [0, 1]}),
            "figures": {
                "study": "a *study*",
                "expected": {"value": 0.9, "low": 0.85, "high": 0.95},
                "test": {"value": 0.875, "low": 0.8, "high": 0.9},
                "notes": ["the time | was <b>up</b>"],
            },
            "test_metrics": {
                "accuracy": 0.875,
                "log_loss": 0.5,
                "expected_calibration_error": 0.03,
            },
        }
        return Recommendation(**(values | changes))  # type: ignore[arg-type]

    return make


def test_it_says_what_matters(make_recommendation: Callable[..., Recommendation]) -> None:
    card = model_card(make_recommendation())
    for words in (
        "Image classifier of 8 classes",
        "Fine-tune embedded: freeze the first 2 stages",
        "32 x 32 pixels",
        "1.2 k were trained",
        "| expected (validation) | 90.0 % | 85.0 % to 95.0 % |",
        "| locked test set | 87.5 % | 80.0 % to 90.0 % |",
        "3.0 points (temperature 1.25)",
        "log loss 0.500 nats",
        "100 locked away for the test",
        "| freeze\\_depth | 2 |",
        "0123456789abcdef",
        "under Apache-2.0",
        "autotl.load(",
    ):
        assert words in card, words


def test_names_format_nothing(make_recommendation: Callable[..., Recommendation]) -> None:
    page = html(model_card(make_recommendation()))
    assert "<script" not in page
    assert "<a " not in page
    assert "<img" not in page
    assert "<em>" not in page
    assert "<b>" not in page
    assert len(re.findall("<h1>", page)) == 1
    cells = [
        cell.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        for cell in re.findall(r"<tr>\s*<td>(.*?)</td>", page)
    ]
    for name in EVIL:
        assert " ".join(name.split()) in cells, name


@pytest.mark.parametrize("name", EVIL)
def test_an_escaped_name_is_shown_as_it_is(name: str) -> None:
    found = html(f"x {escaped(name)} y")
    plain = found.removeprefix("<p>x ").removesuffix(" y</p>\n")
    shown = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown == " ".join(name.split())


def test_what_is_unknown_is_said(make_recommendation: Callable[..., Recommendation]) -> None:
    figures = {"expected": {"value": 0.9, "low": None, "high": float("nan")}, "test": None}
    card = model_card(make_recommendation(figures=figures, test_metrics={}))
    assert "There is no test score" in card
    assert "wasn't measured" in card
    assert "nan" not in card


@pytest.mark.parametrize(
    ("backbone", "strategy", "said"),
    [
        ("embedded", "finetune", "under Apache-2.0"),
        ("embedded", "scratch", "No foreign weights"),
        ("resnet10t@/home/me/secret/w.safetensors", "finetune", "came from a file"),
        ("resnet18.a1_in1k", "bottleneck", "timm lists under"),
        ("no_such_net", "bottleneck", "whose licence timm doesn't list"),
    ],
)
def test_licence_of_the_weights(
    backbone: str, strategy: str, said: str, make_recommendation: Callable[..., Recommendation]
) -> None:
    card = model_card(make_recommendation(backbone=backbone, strategy=strategy))
    assert said in card
    assert "secret" not in card


def test_very_many_classes_are_cut_short(
    make_recommendation: Callable[..., Recommendation],
) -> None:
    names = tuple(f"class {i}" for i in range(250))
    card = model_card(make_recommendation(names=names))
    assert "class 199" in card
    assert "class 200" not in card
    assert "and 50 more classes" in card


def test_a_test_score_at_hand_is_preferred(
    make_recommendation: Callable[..., Recommendation],
) -> None:
    test = cast(Any, SimpleNamespace(metrics={"expected_calibration_error": 0.07}))
    assert "7.0 points" in model_card(make_recommendation(test=test))
