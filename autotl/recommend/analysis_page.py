"""The analysis as one self-contained HTML page: what the data is like, before any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.analysis import foretold
from autotl.analysis.analysis import SCORE_TITLES, Analysis, of_groups
from autotl.analysis.capacity import Capacity, short_ratio
from autotl.analysis.feature_map import FeatureMap
from autotl.analysis.landmarks import landmarks_for
from autotl.analysis.profile import BackboneProfile, DatasetProfile
from autotl.analysis.rules import CLOSE_SIMILARITY, FAR_SIMILARITY, PRACTICES, RULES
from autotl.naming import BackboneName
from autotl.recommend import analysis_charts, charts, views
from autotl.recommend.page import file_name, render_page, thumbnail
from autotl.recommend.words import UNKNOWN, one_line, sentence, short_count, short_name

MAX_PICTURES = 40
"""In the grid of samples."""
MAX_REPEATED, MAX_SHOWN_TIMES = 12, 6
"""Pictures that occur more than once, and samples of each."""
MAX_NAMED_CLASSES = 40
"""With more classes a histogram of their counts is drawn."""

_THUMBNAIL_PIXELS = 112
_HEADLINES = {
    "finetune": "Fine-tune a pretrained network",
    "bottleneck": "Classify frozen features of a pretrained network",
    "scratch": "Train a network from scratch",
}
_SHARES = ("linear_accuracy", "k_nn_accuracy", "centroid_accuracy")


@dataclass(frozen=True)
class LabelledPicture:
    """A development sample.

    Attributes:
        pixels: ``(h, w, 3) uint8``.
        name: that a person finds it by.
        label: its class.
    """

    pixels: NDArray[np.uint8]
    name: str
    label: str


@dataclass(frozen=True)
class RepeatedPicture:
    """A picture that several development samples show.

    Attributes:
        pictures: of these samples, at most :data:`MAX_SHOWN_TIMES`.
        n_samples: how many there are.
        same_label: whether all have one label.
        same_pixels: whether all are equal once decoded, not only nearly so.
    """

    pictures: tuple[LabelledPicture, ...]
    n_samples: int
    same_label: bool
    same_pixels: bool


@dataclass(frozen=True)
class AnalysisContents:
    """What goes into the page.

    Attributes:
        title: of the data set.
        analysis: of it.
        pictures: some of each class, class by class; at most :data:`MAX_PICTURES` are shown.
        repeated: pictures that occur more than once; at most :data:`MAX_REPEATED` are shown.
        n_repeated: how many there are of these.
        n_repeated_in_test: how many more there are within the locked test set.
        feature_map: of samples.
    """

    title: str
    analysis: Analysis
    pictures: tuple[LabelledPicture, ...]
    repeated: tuple[RepeatedPicture, ...]
    n_repeated: int
    n_repeated_in_test: int
    feature_map: FeatureMap


def render_analysis(contents: AnalysisContents) -> str:
    """The page as a string."""
    return render_page("analysis.html.jinja", _view(contents))


def _view(contents: AnalysisContents) -> dict[str, Any]:
    """Everything that the template shows, as strings and numbers."""
    analysis, profile = contents.analysis, contents.analysis.profile
    classes, names = views.class_bars(profile), _names(profile)
    counts = profile.size.samples_per_class
    many, even = len(classes) > MAX_NAMED_CLASSES, min(counts) == max(counts)
    shown = [_picture(picture) for picture in contents.pictures[:MAX_PICTURES]]
    groups = [(k, list(found)) for k, found in groupby(shown, key=lambda p: str(p["label"]))]
    return {
        "title": one_line(contents.title),
        "heading": _HEADLINES.get(analysis.strategy, analysis.strategy),
        "recommendation": _recommendation(analysis, names),
        "tiles": _tiles(profile),
        "rules": _rules(analysis),
        "practices": [
            {"advice": sentence(p.advice), "figures": p.told(profile), "source": p.source}
            for p in PRACTICES
        ],
        "facts": views.facts(profile),
        "classes": [] if many else classes,
        "each": f"{counts[0]:,}" if even else "",
        "histogram": analysis_charts.count_histogram(counts) if many and not even else "",
        "extremes": (classes[:3], classes[-3:]),
        "groups": groups,
        "n_classes": profile.size.n_classes,
        "sides": max(contents.pictures[0].pixels.shape[:2]) if contents.pictures else 0,
        "repeated": [
            {
                "pictures": [_picture(picture) for picture in repeated.pictures[:MAX_SHOWN_TIMES]],
                "n_more": repeated.n_samples - min(len(repeated.pictures), MAX_SHOWN_TIMES),
                "same_label": repeated.same_label,
                "how": "equal pixels" if repeated.same_pixels else "nearly the same",
            }
            for repeated in contents.repeated[:MAX_REPEATED]
        ],
        "n_repeated": contents.n_repeated,
        "n_repeated_in_test": contents.n_repeated_in_test,
        "backbones": [
            row | {"name": name}
            for name, row in zip(names.values(), views.backbones(profile), strict=True)
        ],
        "ranking": [(one_line(e.short_name), str(e), e.kept) for e in profile.ranking],
        "distances": _distances(profile.backbones, names),
        "of_similarity": foretold.OF_SIMILARITY,
        "of_curve": foretold.OF_LEARNING_CURVE,
        "of_size": foretold.OF_SIZE,
        "of_groups": of_groups(profile),
        **_map(contents.feature_map, profile, names),
        **_sufficiency(profile, names),
        **_transferability(profile.backbones, names),
        "plain_text": str(analysis),
    }


def _names(profile: DatasetProfile) -> dict[str, str]:
    """What to call each backbone: without its weights' file, if that is enough."""
    architectures = [BackboneName.of(name).without_file for name in profile.backbones]
    return {
        name: one_line(short if architectures.count(short) == 1 else short_name(name))
        for name, short in zip(profile.backbones, architectures, strict=True)
    }


