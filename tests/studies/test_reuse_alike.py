"""Configs that both sides can run: what the usual way lacks is left out, the rest stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autotl.analysis.profile import DatasetProfile
from autotl.strategies.bottleneck import BottleneckConfig
from autotl.strategies.finetune import FinetuneConfig
from autotl.strategies.linear import DEFAULT_C
from studies.reuse.alike import alike
from studies.reuse.sampled import sampled_configs

LEFT_OUT = {
    *("C", "freeze_above", "frozen_epochs", "kept", "layer_decay", "max_width", "mix"),
    *("optimizer", "pull"),
}


@pytest.mark.parametrize("seed", range(3))
def test_only_what_the_usual_way_lacks_changes(
    make_profile: Callable[..., DatasetProfile], seed: int
) -> None:
    changed = set()
    for _, config in sampled_configs(make_profile(), 60, seed):
        found = alike(config)
        assert type(found) is type(config)
        changed |= {name for name, value in config if value != getattr(found, name)}
        assert alike(found) == found
    assert changed == LEFT_OUT


def test_a_plain_config_stays_as_it_is() -> None:
    plain = FinetuneConfig(
        backbone="embedded",
        lr=1e-3,
        epochs=2,
        weight_decay=0.05,
        label_smoothing=0.1,
        augmentation="light",
        mirror=True,
        balanced=False,
        n_views=8,
        freeze_depth=2,
        lr_ratio=0.3,
        head="probe",
    )
    assert alike(plain) == plain


@pytest.mark.parametrize("head", ["svm", "logistic"])
def test_a_search_for_c_becomes_a_good_c(head: str) -> None:
    config = BottleneckConfig(backbone="embedded", layers="last", head=head, balanced=False)  # type: ignore[arg-type]
    searched, given = alike(config).C, alike(config.model_copy(update={"C": 7.0})).C
    assert (searched, given) == (DEFAULT_C[head], 7.0)
