"""The analyzer's word before any training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from autotl.analysis import foretold
from autotl.analysis.analysis import analyse
from autotl.analysis.best_bet import BestBet, best_bet
from autotl.analysis.examination import Transferability
from autotl.analysis.profile import DatasetProfile
from autotl.analysis.ranking import RankedBackbone
from autotl.analysis.rules import triggered
from autotl.analysis.similarity import DomainSimilarity, SourceDistance

MakeProfile = Callable[..., DatasetProfile]


def test_says_what_the_rules_say(make_profile: MakeProfile) -> None:
    profile = make_profile(n_samples=5_000, similarity=0.2)
    found = analyse(profile)
    assert BestBet(found.strategy, found.backbone, found.reason) == best_bet(profile)
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
    assert "best bet without training: finetune with one" in told
    assert "by cross-validation if possible [2 folds]" in told


def test_text_says_what_the_figures_foretold(make_profile: MakeProfile) -> None:
    told = str(analyse(make_profile(similarity=0.5)))
    assert foretold.OF_BEST_BET in told
    assert foretold.OF_SIMILARITY in told
    assert foretold.OF_SIMILARITY not in str(analyse(make_profile(similarity=None)))
    assert foretold.named_better("linear_accuracy") == "13 of 16, and by how much"


def test_text_shows_a_column_per_backbone(make_profile: MakeProfile) -> None:
    profile = make_profile("one", "two@/weights/two.safetensors")
    near = DomainSimilarity(
        0.8,
        (0.7, 0.9),
        0.0625,
        (0.05, float("nan"), 0.07),
        n_samples=512,
        source=SourceDistance(0.321, None, 15_000),
    )
    scores = Transferability({"log_me": 1.234, "parc": float("nan")}, 987, 0.01)
    first = replace(profile.backbones["one"], similarity=near, transferability=scores)
    second = replace(
        profile.backbones["one"],
        similarity=DomainSimilarity(None, reason="no BatchNorm", note="made with other weights"),
        transferability=Transferability(reason="features aren't finite"),
    )
    names = list(profile.backbones)
    told = str(analyse(replace(profile, backbones=dict(zip(names, (first, second), strict=True)))))
    lines = {line[2:21].strip(): line[21:].split() for line in told.splitlines()}
    assert lines[""] == ["one", "two", "foretold"]
    assert lines["distance"] == ["0.06", "-", "10", "of", "16"]
    assert lines["by stage"] == ["0.05", "-", "0.07", "-", "not", "tested"]
    assert lines["Frechet distance"] == ["0.32", "-", "nothing", "found"]
    assert lines["LogME"] == ["1.23", "-", "13", "of", "16"]
    assert not {"class distance", "PARC", "NLEEP"} & lines.keys()  # nothing known of any
    assert "0.80 [0.70, 0.90] from 512 pictures" in told
    assert "unknown (no BatchNorm); made with other weights" in told
    assert "scores of 987 samples" in told
    assert "no scores for two@/weights/two.safetensors: features aren't finite" in told


def test_text_says_for_which_pictures_accuracies_hold(make_profile: MakeProfile) -> None:
    profile = make_profile("one@/weights/one.pt")
    assert "--group" not in str(analyse(profile))  # without scores there is nothing to say
    (name,) = profile.backbones
    scores = Transferability({"linear_accuracy": 0.9}, 90, new_groups_accuracy=0.456)
    scored = replace(profile.backbones[name], transferability=scores)
    profile = replace(profile, backbones={name: scored})
    assert "new patients, speakers or cameras say with --group" in str(analyse(profile))
    told = str(analyse(replace(profile, has_groups=True)))
    assert "for pictures of new groups the linear accuracy is 0.46 with one." in told
    assert "--group" not in told


def test_text_tells_what_the_backbones_were_chosen_by(make_profile: MakeProfile) -> None:
    profile = make_profile("one")
    assert "were kept" not in str(analyse(profile))
    ranking = (
        RankedBackbone("one", 256, 0.75, 0.0, 0.0, 1.0, True),
        RankedBackbone("two@/w/b.pt", 128, 0.5, 0.25, 0.04, 1.0, False),
        RankedBackbone("three", 128, seconds=1.0),
    )
    told = str(analyse(replace(profile, ranking=ranking))).splitlines()
    (start,) = (i for i, line in enumerate(told) if line.startswith("1 of 3 backbones were kept"))
    assert told[start + 1].split() == [
        "kept",
        "one",
        "accuracy",
        "0.75",
        "on",
        "256",
        "pictures,",
        "the",
        "best",
    ]
    assert told[start + 2].startswith("  dropped  two@b.pt  accuracy 0.50 on 128 pictures, 25.0")
    assert told[start + 3].endswith("three     its features of 128 pictures aren't all finite")


def test_text_says_why_similarity_is_unknown(make_profile: MakeProfile) -> None:
    assert "similarity unknown (no BatchNorm)" in str(analyse(make_profile(similarity=None)))


def test_plain_values(make_profile: MakeProfile) -> None:
    values = json.loads(json.dumps(analyse(make_profile(n_samples=50)).as_json()))
    assert (values["strategy"], values["backbone"]) == ("finetune", "embedded")
    assert values["rules"][0].keys() == {"name", "advice", "figures"}
    assert values["profile"]["size"]["n_samples"] == 50
