"""Policies to compare with: recipes, rules of thumb, random search, what was best elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from autotl.backbones.zoo import EMBEDDED
from studies.outcomes.tasks import BACKBONES, IMAGENET
from studies.regret.problems import UNIT, Candidate, View
from studies.regret.replay import History, Policy, Search
from studies.similarity.truth import ARM, TASK

_LAYERS = ("last_4", "last", "last_2", "second_last", "third_last", "all")
_RATES = ("1e-3", "2e-3", "5e-4", "5e-3")
_SCRATCH = ("whole", "shallow-1", "shallow-2", *(f"sobol-{k}" for k in range(64)))
_SMALL = 1000
_SHORT = {EMBEDDED: "embedded", IMAGENET: "imagenet"}
_LABELS = {EMBEDDED: "embedded", IMAGENET: "ImageNet"}

Order = Callable[[View, np.random.Generator], list[Candidate]]


class InOrder(Search):
    """Runs candidates in an order fixed beforehand, and picks the best by validation.

    Args:
        view: the task.
        rng: for orders that are random.
        order: what to run.
    """

    def __init__(self, view: View, rng: np.random.Generator, order: Order) -> None:
        super().__init__(view, rng)
        self._rest: Iterator[Candidate] = iter(order(view, rng))

    def next(self, history: History) -> Candidate | None:
        """The next one of the order."""
        return next(self._rest, None)


def in_order(name: str, label: str, order: Order, *, is_random: bool = False) -> Policy:
    """The policy of running candidates in an order."""
    return Policy(name, label, lambda view, rng: InOrder(view, rng, order), is_random)


def named(backbone: str, strategy: str, *names: str) -> Order:
    """These recipes as far as the task has them."""

    def order(view: View, _: np.random.Generator) -> list[Candidate]:
        by_arm = {candidate.arm: candidate for candidate in view.candidates}
        arms = [(backbone, strategy, name) for name in names]
        return [by_arm[arm] for arm in arms if arm in by_arm]

    return order


def svm(backbone: str) -> Order:
    """A linear SVM on frozen features: of the last four stages, then other choices of layers."""
    return named(backbone, "bottleneck", *(f"{layers}-svm" for layers in _LAYERS))


def full(backbone: str) -> Order:
    """Everything fine-tuned, at 0.001 and then at the three other rates."""
    return named(backbone, "finetune", *(f"full-{rate}" for rate in _RATES))


def size_rule(backbone: str) -> Order:
    """Under 1,000 samples the SVM, else fine-tuning."""

    def order(view: View, rng: np.random.Generator) -> list[Candidate]:
        rule = svm if view.n_development < _SMALL else full
        return rule(backbone)(view, rng)

    return order


def shuffled(view: View, rng: np.random.Generator) -> list[Candidate]:
    """All candidates, each as probable as any other to be next."""
    return [view.candidates[k] for k in rng.permutation(len(view.candidates))]


def by_strategy(view: View, rng: np.random.Generator) -> list[Candidate]:
    """Again and again a strategy, a backbone that it has and one of its configs, each at random.

    As a sampler over these categoricals does that knows nothing yet.
    """
    rest = shuffled(view, rng)
    order = []
    while rest:
        strategy = rng.choice(sorted({c.strategy for c in rest}))
        own = [c for c in rest if c.strategy == strategy]
        backbone = rng.choice(sorted({c.backbone for c in own}))
        order.append(next(c for c in own if c.backbone == backbone))
        rest.remove(order[-1])
    return order


def leads(others: pd.DataFrame) -> pd.Series:
    """Mean lead in test score over the task's plain full fine-tuning, by arm.

    A lead and not the score, as not all tasks have all arms.
    """
    backbone, strategy, name = UNIT
    is_unit = (others["backbone"] == backbone) & (others["strategy"] == strategy)
    unit = others[is_unit & (others["name"] == name)][[*TASK, "test"]]
    both = others[[*TASK, *ARM, "test"]].merge(unit, on=TASK, suffixes=("", "_unit"))
    return both.assign(lead=both["test"] - both["test_unit"]).groupby(ARM)["lead"].mean()


def elsewhere(view: View, _: np.random.Generator) -> list[Candidate]:
    """Candidates as they did on other data sets, the best first."""
    known = leads(view.others).to_dict()
    found = [(known[c.arm], c) for c in view.candidates if c.arm in known]
    return [candidate for _, candidate in sorted(found, key=lambda pair: -pair[0])]


def untrained(view: View, rng: np.random.Generator) -> list[Candidate]:
    """The backbone by its frozen features' linear accuracy, with what is best elsewhere of it."""
    own = view.figures[
        (view.figures["dataset"] == view.dataset) & (view.figures["n_train"] == view.n_train)
    ]
    if own.empty:
        return []
    backbone = own["backbone"].iloc[int(own["linear_accuracy"].astype(float).argmax())]
    return [c for c in elsewhere(view, rng) if c.backbone == backbone][:1]


def _of_backbone(backbone: str) -> list[Policy]:
    short, label = _SHORT[backbone], _LABELS[backbone]
    return [
        in_order(f"svm-{short}", f"always SVM, {label}", svm(backbone)),
        in_order(f"full-{short}", f"always fine-tune all, rate tuned, {label}", full(backbone)),
        in_order(f"size-rule-{short}", f"size rule, {label}", size_rule(backbone)),
        in_order(f"bit-{short}", f"BiT's HyperRule, {label}", named(backbone, "finetune", "bit")),
        in_order(
            f"fastai-{short}", f"fastai's recipe, {label}", named(backbone, "finetune", "fastai")
        ),
    ]


POLICIES: tuple[Policy, ...] = (
    *(policy for backbone in BACKBONES for policy in _of_backbone(backbone)),
    in_order("scratch", "always from scratch", named(EMBEDDED, "scratch", *_SCRATCH)),
    in_order("random", "random search", shuffled, is_random=True),
    in_order("random-by-strategy", "random strategy, then config", by_strategy, is_random=True),
    in_order("elsewhere", "as ranked on other data sets", elsewhere),
    in_order("untrained", "backbone by linear accuracy, its best elsewhere", untrained),
)
