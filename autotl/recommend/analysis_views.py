"""What the analysis' page shows of each backbone and of the features: rows and charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autotl.analysis import foretold
from autotl.analysis.analysis import SCORE_TITLES
from autotl.analysis.capacity import Capacity, short_ratio
from autotl.analysis.feature_map import FeatureMap
from autotl.analysis.landmarks import landmarks_for
from autotl.analysis.profile import BackboneProfile, DatasetProfile
from autotl.recommend import analysis_charts, charts
from autotl.recommend.words import UNKNOWN, one_line, short_count

_SHARES = ("linear_accuracy", "k_nn_accuracy", "centroid_accuracy")


def distances(
    backbones: Mapping[str, BackboneProfile], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A chart per backbone whose BatchNorm statistics tell the distance at every depth."""
    marks = {name: landmarks_for(name) for name in backbones}
    known = [name for name, b in backbones.items() if np.isfinite(b.similarity.per_stage).any()]
    highest = analysis_charts.axis_end(
        [backbones[name].similarity for name in known], [marks[name] for name in known]
    )
    found = []
    for index, name in enumerate(known):
        similarity = backbones[name].similarity
        chart = analysis_charts.distance_by_depth(similarity, marks[name], f"depth{index}", highest)
        if chart:
            found.append(
                {
                    "name": names[name],
                    "chart": chart,
                    "measured_with": marks[name].measured_with,
                    "n_samples": f"{similarity.n_samples:,}",
                }
            )
    return found


def map_of_features(
    feature_map: FeatureMap, profile: DatasetProfile, names: Mapping[str, str]
) -> dict[str, Any]:
    """The map with the names of its colours, those of the largest classes."""
    shown = {"map": "", "map_reason": feature_map.reason, "map_legend": [], "map_method": ""}
    shown["map_backbone"] = names[feature_map.backbone]
    if not len(feature_map.points):
        return shown
    counts = profile.size.samples_per_class
    order = sorted(range(len(counts)), key=lambda label: -counts[label])
    coloured = order[: len(analysis_charts.CLASS_COLOURS)]
    classes = [one_line(profile.class_names[label]) for label in coloured]
    legend = list(zip(classes, analysis_charts.CLASS_COLOURS, strict=False))
    n_others = len(counts) - len(coloured)
    if n_others:
        others = "1 other class" if n_others == 1 else f"{n_others:,} other classes"
        legend.append((others, analysis_charts.OTHER_COLOUR))
    n = len(feature_map.points)
    part = "all" if n == feature_map.n_all else f"{n:,} of the"
    return {
        **shown,
        "map": analysis_charts.feature_map(feature_map.points, feature_map.labels, coloured),
        "map_legend": legend,
        "map_method": f"{part} {feature_map.n_all:,} images by {feature_map.method}",
    }


def sufficiency(profile: DatasetProfile, names: Mapping[str, str]) -> dict[str, Any]:
    """Learning curve and parameters, as far as they are known."""
    known = profile.sufficiency
    if known is None:
        words = "unknown: the time didn't allow for all images to pass through a backbone"
        unknown = {"curve": "", "curve_words": words, "gain_known": False, "capacity": []}
        return {**unknown, "dimensions": ""}
    curve = known.learning_curve
    return {
        "dimensions": known.dimensions,
        "num_features": f"{known.num_features:,}",
        "of_dimension": foretold.OF_DIMENSION,
        "curve": analysis_charts.samples_and_accuracy(curve),
        "curve_words": str(curve),
        "gain_known": curve.gain is not None,
        "curve_n_train": f"{curve.n_train:,}",
        "curve_backbone": names[known.backbone],
        "capacity": [
            {
                "name": names[name],
                "rows": _capacity(capacity, profile.size.n_samples),
            }
            for name, capacity in known.capacity.items()
        ],
    }


def _capacity(capacity: Capacity, n_samples: int) -> list[dict[str, str]]:
    """A row per amount of training: parameters, and samples for each."""
    n = len(capacity.finetune) - 1

    def frozen(depth: int) -> str:
        if depth == n:
            return "the head only"
        return f"{n - depth} of {n} stages and the head" if depth else "all stages and the head"

    def left(n_removed: int) -> str:
        if not n_removed:
            return "the whole architecture"
        return "without its last stage" if n_removed == 1 else f"without its last {n_removed}"

    named = {
        "bottleneck": ("a linear classifier of the last stage", "one of all stages joined"),
        "finetune": tuple(frozen(depth) for depth in range(n + 1)),
        "scratch": tuple(left(n_removed) for n_removed in range(len(capacity.scratch))),
    }
    ratios = capacity.samples_per_parameter(n_samples)
    return [
        {
            "strategy": strategy if not index else "",
            "colour": charts.colour_of(strategy),
            "what": what,
            "n_parameters": short_count(count),
            "ratio": short_ratio(ratio),
        }
        for strategy, names in named.items()
        for index, (what, count, ratio) in enumerate(
            zip(names, getattr(capacity, strategy), ratios[strategy], strict=True)
        )
    ]


def transferability(
    backbones: Mapping[str, BackboneProfile], names: Mapping[str, str]
) -> dict[str, Any]:
    """A row per score, a column per backbone and what it foretold; why a backbone has none."""
    rows = []
    for score, title in SCORE_TITLES.items():
        values = [b.transferability.scores.get(score, float("nan")) for b in backbones.values()]
        known = [value for value in values if np.isfinite(value)]
        if not known:
            continue
        is_best = [len(known) > 1 and value == max(known) for value in values]
        cells = [_score(score, value) for value in values]
        told = foretold.named_better(score)
        rows.append((title, list(zip(cells, is_best, strict=True)), told))
    found = [b.transferability for b in backbones.values()]
    errors = [t.accuracy_error for t in found if t.accuracy_error is not None]
    return {
        "scores": rows,
        "score_names": list(names.values()),
        "n_ordered": foretold.N_ORDERED,
        "n_scored": f"{max((t.n_samples for t in found), default=0):,}",
        "score_error": f"{100 * max(errors):.1f} points" if errors else "",
        "score_reasons": [
            f"{names[name]}: unknown, {b.transferability.reason or 'not measured'}"
            for name, b in backbones.items()
            if not b.transferability.scores
        ],
    }


def _score(score: str, value: float) -> str:
    if not np.isfinite(value):
        return UNKNOWN
    return f"{100 * value:.1f} %" if score in _SHARES else f"{value:.2f}"
