from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotl.analysis.profile import DatasetProfile
from autotl.search.warm_start import MAX_DISTANCE, WarmTrial, told, warm_trials

MakeProfile = Callable[..., DatasetProfile]
NAMES = ("bottleneck", "finetune", "scratch")


def bottleneck(layers: str = "last", backbone: str = "embedded") -> dict[str, Any]:
    return {
        "backbone": backbone,
        "layers": layers,
        "head": "svm",
        "C": "auto",
        "balanced": False,
    }


def scratch(**changes: Any) -> dict[str, Any]:
    return {
        **{"backbone": "embedded", "lr": 1e-3, "epochs": 6, "weight_decay": 0.05},
        **{"label_smoothing": 0.0, "augmentation": "none", "mirror": False, "balanced": False},
        **{"n_removed": 1},
        **changes,
    }


Trials = list[tuple[str, dict[str, Any], float | None]]


@pytest.fixture
def write(tmp_path: Path, make_profile: MakeProfile) -> Callable[..., None]:
    """Writes an earlier fit: (strategy, config, score); None: pruned."""

    def put(name: str, trials: Trials, age_s: float = 0.0, **profile: Any) -> None:
        folder = tmp_path / name
        (folder / "trials").mkdir(parents=True)
        fingerprint = profile.pop("fingerprint", name)
        made = replace(make_profile(**{"max_epochs": 8} | profile), fingerprint=fingerprint)
        (folder / "profile.json").write_text(json.dumps(made.as_json()))
        os.utime(folder / "profile.json", (1e9 - age_s, 1e9 - age_s))
        for number, (strategy, config, score) in enumerate(trials):
            record = {
                "number": number,
                "strategy": strategy,
                "config": config,
                "state": "pruned" if score is None else "complete",
                "result": None if score is None else {"score": score},
            }
            (folder / "trials" / f"{number:05d}.json").write_text(json.dumps(record))

    return put


@pytest.fixture
def find(tmp_path: Path, make_profile: MakeProfile) -> Callable[..., list[WarmTrial]]:
    def found(strategies: tuple[str, ...] = NAMES, **settings: Any) -> list[WarmTrial]:
        profile = make_profile(max_epochs=settings.pop("max_epochs", 8))
        return warm_trials(tmp_path, profile, strategies, **settings)

    return found


def layers_of(trials: list[WarmTrial]) -> list[str]:
    return [trial.config.model_dump()["layers"] for trial in trials]


Write, Find = Callable[..., None], Callable[..., list[WarmTrial]]


def test_an_empty_store_gives_nothing(find: Find, tmp_path: Path, make_profile: Any) -> None:
    assert find() == []
    assert warm_trials(tmp_path / "absent", make_profile(), NAMES) == []


def test_the_best_finished_trial_of_each_strategy_best_first(write: Write, find: Find) -> None:
    write(
        "one",
        [
            ("bottleneck", bottleneck("all"), 0.6),
            ("bottleneck", bottleneck("last"), 0.7),
            ("scratch", scratch(lr=2e-3), 0.9),
            ("scratch", scratch(lr=1e-3), 0.8),
            ("scratch", scratch(lr=3e-3), None),
            ("bottleneck", bottleneck("last_2"), float("nan")),
        ],
    )
    first, second = find()
    assert (first.strategy, second.strategy) == ("scratch", "bottleneck")
    assert first.config.model_dump() == scratch(lr=2e-3) | {
        "n_views": 0,
        "mix": "none",
        "optimizer": "adamw",
    }
    assert second.config.model_dump() == bottleneck("last") | {"max_width": 0, "kept": 1.0}
    assert {trial.source_study for trial in (first, second)} == {"one"}
    assert {trial.distance for trial in (first, second)} == {0.0}


def test_winners_of_the_nearest_come_before_the_nearest_s_second_best(
    write: Write, find: Find
) -> None:
    write("far", [("bottleneck", bottleneck("all"), 0.9)], n_samples=200)
    write("farther", [("bottleneck", bottleneck("last_4"), 0.9)], n_samples=400)
    near: Trials = [("bottleneck", bottleneck("last"), 0.5), ("scratch", scratch(), 0.4)]
    write("near", near, n_samples=100)
    found = find()
    assert [trial.source_study for trial in found] == ["near", "far", "farther"]
    assert layers_of(found) == ["last", "all", "last_4"]
    assert sorted(trial.distance for trial in found) == [trial.distance for trial in found]
    assert 0 < found[0].distance < found[2].distance < MAX_DISTANCE


def test_the_same_data_set_is_nearest_and_of_equals_the_newest(
    write: Write, find: Find, make_profile: MakeProfile
) -> None:
    same = make_profile().fingerprint
    # Of the same pictures other figures may be known.
    for name, age_s, layers in (("old", 9.0, "all"), ("new", 1.0, "last")):
        trials = [("bottleneck", bottleneck(layers), 0.9)]
        write(name, trials, age_s=age_s, fingerprint=same, n_samples=500)
    write("similar", [("bottleneck", bottleneck("last_2"), 0.9)], n_samples=100)
    assert [t.source_study for t in find()] == ["new", "old", "similar"]


