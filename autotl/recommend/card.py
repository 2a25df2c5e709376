"""The model card in Markdown: what a saved model is (Mitchell et al. 2019, arXiv 1810.03993)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from autotl.recommend.words import (
    UNKNOWN,
    counted,
    describe_config,
    format_interval,
    format_value,
    metric_words,
    one_line,
    sentence,
    short_count,
    short_name,
    strategy_words,
)

if TYPE_CHECKING:
    from autotl.recommend.model import Recommendation

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&#$@]|:(?=//)")
_MAX_CLASSES = 200
_FULL_CODE = re.compile(r"`+")


def model_card(recommendation: Recommendation) -> str:
    """The card of a recommendation's model.

    Names that come from the user's data are escaped: none of them can format the page or link.

    Returns:
        Markdown (CommonMark with tables), ending in a line break.
    """
    parts = [
        f"# {escaped(_title(recommendation))}",
        _what(recommendation),
        "## How good it is",
        _scores(recommendation),
        "## Data",
        _data(recommendation),
        "## Training",
        _training(recommendation),
        "## Limits",
        _limits(recommendation),
        "## Licence",
        _licence(recommendation),
        "## How to use it",
        _use(recommendation),
        "## What autotl said",
        _code(recommendation.text, "text"),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def escaped(name: object) -> str:
    """A name that Markdown shows as it is: on one line, what could format it escaped."""
    plain = " ".join(one_line(str(name)).split())
    return re.sub(
        r"(?i)\bwww\.", lambda found: found[0][:-1] + "\\.", _SPECIAL.sub(r"\\\g<0>", plain)
    )


def _title(recommendation: Recommendation) -> str:
    study = recommendation.figures.get("study")
    kind = f"Image classifier of {len(recommendation.class_names):,} classes"
    return f"{kind}: {study}" if study else kind


def _what(recommendation: Recommendation) -> str:
    model, backbone = recommendation.model, recommendation.model.backbone
    said = describe_config(recommendation.strategy, recommendation.config)
    n_parameters = sum(parameter.numel() for parameter in model.network.parameters())
    return (
        f"{escaped(sentence(said.replace('`', '')))} It takes RGB pictures of any size, squashes "
        f"them to {backbone.image_size} x {backbone.image_size} pixels and gives a probability for "
        f"each class. {short_count(n_parameters)} parameters, of which "
        f"{short_count(model.n_trainable)} were trained here. Made by autotl {version('autotl')}, "
        f"which chose {strategy_words(recommendation.strategy)} among "
        f"{counted(len(recommendation.table), 'trial')}."
    )


def _scores(recommendation: Recommendation) -> str:
    metric = recommendation.metric
    rows = []
    sources = {"expected (validation)": "expected", "locked test set": "test"}
    for words, key in sources.items():
        found = recommendation.figures.get(key)
        if found is None:
            rows.append((words, UNKNOWN, UNKNOWN))
            continue
        interval = (_number(found.get("low")), _number(found.get("high")))
        value = format_value(metric, _number(found.get("value")))
        rows.append((words, value, format_interval(metric, interval)))
    table = _table(("", metric_words(metric), "95 % interval"), rows)
    test = recommendation.test
    measured = recommendation.test_metrics if test is None else test.metrics
    others = [
        f"{metric_words(name)} {format_value(name, value)}"
        for name, value in measured.items()
        if name not in {metric, "expected_calibration_error"}
    ]
    error = measured.get("expected_calibration_error", math.nan)
    calibration = (
        f"Expected calibration error on the test set: {100 * error:.1f} points "
        f"(temperature {recommendation.model.temperature:.2f})."
        if math.isfinite(error)
        else "The calibration on the test set wasn't measured."
    )
    more = f"On the test set also: {', '.join(others)}." if others else ""
    return "\n\n".join(filter(None, [table, calibration, more]))


def _data(recommendation: Recommendation) -> str:
    profile = recommendation.profile
    size = profile.size
    validation = (
        "one hold-out" if profile.n_folds == 1 else f"{profile.n_folds}-fold cross-validation"
    )
    left_out = (
        f" {counted(profile.n_quarantined, 'picture')} couldn't be read and were left out."
        if profile.n_quarantined
        else ""
    )
    facts = (
        f"{size.n_samples:,} labelled pictures to learn from (validated by {validation}) and "
        f"{size.n_test:,} locked away for the test; median size {size.median_size[0]} x "
        f"{size.median_size[1]} pixels, {100 * size.grey_share:.0f} % grey, "
        f"{size.n_duplicates:,} with copies.{left_out} "
        f"Fingerprint `{escaped(profile.fingerprint[:16])}`."
    )
    rows = [
        (escaped(name), f"{n:,}")
        for name, n in zip(recommendation.class_names, size.samples_per_class, strict=False)
    ]
    shown = _table(("class", "pictures to learn from"), rows[:_MAX_CLASSES])
    if len(rows) > _MAX_CLASSES:
        shown += f"\n\n... and {len(rows) - _MAX_CLASSES:,} more classes."
    return f"{facts}\n\n{shown}"


def _training(recommendation: Recommendation) -> str:
    rows = [("strategy", escaped(recommendation.strategy))]
    for key, value in recommendation.config.items():
        rows.append((escaped(key), escaped(short_name(value) if key == "backbone" else value)))
    rows.append(("backbone weights", f"`{escaped(recommendation.model.backbone.weights_hash)}`"))
    return _table(("setting", "value"), rows)


def _limits(recommendation: Recommendation) -> str:
    lines = [
        "It knows these classes only, and gives every picture one of them: it can't say that a "
        "picture shows something else.",
        "The scores hold for pictures like those above. Others, from another camera, place or "
        "time, may do worse, and nothing here tells.",
        "Scores and probabilities are averages: rare classes, and groups of people or places that "
        "the data doesn't name, weren't looked at one by one.",
        "The picture's sides are squashed to a square: what differs by proportions alone is lost.",
    ]
    notes = [escaped(note) for note in recommendation.figures.get("notes", ())]
    if recommendation.figures.get("test") is None:
        lines.append("There is no test score: the expected one rests on validation alone.")
    return "\n".join(f"- {line}" for line in [*lines, *map(sentence, notes)])


def _licence(recommendation: Recommendation) -> str:
    backbone = recommendation.model.backbone
    name = escaped(short_name(backbone.name))
    data = (
        "The data's own terms, and rights of people shown in it, stay with the data and may bind "
        "the model too; autotl doesn't know them."
    )
    if recommendation.strategy == "scratch":
        return f"No foreign weights are in this model: it was trained from random ones. {data}"
    if backbone.name == "embedded":
        return f"Its backbone's weights come with autotl, under Apache-2.0. {data}"
    if "@" in backbone.name:
        return f"Its backbone's weights, {name}, came from a file: ask who made it. {data}"
    known = _timm_licence(backbone.name)
    said = (
        f"which timm lists under {escaped(known)}" if known else "whose licence timm doesn't list"
    )
    return f"Its backbone's weights are timm's {name}, {said}. {data}"


def _timm_licence(name: str) -> str | None:
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return None if config is None else config.license


def _use(recommendation: Recommendation) -> str:
    code = (
        "import autotl\n\n"
        'recommendation = autotl.load("model/")  # the folder of this file\n'
        'recommendation.predict(["one.jpg", "two.png"])  # class names\n'
        'recommendation.predict_proba("one.jpg")  # (1, n_classes)\n'
        'recommendation.export("model.onnx")  # for ONNX Runtime alone'
    )
    return (
        f"{_code(code, 'python')}\n\n`autotl predict MODEL IMAGES` does the same on the command "
        "line. The files hold no pickle: reading them runs nobody's code."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str, language: str) -> str:
    """A block of text as it is, in a fence longer than any that it holds."""
    longest = max((len(found) for found in _FULL_CODE.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
