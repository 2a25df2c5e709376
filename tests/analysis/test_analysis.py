"""The analyzer's word before any training."""

from __future__ import annotations

import json
from collections.abc import Callable

from autotl.analysis.analysis import analyse
from autotl.analysis.profile import DatasetProfile
from autotl.analysis.rules import recommended_strategy, triggered

MakeProfile = Callable[..., DatasetProfile]


def test_says_what_the_rules_say(make_profile: MakeProfile) -> None:
    profile = make_profile(n_samples=5_000, similarity=0.2)
    found = analyse(profile)
    assert (found.strategy, found.reason) == recommended_strategy(profile)
    assert found.strategy == "scratch"
    assert [name for name, _, _ in found.rules] == [rule.name for rule, _ in triggered(profile)]


def test_text_names_the_figures(make_profile: MakeProfile) -> None:
    profile = make_profile(
        "one",
        "two",
        n_samples=2_345,
        n_test=111,
        samples_per_class=(12, 345, 99),
        grey_share=0.25,
        n_duplicates=17,
        similarity=0.73,
    )
    told = str(analyse(profile))
    for figure in ("2,456 pictures", "3 classes", "12 to 345", "111 locked", "25 %", "0.73"):
        assert figure in told, figure
    assert "17 duplicates" in told
    assert "backbone one" in told
    assert "backbone two" in told
    assert "the rules of thumb say: finetune (2,345 samples)" in told


def test_text_says_why_similarity_is_unknown(make_profile: MakeProfile) -> None:
    assert "similarity unknown (no BatchNorm)" in str(analyse(make_profile(similarity=None)))


def test_plain_values(make_profile: MakeProfile) -> None:
    values = json.loads(json.dumps(analyse(make_profile(n_samples=50)).as_json()))
    assert values["strategy"] == "bottleneck"
    assert values["rules"][0].keys() == {"name", "advice", "figures"}
    assert values["profile"]["size"]["n_samples"] == 50