def test_at_most_three_and_from_three_fits(write: Write, find: Find) -> None:
    for i, layers in enumerate(("all", "last", "last_2", "last_4")):
        trials = [("bottleneck", bottleneck(layers), 0.9), ("scratch", scratch(lr=0.001 + i), 0.1)]
        write(f"fit {i}", trials, age_s=i)
    assert layers_of(find()) == ["all", "last", "last_2"]


def test_equal_configs_count_once_and_the_fourth_fit_is_not_asked(write: Write, find: Find) -> None:
    for age_s, name in enumerate(("one", "two", "three")):
        trials = [("bottleneck", bottleneck("all"), 0.9), ("scratch", scratch(), 0.5)]
        write(name, trials, age_s=age_s)
    write("four", [("bottleneck", bottleneck("last"), 0.9)], age_s=9)
    found = find()
    assert [trial.strategy for trial in found] == ["bottleneck", "scratch"]
    assert {trial.source_study for trial in found} == {"one"}


def test_very_different_data_this_fit_and_what_is_not_allowed_give_nothing(
    write: Write, find: Find
) -> None:
    trials = [("bottleneck", bottleneck(), 0.9)]
    write("different", trials, n_samples=90_000, grey_share=1.0)
    write("this", trials)
    assert find(exclude="this") == []
    assert [trial.source_study for trial in find()] == ["this"]
    assert find(("scratch",)) == []


def test_a_fit_that_has_nothing_to_give_leaves_its_place_to_the_next(
    write: Write, find: Find
) -> None:
    for i in range(3):
        write(f"none {i}", [("bottleneck", bottleneck(backbone="gone"), 0.9)])
    write("empty", [])
    write("next", [("bottleneck", bottleneck(), 0.9)], n_samples=100)
    assert [trial.source_study for trial in find()] == ["next"]


@pytest.mark.parametrize(
    ("epochs", "max_epochs", "adapted"),
    [(6, 8, 6), (6, 16, 12), (8, 40, 40), (6, 4, 4), (3, 6, 3), (2, 4, 2), (8, 1, 1)],
)
def test_epochs_are_what_a_trial_can_afford_now(
    epochs: int, max_epochs: int, adapted: int, write: Write, find: Find
) -> None:
    write("one", [("scratch", scratch(epochs=epochs), 0.9)], max_epochs=8)
    (trial,) = find(max_epochs=max_epochs)
    assert trial.config.model_dump()["epochs"] == adapted
    assert trial.config.model_dump()["n_removed"] == 1


def test_a_config_of_another_make_is_passed_over(write: Write, find: Find) -> None:
    trials: Trials = [
        ("scratch", scratch(momentum=0.9), 0.9),
        ("scratch", scratch(lr=2e-3), 0.8),
        ("distilled", {"backbone": "embedded"}, 0.99),
    ]
    write("one", trials)
    (trial,) = find()
    assert trial.config.model_dump()["lr"] == 2e-3


def damage_profile(folder: Path) -> None:
    (folder / "profile.json").write_bytes(b"\xff\xfe{")


def damage_values(folder: Path) -> None:
    (folder / "profile.json").write_text('{"fingerprint": 3, "backbones": {"embedded": 3}}')


def damage_numbers(folder: Path) -> None:
    profile = json.loads((folder / "profile.json").read_text())
    profile["size"]["n_samples"] = 0
    (folder / "profile.json").write_text(json.dumps(profile))


def damage_trial(folder: Path) -> None:
    (folder / "trials" / "00000.json").write_text("[]")


def damage_score(folder: Path) -> None:
    file = folder / "trials" / "00000.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"result": {}}))


@pytest.mark.parametrize(
    "damage", [damage_profile, damage_values, damage_numbers, damage_trial, damage_score]
)
def test_damaged_fits_are_passed_over_with_one_note(
    damage: Callable[[Path], None], write: Write, find: Find, tmp_path: Path
) -> None:
    write("sound", [("bottleneck", bottleneck(), 0.9)], age_s=5.0)
    for name in ("broken a", "broken b"):
        write(name, [("bottleneck", bottleneck("all"), 0.9)])
        damage(tmp_path / name)
    (tmp_path / "cache").mkdir()
    (tmp_path / "profile.json").write_text("mine")
    notes: list[str] = []
    assert [trial.source_study for trial in find(note=notes.append)] == ["sound"]
    (note,) = notes
    assert note == ("no warm start from earlier fits that can't be read: broken a, broken b")


def test_each_source_is_told_once(write: Write, find: Find) -> None:
    write("near", [("bottleneck", bottleneck(), 0.5), ("scratch", scratch(), 0.4)])
    write("far", [("bottleneck", bottleneck("all"), 0.9)], n_samples=400)
    assert told(find()) == (
        "starting from what did best on near (distance 0.0), far (distance 0.3)"
    )