def _recommendation(analysis: Analysis, names: Mapping[str, str]) -> str:
    """One paragraph: what, why, and what that is worth."""
    profile = analysis.profile
    size = profile.size
    words = [
        f"The best bet without training is the {analysis.strategy} strategy with "
        f"`{names[analysis.backbone]}` ({analysis.reason}); {foretold.OF_BEST_BET}.",
        f"There are {size.n_samples:,} images of {size.n_classes:,} classes to learn from.",
    ]
    known = {
        name: backbone.similarity.value
        for name, backbone in profile.backbones.items()
        if backbone.similarity.value is not None
    }
    if known:
        nearest = max(known, key=lambda name: known[name])
        words.append(
            f"They look {_nearness(known[nearest])} what `{names[nearest]}` was trained on "
            f"(similarity {known[nearest]:.2f}: {_farther(known[nearest])})."
        )
    if profile.sufficiency is not None:
        words.append(sentence(str(profile.sufficiency.learning_curve)))
    words.append(
        "Nothing was trained for this page: these are rules, and `autotl fit` puts them to "
        "the test."
    )
    return " ".join(words)


def _farther(similarity: float) -> str:
    return f"{100 * similarity:.0f} % of known data sets lie farther off"


def _nearness(similarity: float) -> str:
    if similarity >= CLOSE_SIMILARITY:
        return "much like"
    return "little like" if similarity <= FAR_SIMILARITY else "somewhat like"


def _tiles(profile: DatasetProfile) -> list[tuple[str, str, str]]:
    """Caption, figure and small print of the figures under the recommendation."""
    size, best = profile.size, profile.best_similarity
    fewest, most = min(size.samples_per_class), max(size.samples_per_class)
    distinct = "" if size.n_distinct is None else f"{size.n_distinct:,} of them different; "
    tiles = [
        ("images to learn from", f"{size.n_samples:,}", f"{distinct}{size.n_test:,} more locked"),
        (
            "classes",
            f"{size.n_classes:,}",
            f"of {fewest:,} images each" if fewest == most else f"of {fewest:,} to {most:,} images",
        ),
        (
            "domain similarity",
            UNKNOWN if best is None else f"{best:.2f}",
            "unknown for every backbone" if best is None else _farther(best),
        ),
    ]
    curve = None if profile.sufficiency is None else profile.sufficiency.learning_curve
    if curve is None or curve.gain is None or curve.interval is None:
        tiles.append(("twice the labels", UNKNOWN, "what they would bring is unknown"))
    else:
        low, high = (f"{100 * bound:+.1f}" for bound in curve.interval)
        tiles.append(
            ("twice the labels", f"{100 * curve.gain:+.1f}", f"points of accuracy, {low} to {high}")
        )
    return tiles


def _rules(analysis: Analysis) -> list[dict[str, str]]:
    sources = {rule.name: rule.source for rule in RULES}
    return [
        {"advice": sentence(advice), "figures": figures, "source": sources.get(name, "")}
        for name, advice, figures in analysis.rules
    ]


def _picture(picture: LabelledPicture) -> dict[str, Any]:
    return {
        **thumbnail(picture.pixels, _THUMBNAIL_PIXELS),
        "name": one_line(picture.name),
        "short_name": file_name(picture.name),
        "label": one_line(picture.label),
    }


def _distances(
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


def _map(
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


def _sufficiency(profile: DatasetProfile, names: Mapping[str, str]) -> dict[str, Any]:
    """Learning curve and parameters, as far as they are known."""
    sufficiency = profile.sufficiency
    if sufficiency is None:
        words = "unknown: the time didn't allow for all images to pass through a backbone"
        unknown = {"curve": "", "curve_words": words, "gain_known": False, "capacity": []}
        return {**unknown, "dimensions": ""}
    curve = sufficiency.learning_curve
    return {
        "dimensions": sufficiency.dimensions,
        "num_features": f"{sufficiency.num_features:,}",
        "of_dimension": foretold.OF_DIMENSION,
        "curve": analysis_charts.samples_and_accuracy(curve),
        "curve_words": str(curve),
        "gain_known": curve.gain is not None,
        "curve_n_train": f"{curve.n_train:,}",
        "curve_backbone": names[sufficiency.backbone],
        "capacity": [
            {
                "name": names[name],
                "rows": _capacity(capacity, profile.size.n_samples),
            }
            for name, capacity in sufficiency.capacity.items()
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


def _transferability(
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
