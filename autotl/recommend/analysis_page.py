"""The analysis as one self-contained HTML page: what the data is like, before any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.analysis import foretold
from autotl.analysis.analysis import Analysis, of_groups
from autotl.analysis.feature_map import FeatureMap
from autotl.analysis.profile import DatasetProfile
from autotl.analysis.rules import CLOSE_SIMILARITY, FAR_SIMILARITY, PRACTICES, RULES
from autotl.naming import BackboneName
from autotl.recommend import analysis_charts, analysis_views, views
from autotl.recommend.page import file_name, render_page, thumbnail
from autotl.recommend.words import UNKNOWN, one_line, sentence, short_name

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
        "distances": analysis_views.distances(profile.backbones, names),
        "of_similarity": foretold.OF_SIMILARITY,
        "of_curve": foretold.OF_LEARNING_CURVE,
        "of_size": foretold.OF_SIZE,
        "of_groups": of_groups(profile),
        **analysis_views.map_of_features(contents.feature_map, profile, names),
        **analysis_views.sufficiency(profile, names),
        **analysis_views.transferability(profile.backbones, names),
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
