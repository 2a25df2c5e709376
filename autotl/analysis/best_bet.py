"""What to take without any training: what was least regretted on measured data sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autotl.analysis.examination import LINEAR
from autotl.analysis.profile import DatasetProfile


@dataclass(frozen=True)
class BestBet:
    """A recommendation without training.

    Attributes:
        strategy: its name.
        backbone: its name.
        reason: the figures behind it.
    """

    strategy: str
    backbone: str
    reason: str


def best_bet(profile: DatasetProfile) -> BestBet:
    """Fine-tune everything, of the backbone whose frozen features tell the classes apart best.

    That is the accuracy of a linear classifier on them. In the outcome table
    (``studies/similarity``, 24 tasks) this had a much smaller mean regret than the rules of thumb:
    the number of samples and the domain similarity did not improve the choice of a strategy, while
    the features' accuracy did improve that of the backbone. Where no accuracy is known, the first
    backbone is named.
    """
    scores = {
        name: score
        for name, backbone in profile.backbones.items()
        if math.isfinite(score := backbone.transferability.scores.get(LINEAR, math.nan))
    }
    if not scores:
        return BestBet(
            "finetune", next(iter(profile.backbones)), "nothing is known of its features"
        )
    name = max(scores, key=scores.__getitem__)
    told = f"linear accuracy of its frozen features {scores[name]:.2f}"
    others = [f"{score:.2f}" for other, score in scores.items() if other != name]
    return BestBet("finetune", name, f"{told}, others' {', '.join(others)}" if others else told)
