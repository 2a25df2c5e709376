"""The known rules of thumb, as data: when each applies, what it says, and how to test it.

What a rule advises is a recipe of the search, and its outcome is told to the user: held, or
overturned, with both figures. Advice that every fit follows is a practice: nothing is tried
against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotl.analysis.capacity import short_ratio
from autotl.analysis.profile import DatasetProfile

FEW_SAMPLES = 1_000
MODERATE_SAMPLES = 10_000
FAR_SIMILARITY = 0.4
CLOSE_SIMILARITY = 0.6

_YOSINSKI = "Yosinski et al. 2014, arXiv 1411.1792"
_RAZAVIAN = "Sharif Razavian et al. 2014, arXiv 1403.6382"
_KOHAVI = "Kohavi 1995, IJCAI"
_WANG = "Wang et al. 2019, arXiv 1811.09751"
_FOLKLORE = "common practice, e.g. the CS231n notes on transfer learning"


@dataclass(frozen=True)
class Rule:
    """One rule of thumb.

    Attributes:
        name: short name.
        advice: what it says, in a sentence.
        source: where it comes from.
        trigger: from a profile, the figures that make it apply; None when it doesn't.
        recipe: of the search, by strategy and name, which tries it.
        favours: whether a (strategy, config) is what the rule advises.
        against: whether a (strategy, config) is what the rule advises against.
    """

    name: str
    advice: str
    source: str
    trigger: Callable[[DatasetProfile], str | None]
    recipe: tuple[str, str]
    favours: Callable[[str, Mapping[str, Any]], bool]
    against: Callable[[str, Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Practice:
    """Advice that every fit follows.

    Attributes:
        name: short name.
        advice: what it says, in a sentence.
        source: where it comes from.
        told: from a profile, how it is followed.
    """

    name: str
    advice: str
    source: str
    told: Callable[[DatasetProfile], str]


def _few(profile: DatasetProfile) -> str | None:
    n = profile.size.n_samples
    return f"{n:,} samples, under {FEW_SAMPLES:,}" if n < FEW_SAMPLES else None


def _moderate(profile: DatasetProfile) -> str | None:
    n = profile.size.n_samples
    return f"{n:,} samples" if FEW_SAMPLES <= n <= MODERATE_SAMPLES else None


def _far(profile: DatasetProfile) -> str | None:
    value = profile.best_similarity
    if value is None or value > FAR_SIMILARITY:
        return None
    return f"domain similarity {value:.2f}, at most {FAR_SIMILARITY}"


def _close(profile: DatasetProfile) -> str | None:
    value = profile.best_similarity
    if value is None or value < CLOSE_SIMILARITY:
        return None
    return f"domain similarity {value:.2f}, at least {CLOSE_SIMILARITY}"


def _overfits(profile: DatasetProfile) -> str | None:
    ratio = max(candidate.samples_per_parameter for candidate in profile.backbones.values())
    return f"{short_ratio(ratio)} samples per parameter" if ratio < 0.1 else None


def _always(profile: DatasetProfile) -> str:
    return f"{profile.size.n_samples:,} samples"


def _validation(profile: DatasetProfile) -> str:
    n = profile.n_folds
    return f"{n} folds" if n > 1 else "one hold-out"


def _is(wanted: str) -> Callable[[str, Mapping[str, Any]], bool]:
    return lambda strategy, _config: strategy == wanted


def _finetune_where(
    holds: Callable[[Mapping[str, Any]], bool],
) -> Callable[[str, Mapping[str, Any]], bool]:
    return lambda strategy, config: strategy == "finetune" and holds(config)


def _bottleneck_head(head: str) -> Callable[[str, Mapping[str, Any]], bool]:
    return lambda strategy, config: strategy == "bottleneck" and config["head"] == head


RULES: tuple[Rule, ...] = (
    Rule(
        "few samples: linear SVM",
        f"under about {FEW_SAMPLES:,} samples, use features of an intermediate layer and a "
        "linear SVM",
        _RAZAVIAN,
        _few,
        ("bottleneck", "last_4-svm"),
        _is("bottleneck"),
        lambda strategy, _config: strategy != "bottleneck",
    ),
    Rule(
        "moderate data: fine-tune",
        "with a few thousand samples and augmentation, fine-tune",
        _FOLKLORE,
        _moderate,
        ("finetune", "full-2e-3"),
        _is("finetune"),
        lambda strategy, _config: strategy != "finetune",
    ),
    Rule(
        "close domain: transfer",
        "a data set close to the source domain gains from the pretrained weights",
        _YOSINSKI,
        _close,
        ("finetune", "full-2e-3"),
        lambda strategy, _config: strategy != "scratch",
        _is("scratch"),
    ),
    Rule(
        "far domain: scratch",
        "a very different domain is better trained from scratch",
        _FOLKLORE,
        _far,
        ("scratch", "whole"),
        _is("scratch"),
        lambda strategy, _config: strategy != "scratch",
    ),
    Rule(
        "10x smaller rate",
        "fine-tune the backbone with a learning rate ten times smaller than the head's",
        _FOLKLORE,
        _always,
        ("finetune", "tenth"),
        _finetune_where(lambda config: config["lr_ratio"] <= 0.2),
        _finetune_where(lambda config: config["lr_ratio"] >= 0.5),
    ),
    Rule(
        "freeze the first layers",
        "freeze the first layers and train the later ones",
        _YOSINSKI,
        _always,
        ("finetune", "freeze-first"),
        _finetune_where(lambda config: config["freeze_depth"] > 0),
        _finetune_where(lambda config: config["freeze_depth"] == 0),
    ),
    Rule(
        "few samples per parameter: shallower scratch",
        "few samples against many parameters overfit a network trained from scratch: "
        "take a shallower one",
        _FOLKLORE,
        _overfits,
        ("scratch", "shallow-1"),
        lambda strategy, config: strategy == "scratch" and config["n_removed"] > 0,
        lambda strategy, config: strategy == "scratch" and config["n_removed"] == 0,
    ),
    Rule(
        "SVM rather than a dense layer",
        "on a frozen base, put a linear SVM rather than a new softmax layer",
        _RAZAVIAN,
        _always,
        ("bottleneck", "last_4-logistic"),
        _bottleneck_head("svm"),
        _bottleneck_head("logistic"),
    ),
)

PRACTICES: tuple[Practice, ...] = (
    Practice(
        "new classifier",
        "replace the softmax layer by one of the target's classes",
        _YOSINSKI,
        lambda profile: f"{profile.size.n_classes:,} classes",
    ),
    Practice(
        "cross-validation",
        "validate on samples that were not trained on, by cross-validation if possible",
        _KOHAVI,
        _validation,
    ),
    Practice(
        "negative transfer",
        "transfer can do harm: compare it with training from scratch",
        _WANG,
        lambda profile: "scratch is tried beside it",
    ),
)


def triggered(profile: DatasetProfile) -> list[tuple[Rule, str]]:
    """The rules that apply to a data set, each with the figures that triggered it."""
    found = [(rule, rule.trigger(profile)) for rule in RULES]
    return [(rule, figures) for rule, figures in found if figures is not None]
