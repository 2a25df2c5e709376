"""The analyzer's word before any training: the profile, the best bet, and the rules of thumb."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotl.analysis import foretold
from autotl.analysis.best_bet import best_bet
from autotl.analysis.capacity import short_ratio
from autotl.analysis.profile import BackboneProfile, DatasetProfile
from autotl.analysis.ranking import RankedBackbone
from autotl.analysis.rules import PRACTICES, triggered
from autotl.analysis.similarity import DomainSimilarity
from autotl.naming import BackboneName


@dataclass(frozen=True)
class Analysis:
    """What is known without training.

    Attributes:
        profile: of the data set.
        strategy: the best bet, see :func:`~autotl.analysis.best_bet.best_bet`.
        backbone: that it takes.
        reason: the figures behind it.
        rules: name, advice and triggering figures of each rule that applies.
    """

    profile: DatasetProfile
    strategy: str
    backbone: str
    reason: str
    rules: tuple[tuple[str, str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "strategy": self.strategy,
            "backbone": self.backbone,
            "reason": self.reason,
            "rules": [
                {"name": name, "advice": advice, "figures": figures}
                for name, advice, figures in self.rules
            ],
            "profile": self.profile.as_json(),
        }

    def __str__(self) -> str:
        size = self.profile.size
        (width, height), (low, high) = size.median_size, size.size_range
        lines = [
            f"{size.n_samples + size.n_test:,} pictures, {size.n_classes} classes "
            f"({min(size.samples_per_class):,} to {max(size.samples_per_class):,} samples each "
            f"to learn from, imbalance {size.imbalance:.1f}); {size.n_test:,} locked for the test",
            f"pictures of {width} x {height} pixels in the median, sides {low} to {high}; "
            f"{100 * size.grey_share:.0f} % without colour; {size.n_duplicates} duplicates; "
            f"{self.profile.n_quarantined} left out",
            *_size_lines(self.profile),
            *_ranking_lines(self.profile.ranking),
        ]
        for name, backbone in self.profile.backbones.items():
            lines.append(
                f"backbone {name}: {_similarity(backbone.similarity)}; "
                f"{short_ratio(backbone.samples_per_parameter)} samples per parameter"
            )
        if self.profile.best_similarity is not None:
            lines.append(f"  {foretold.OF_SIMILARITY}")
        lines += _table(self.profile.backbones)
        if any(b.transferability.scores for b in self.profile.backbones.values()):
            lines.append(f"  {of_groups(self.profile)}")
        lines.append(
            f"best bet without training: {self.strategy} with {self.backbone} ({self.reason}); "
            f"{foretold.OF_BEST_BET}"
        )
        lines.append("rules of thumb that apply, which a fit puts to the test:")
        lines += [f"  - {advice} [{figures}]" for _, advice, figures in self.rules]
        lines.append("what every fit does anyway:")
        lines += [
            f"  - {practice.advice} [{practice.told(self.profile)}]" for practice in PRACTICES
        ]
        return "\n".join(lines)


def _size_lines(profile: DatasetProfile) -> list[str]:
    """What goes beyond counting."""
    size, sufficiency = profile.size, profile.sufficiency
    lines = []
    if size.n_distinct is not None and size.n_distinct < size.n_samples:
        pictures = "picture" if size.n_distinct == 1 else "pictures"
        lines.append(
            f"{size.n_distinct:,} different {pictures} among the {size.n_samples:,} to learn from; "
            "the others are saved again, resized, mirrored or cropped"
        )
    lines += profile.not_looked_for
    if size.side_quantiles:
        low, high = size.side_quantiles[0], size.side_quantiles[-1]
        narrow, wide = size.aspect_quantiles[0], size.aspect_quantiles[-1]
        lines.append(
            f"nine in ten have a shorter side of {low} to {high} pixels and a width of "
            f"{narrow:.2f} to {wide:.2f} times the height"
        )
    if sufficiency is None:
        return lines
    if sufficiency.dimensions:
        lines.append(
            f"{sufficiency.num_features} features of {sufficiency.backbone} spread on about "
            f"{sufficiency.dimensions} dimensions, which {foretold.OF_DIMENSION}"
        )
    lines.append(f"{sufficiency.learning_curve}; by a linear classifier on frozen features")
    if sufficiency.learning_curve.gain is not None:
        lines.append(f"  {foretold.OF_LEARNING_CURVE}")
    for name, capacity in sufficiency.capacity.items():
        ratios = capacity.samples_per_parameter(size.n_samples)
        told = ", ".join(
            f"{strategy} {short_ratio(values[0])}" for strategy, values in ratios.items()
        )
        lines.append(f"samples per trainable parameter with {name}: {told}")
    return [*lines, f"  {foretold.OF_SIZE}"] if sufficiency.capacity else lines


def _ranking_lines(ranking: Sequence[RankedBackbone]) -> list[str]:
    """What was made of many candidates, a line each."""
    if not ranking:
        return []
    n_kept = sum(entry.kept for entry in ranking)
    width = max(len(entry.short_name) for entry in ranking)
    title = (
        f"{n_kept} of {len(ranking)} backbones were kept, by a linear fit to frozen features of "
        "growing parts of the training pictures:"
    )
    return [title] + [
        f"  {'kept' if entry.kept else 'dropped':<7}  {entry.short_name:<{width}}  {entry}"
        for entry in ranking
    ]


def _similarity(similarity: DomainSimilarity) -> str:
    """In words."""
    if similarity.value is None:
        told = f"domain similarity unknown ({similarity.reason})"
    else:
        told = f"domain similarity {similarity.value:.2f}"
        if similarity.interval is not None:
            told += " [{:.2f}, {:.2f}]".format(*similarity.interval)
        told += f" from {similarity.n_samples:,} pictures"
    return f"{told}; {similarity.note}" if similarity.note else told


SCORE_TITLES: Mapping[str, str] = {
    "linear_accuracy": "linear accuracy",
    "log_me": "LogME",
    "h_score": "H-score",
    "k_nn_accuracy": "k-NN accuracy",
    "centroid_accuracy": "centroid accuracy",
    "parc": "PARC",
    "trans_rate": "TransRate",
    "n_leep": "NLEEP",
}
"""Titles of the transferability scores."""


def _table(backbones: Mapping[str, BackboneProfile]) -> list[str]:
    """A column per backbone: distances by depth and from reference statistics, scores.

    The last column says what they foretold.
    """
    columns = [["", "distance", "by stage", "Frechet distance", "class distance"]]
    columns[0] += SCORE_TITLES.values()
    for name, backbone in backbones.items():
        similarity, scores = backbone.similarity, backbone.transferability.scores
        source = similarity.source
        columns.append(
            [
                BackboneName.of(name).without_file,
                _figure(similarity.distance),
                " ".join(_figure(distance) for distance in similarity.per_stage) or "-",
                _figure(None if source is None else source.frechet),
                _figure(None if source is None else source.prototypes),
                *(_figure(scores.get(score)) for score in SCORE_TITLES),
            ]
        )
    judged = ["foretold", foretold.named_better("distance"), "not tested", *["nothing found"] * 2]
    columns.append([*judged, *map(foretold.named_better, SCORE_TITLES)])
    widths = [max(map(len, column)) for column in columns]
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
        if not row[0] or set(row[1:-1]) != {"-"}
    ]
    n_scored = max((b.transferability.n_samples for b in backbones.values()), default=0)
    reasons = [
        f"no scores for {name}: {backbone.transferability.reason}"
        for name, backbone in backbones.items()
        if backbone.transferability.reason
    ]
    title = (
        "distances from the source domain (0: none; similarity is the share of known data sets "
        "that lie farther off), and how well frozen features tell the classes apart (scores of "
        f"{n_scored:,} samples, greater is better); foretold: on how many of {foretold.N_ORDERED} "
        "measured tasks it named the better of two backbones, where chance names half:"
    )
    return [title, *(f"  {row}" for row in rows), *reasons]


def of_groups(profile: DatasetProfile) -> str:
    """For which pictures the accuracies hold: a sentence."""
    if not profile.has_groups:
        return (
            "Accuracies hold for more pictures like these; for those of new patients, speakers or "
            "cameras say with --group (group=) which picture is whose."
        )
    known = [
        f"{value:.2f} with {BackboneName.of(name).without_file}"
        for name, backbone in profile.backbones.items()
        if (value := backbone.transferability.new_groups_accuracy) is not None
        and math.isfinite(value)
    ]
    told = "Accuracies hold for more pictures of the same groups"
    if not known:
        return f"{told}."
    return f"{told}; for pictures of new groups the linear accuracy is {', '.join(known)}."


def _figure(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"


def analyse(profile: DatasetProfile) -> Analysis:
    """What is made of a profile."""
    bet = best_bet(profile)
    rules = tuple((rule.name, rule.advice, figures) for rule, figures in triggered(profile))
    return Analysis(profile, bet.strategy, bet.backbone, bet.reason, rules)
