"""The rules of thumb: when they apply, what they name, and that the search can try them."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest

from autotl.analysis.profile import DatasetProfile
from autotl.analysis.rules import RULES, Rule, triggered
from autotl.search.recipes import recipe
from autotl.strategies import STRATEGIES

MakeProfile = Callable[..., DatasetProfile]
BY_NAME = {rule.name: rule for rule in RULES}

FEW = "few samples: linear SVM"
MODERATE = "moderate data: fine-tune"
CLOSE = "close domain: transfer"
FAR = "far domain: scratch"
OVERFITS = "few samples per parameter: shallower scratch"
ALWAYS = {"10x smaller rate", "freeze the first layers", "SVM rather than a dense layer"}

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def names(profile: DatasetProfile) -> set[str]:
    return {rule.name for rule, _ in triggered(profile)} - ALWAYS


def test_names_are_unique_and_sourced() -> None:
    assert len(BY_NAME) == len(RULES)
    assert all(rule.advice and rule.source for rule in RULES)


@pytest.mark.parametrize(
    ("n_samples", "expected"),
    [(2, FEW), (999, FEW), (1_000, MODERATE), (10_000, MODERATE), (10_001, None)],
)
def test_number_of_samples(make_profile: MakeProfile, n_samples: int, expected: str | None) -> None:
    profile = make_profile(n_samples=n_samples, n_parameters=1)
    assert names(profile) == ({expected} if expected else set())


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [
        (0.0, FAR),
        (0.4, FAR),
        (0.401, None),
        (0.599, None),
        (0.6, CLOSE),
        (1.0, CLOSE),
        (None, None),
    ],
)
def test_domain_similarity(
    make_profile: MakeProfile, similarity: float | None, expected: str | None
) -> None:
    profile = make_profile(n_samples=20_000, n_parameters=1, similarity=similarity)
    assert names(profile) == ({expected} if expected else set())


@pytest.mark.parametrize(("n_parameters", "applies"), [(200_000, False), (200_001, True)])
def test_samples_per_parameter(make_profile: MakeProfile, n_parameters: int, applies: bool) -> None:
    profile = make_profile(n_samples=20_000, n_parameters=n_parameters)
    assert (OVERFITS in names(profile)) == applies


def test_some_rules_are_always_tested(make_profile: MakeProfile) -> None:
    found = {rule.name for rule, _ in triggered(make_profile(n_samples=10**6, n_parameters=1))}
    assert found == ALWAYS


def test_figures_that_trigger_are_told(make_profile: MakeProfile) -> None:
    profile = make_profile(n_samples=1_234, similarity=0.25)
    figures = {rule.name: told for rule, told in triggered(profile)}
    assert "1,234" in figures[MODERATE]
    assert "0.25" in figures[FAR]


@every_rule
def test_no_config_is_both_advised_and_advised_against(
    rule: Rule, make_profile: MakeProfile
) -> None:
    profile = make_profile()
    favoured = opposed = 0
    for name, strategy in STRATEGIES.items():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for _ in range(30):
            config = strategy.suggest(study.ask(), profile).model_dump()
            for_it, against = rule.favours(name, config), rule.against(name, config)
            assert not (for_it and against)
            favoured += for_it
            opposed += against
    assert favoured
    assert opposed


def test_the_recipes_stand_for_what_the_rules_say() -> None:
    for rule in RULES:
        strategy, name = rule.recipe
        config = recipe(strategy, name).fields(num_stages=5, max_epochs=10)
        told, other_side = rule.favours(strategy, config), rule.against(strategy, config)
        # This rule's favoured head is what another rule tries; its own trial is the comparison.
        assert told != (rule.name == "SVM rather than a dense layer")
        assert other_side == (rule.name == "SVM rather than a dense layer")
