"""The pretraining's settings: phases, fingerprints, the course of the learning rate."""

from dataclasses import replace

import pytest

from studies.pretrain_embedded.config import QUICK, SHAPE, SURFACE, Config
from studies.pretrain_embedded.draw import FAMILIES
from studies.pretrain_embedded.train import learning_rate

CONFIG = Config()


@pytest.mark.parametrize("config", [CONFIG, QUICK], ids=["full", "quick"])
def test_every_family_that_is_drawn_is_trained_on_in_the_last_phase(config: Config) -> None:
    assert tuple(config.classes) == config.phases[-1].families
    assert set(config.classes) <= set(FAMILIES)


def test_a_phase_counts_its_own_families_only() -> None:
    assert CONFIG.num_classes(SHAPE) == 1500
    assert CONFIG.num_classes(SURFACE) == sum(CONFIG.classes.values())


def test_epochs_of_a_later_phase_come_after_those_before() -> None:
    assert [CONFIG.first_epoch(number) for number in (0, 1)] == [0, SHAPE.epochs]


def test_what_comes_later_does_not_touch_the_first_phase() -> None:
    other = replace(
        CONFIG,
        classes={**CONFIG.classes, "materials": 3},
        phases=(SHAPE, replace(SURFACE, lr=0.01)),
    )
    assert other.digest(0) == CONFIG.digest(0)
    assert other.digest(1) != CONFIG.digest(1)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"n_images": 79}, {"phases": (replace(SHAPE, lr=0.3), SURFACE)}],
    ids=lambda change: next(iter(change)),
)
def test_what_comes_earlier_touches_every_phase(change: dict[str, object]) -> None:
    other = replace(CONFIG, **change)  # type: ignore[arg-type]
    for number in (0, 1):
        assert other.digest(number) != CONFIG.digest(number)


@pytest.mark.parametrize("phase", [SHAPE, SURFACE], ids=["shape", "surface"])
def test_learning_rate_rises_once_and_falls_to_nothing(phase: object) -> None:
    assert phase in (SHAPE, SURFACE)
    chosen = SHAPE if phase is SHAPE else SURFACE
    steps = 100
    rates = [learning_rate(chosen, step, steps) for step in range(chosen.epochs * steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(chosen.lr, rel=0.02)
    assert top <= chosen.warmup_epochs * steps
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < rates[-1] < 0.02 * chosen.lr


def test_without_a_cosine_the_rate_stays_until_the_cool_down() -> None:
    cools_from = SURFACE.epochs - SURFACE.cooldown_epochs
    for epoch in (SURFACE.warmup_epochs, 1.0, cools_from):
        assert learning_rate(SURFACE, int(epoch * 100), 100) == pytest.approx(SURFACE.lr)
    halfway = cools_from + SURFACE.cooldown_epochs / 2
    assert learning_rate(SURFACE, int(halfway * 100), 100) == pytest.approx(SURFACE.lr / 2)
