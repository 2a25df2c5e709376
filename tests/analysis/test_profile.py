"""The profile of several candidates."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from autotl.analysis.profile import DatasetProfile
from autotl.analysis.ranking import RankedBackbone
from autotl.analysis.similarity import DomainSimilarity


@pytest.mark.parametrize(
    ("values", "best"),
    [((None, None), None), ((None, 0.2), 0.2), ((0.7, 0.2), 0.7), ((0.0, None), 0.0)],
)
def test_best_similarity_is_the_greatest_known_one(
    make_profile: Callable[..., DatasetProfile],
    values: tuple[float | None, ...],
    best: float | None,
) -> None:
    profile = make_profile("a", "b")
    backbones = {
        name: replace(profile.backbones[name], similarity=DomainSimilarity(value))
        for name, value in zip(("a", "b"), values, strict=True)
    }
    assert replace(profile, backbones=backbones).best_similarity == best


def test_plain_values(make_profile: Callable[..., DatasetProfile]) -> None:
    profile = make_profile("a", "b")
    ranking = (RankedBackbone("a", 128, 0.5, 0.0, 0.0, 1.5, True), RankedBackbone("c", 128))
    values = json.loads(json.dumps(replace(profile, ranking=ranking).as_json()))
    assert [entry["kept"] for entry in values["ranking"]] == [True, False]
    assert values["ranking"][0]["accuracy"] == 0.5
    assert values["ranking"][1]["accuracy"] is None
    back = TypeAdapter(DatasetProfile).validate_python(values)  # as a saved model is read
    assert back.ranking == ranking
    assert values["size"]["samples_per_class"] == [30, 30, 30]
    assert values["backbones"].keys() == {"a", "b"}
    assert values["backbones"]["a"]["speed"]["precision"] == "fp32"
    assert values["class_names"] == ["a", "b", "c"]
