"""Figures, durations and configs in words: the same in explanation, charts and report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autotl.naming import BackboneName

UNKNOWN = "–"  # noqa: RUF001 (an en dash, as tables show a figure that isn't there)

UNIT = r"(?<=\d) (?=%|nats\b|points\b|s\b|min\b|h\b)"
"""The space between a figure and its unit, where no line should break."""

_METRIC_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "auroc": "area under the ROC curve",
}
_STRATEGY_WORDS = {
    "bottleneck": "the bottleneck",
    "finetune": "fine-tuning",
    "scratch": "training from scratch",
}
_NUMBERS = {"last_2": "2", "last_4": "4"}
_ORDINALS = {"last": "last", "second_last": "second-last", "third_last": "third-last"}


def metric_words(metric: str) -> str:
    """A metric's name as people say it."""
    return _METRIC_WORDS.get(metric, metric.replace("_", " "))


def in_nats(metric: str) -> bool:
    """Whether a metric is a loss in nats; all others are shares in [0, 1]."""
    return metric == "log_loss"


def format_value(metric: str, value: float | None) -> str:
    """A metric's value: per cent for shares, nats for the log loss, a dash for none or NaN."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.3f} nats" if in_nats(metric) else f"{100 * value:.1f} %"


def format_interval(metric: str, interval: tuple[float, float]) -> str:
    """A metric's interval, ``80.1 % to 86.2 %``."""
    low, high = interval
    if in_nats(metric) and math.isfinite(low):
        return f"{low:.3f} to {high:.3f} nats"
    return f"{format_value(metric, low)} to {format_value(metric, high)}"


def format_difference(metric: str, difference: float, error: float | None = None) -> str:
    """A difference of two values, with its standard error if given: ``3.2 ± 1.1 points``."""
    if not math.isfinite(difference):
        return UNKNOWN
    scale, digits, unit = (1.0, 3, "nats") if in_nats(metric) else (100.0, 1, "points")
    words = f"{scale * difference:.{digits}f}"
    if error is not None and math.isfinite(error):
        words += f" ± {scale * error:.{digits}f}"
    return f"{words} {unit}"


def format_seconds(seconds: float) -> str:
    """A duration: ``0.4 s``, ``34 s``, ``5 min 3 s``, ``2 h 05 min``."""
    if not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02d} min"


def short_name(backbone: object) -> str:
    """A backbone's name without the folders of its weights file."""
    return BackboneName.of(str(backbone)).short


def counted(n: int, noun: str) -> str:
    """``1 trial``, ``1,200 trials``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def one_line(name: str) -> str:
    """A name on one line, without characters that can't be shown or that XML forbids."""
    return "".join(c if c.isprintable() else " " for c in name)


def short_count(n: int) -> str:
    """``950``, ``12.3 k``, ``1.4 M``."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return str(n)


def strategy_words(strategy: str) -> str:
    """What a strategy does, as a noun."""
    return _STRATEGY_WORDS.get(strategy, strategy)


def joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def sentence(words: str) -> str:
    """With a capital first letter and a full stop."""
    words = words.strip()
    if not words:
        return ""
    return words[0].upper() + words[1:] + ("" if words[-1] in ".!?" else ".")


def describe_config(
    strategy: str, config: Mapping[str, Any], *, num_stages: int | None = None
) -> str:
    """What a trial's config means, the settings that matter, in words.

    Args:
        strategy: its name.
        config: plain values by parameter.
        num_stages: of the backbone, to say which of how many; None if unknown.
    """
    describe = {
        "finetune": _describe_finetune,
        "bottleneck": _describe_bottleneck,
        "scratch": _describe_scratch,
    }.get(strategy)
    if describe is None or "backbone" not in config:
        settings = ", ".join(f"{key} = {_plain(value)}" for key, value in config.items())
        return f"{strategy}: {settings}" if settings else strategy
    return describe({**config, "backbone": short_name(config["backbone"])}, num_stages)


def _describe_finetune(config: Mapping[str, Any], num_stages: int | None) -> str:
    frozen = int(config.get("freeze_depth", 0))
    rate, ratio = config.get("lr"), config.get("lr_ratio")
    start = "a solved softmax probe" if config.get("head") == "probe" else None
    if num_stages is not None and frozen >= num_stages:
        parts = [f"freeze all {num_stages} stages", "train the new head only"]
        if rate is not None:
            parts[-1] += f" at rate {_plain(rate)}"
    else:
        parts = [_frozen(frozen, num_stages), "train the rest"] if frozen else ["train every stage"]
        if rate is not None and ratio is not None:
            share = "" if math.isclose(ratio, 1.0) else f"{_plain(ratio)} x "
            parts[-1] += f" at {share}the head's rate {_plain(rate)}"
    if start is not None:
        parts.append(f"start the head from {start}")
    return f"fine-tune `{config['backbone']}`: {', '.join([*parts, *_training(config)])}"


def _frozen(n: int, num_stages: int | None) -> str:
    if num_stages is not None:
        return f"freeze the first {n} of {num_stages} stages"
    return "freeze the first stage" if n == 1 else f"freeze the first {n} stages"


def _describe_bottleneck(config: Mapping[str, Any], num_stages: int | None) -> str:
    head = "softmax probe" if config.get("head") == "logistic" else "linear SVM"
    layers = str(config.get("layers", "last"))
    if layers in _ORDINALS:
        where = f"the {_ORDINALS[layers]} stage"
    elif layers in _NUMBERS:
        where = f"the last {_NUMBERS[layers]} stages joined"
    else:
        where = "all stages joined" if num_stages is None else f"all {num_stages} stages joined"
    parts = [f"{head} on frozen features of `{config['backbone']}`: {where}"]
    if config.get("max_width"):
        parts.append("averaged over cells of the picture")
    if config.get("kept", 1.0) < 1.0:
        parts.append(f"the {100 * config['kept']:.0f} % of them that weigh most")
    if config.get("C") == "auto":
        parts.append("C chosen on held-out training samples")
    elif "C" in config:
        parts.append(f"C = {_plain(config['C'])}")
    if config.get("balanced"):
        parts.append("classes weighed equally")
    return ", ".join(parts)


def _describe_scratch(config: Mapping[str, Any], num_stages: int | None) -> str:
    removed = int(config.get("n_removed", 0))
    if num_stages is not None:
        removed = min(removed, num_stages - 1)
    if removed:
        stages = "stage" if removed == 1 else f"{removed} stages"
        of = "" if num_stages is None else f" (of {num_stages})"
        what = f"the architecture of `{config['backbone']}` without its last {stages}{of}"
    else:
        what = f"the whole architecture of `{config['backbone']}`"
    parts = [f"train {what} from random weights"]
    if "lr" in config:
        parts.append(f"rate {_plain(config['lr'])}")
    return ", ".join([*parts, *_training(config)])


def _training(config: Mapping[str, Any]) -> list[str]:
    parts = []
    policy = config.get("augmentation")
    if policy == "none":
        parts.append("no augmentation")
    elif policy is not None:
        mirrored = " with mirroring" if config.get("mirror") else ""
        n_views = int(config.get("n_views", 0))
        if policy == "maps":
            policy = "shifted-maps"
        versions = f" in {counted(n_views, 'fixed view')}" if n_views else ""
        parts.append(f"{policy} augmentation{mirrored}{versions}")
    if "epochs" in config:
        parts.append(counted(int(config["epochs"]), "epoch"))
    if config.get("balanced"):
        parts.append("classes weighed equally")
    return parts


def _plain(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
