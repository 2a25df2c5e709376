"""Named recipes: settings that practice and papers recommend, tried before any are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotl.strategies.bottleneck import CELLS_WIDTH, KEPT, LAYERS

HEADS = ("svm", "logistic")

FIRST_STAGES = 0.4
"""What "the first layers" are: this share of the stages."""

_TRAINING = {
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "augmentation": "light",
    "mirror": False,
    "mix": "none",
    "optimizer": "adamw",
}
_FULL = {
    **_TRAINING,
    "n_views": 0,
    "freeze_depth": 0,
    "freeze_above": None,
    "lr": 2e-3,
    "lr_ratio": 1.0,
    "layer_decay": 1.0,
    "head": "random",
    "frozen_epochs": 0,
    "pull": 0.0,
}
_SCRATCH = {**_TRAINING, "n_views": 0, "lr": 3e-3, "n_removed": 0}

Settings = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """Settings with a name.

    Attributes:
        strategy: whose settings.
        name: unique within the strategy.
        source: where it comes from.
        settings: from a backbone's number of stages, the config's fields but ``backbone``,
            ``balanced`` and ``epochs``.
        epochs_share: of the longest schedule that a trial may have; 0: it has no epochs.
    """

    strategy: str
    name: str
    source: str
    settings: Settings
    epochs_share: float = 1.0

    def fields(self, num_stages: int, max_epochs: int) -> dict[str, Any]:
        """The config's fields but ``backbone`` and ``balanced``.

        Args:
            num_stages: of the backbone.
            max_epochs: of the longest schedule that a trial may have.
        """
        made = self.settings(num_stages)
        if self.epochs_share:
            made["epochs"] = max(1, round(self.epochs_share * max_epochs))
        return made


def _first(num_stages: int) -> int:
    return max(1, round(FIRST_STAGES * num_stages))


def _changed(base: Mapping[str, Any], **values: Any) -> Settings:
    return lambda _: {**base, **values}


def _bottleneck(layers: str, head: str) -> Recipe:
    source = "Sharif Razavian et al. 2014, arXiv 1403.6382"
    settings = _changed({}, layers=layers, head=head, C="auto")
    return Recipe("bottleneck", f"{layers}-{head}", source, settings, epochs_share=0.0)


def _selected(head: str) -> Recipe:
    """The most useful of all stages' features, these averaged over cells."""
    source = "Head2Toe, Evci et al. 2022, arXiv 2201.03529"
    settings = _changed({}, layers="all", head=head, C="auto", max_width=CELLS_WIDTH, kept=KEPT)
    return Recipe("bottleneck", f"selected-{head}", source, settings, epochs_share=0.0)


def _finetune(name: str, source: str, settings: Settings, epochs_share: float = 1.0) -> Recipe:
    return Recipe("finetune", name, source, settings, epochs_share)


_RATES = {"full-5e-4": 5e-4, "full-1e-3": 1e-3, "full-2e-3": 2e-3, "full-5e-3": 5e-3}
_STRONG = "a strong default: everything trained at one rate"
_FOLKLORE = "common practice, e.g. the CS231n notes on transfer learning"

RECIPES: tuple[Recipe, ...] = (
    *(_bottleneck(layers, head) for layers in LAYERS for head in HEADS),
    *(_selected(head) for head in HEADS),
    *(_finetune(name, _STRONG, _changed(_FULL, lr=lr)) for name, lr in _RATES.items()),
    _finetune("full-2e-3-short", _STRONG, _changed(_FULL), epochs_share=1 / 3),
    _finetune("tenth", _FOLKLORE, _changed(_FULL, lr_ratio=0.1)),
    _finetune(
        "freeze-first",
        "Yosinski et al. 2014, arXiv 1411.1792",
        lambda num_stages: {**_FULL, "freeze_depth": _first(num_stages), "lr_ratio": 0.1},
    ),
    # its SGD at 0.003 without decay or mixup, for less than 20,000 pictures
    _finetune(
        "bit",
        "BiT's HyperRule, Kolesnikov et al. 2020, arXiv 1912.11370",
        _changed(
            _FULL, optimizer="sgd", lr=3e-3, weight_decay=0.0, label_smoothing=0.0, mirror=True
        ),
    ),
    # one epoch of the head, then all, with rates that fall to a hundredth at the input
    _finetune(
        "fastai",
        "Howard and Gugger 2020, arXiv 2002.04688",
        lambda num_stages: {
            **_FULL,
            "frozen_epochs": 1,
            "lr": 1e-3,
            "layer_decay": 0.01 ** (1 / num_stages),
            "weight_decay": 0.01,
            "augmentation": "medium",
            "mirror": True,
        },
    ),
    _finetune(
        "lp-ft",
        "Kumar et al. 2022, arXiv 2202.10054",
        _changed(_FULL, head="probe", lr=5e-4),
    ),
    _finetune(
        "surgical-first",
        "Lee et al. 2023, arXiv 2210.11466",
        lambda num_stages: {**_FULL, "freeze_above": _first(num_stages)},
    ),
    Recipe("scratch", "whole", _FOLKLORE, _changed(_SCRATCH)),
    Recipe("scratch", "shallow-1", _FOLKLORE, _changed(_SCRATCH, n_removed=1)),
    Recipe("scratch", "shallow-2", _FOLKLORE, _changed(_SCRATCH, n_removed=2)),
)


def recipe(strategy: str, name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        KeyError: if there is none.
    """
    for found in RECIPES:
        if (found.strategy, found.name) == (strategy, name):
            return found
    raise KeyError(f"{strategy}/{name}")
