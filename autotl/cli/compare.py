"""Two studies beside each other: what they were given, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotl.cli.history import History, PastStudy, make_table, number, short, table_console
from autotl.cli.terminal import write_json

_DATA = {"dataset": "name", "n_samples": "images", "n_classes": "classes", "fingerprint": "digest"}

Pairs = dict[str, tuple[Any, Any]]
"""Values of both studies, by what they are of."""


def compare(one: PastStudy, other: PastStudy) -> dict[str, Pairs]:
    """What differs, by section: of data, settings, space and backbones only what isn't equal, of
    the verdict, the scores of the strategies and the cost everything.

    Args:
        one: a study.
        other: another one.
    """
    given = [_given(study) for study in (one, other)]
    found = [_found(study) for study in (one, other)]
    return {
        **{name: _differing(given[0][name], given[1][name]) for name in given[0]},
        **{name: _pairs(found[0][name], found[1][name]) for name in found[0]},
    }


def show_comparison(
    output: Path, one: str, other: str, storage: str | None = None, *, as_json: bool
) -> None:
    """Print the comparison of two studies: a table, or one line of JSON.

    Args:
        output: their folder.
        one: name of a study.
        other: name of another one.
        storage: where their trials are, if not in the folder.
        as_json: whether to print JSON.

    Raises:
        InputError: if there is no such study.
    """
    history = History(output, storage)
    sections = compare(history.study(one), history.study(other))
    if as_json:
        write_json({"studies": [one, other], **sections})
        return
    table = make_table("", "", one, other)
    for section, pairs in sections.items():
        if not pairs:
            table.add_row(section, "the same", "", "")
        for i, (name, values) in enumerate(pairs.items()):
            table.add_row("" if i else section, name, *map(_told, values))
    table_console().print(table)


def _given(study: PastStudy) -> dict[str, dict[str, Any]]:
    kept = study.kept()
    identity, settings = kept.get("identity", {}), dict(kept.get("settings", {}))
    for name in ("space", "in_memory", "description"):
        settings.pop(name, None)
    resolved = {"metric": identity.get("metric"), "strategies": identity.get("strategies")}
    return {
        "data": {told: identity.get(name) for name, told in _DATA.items()},
        "settings": settings | resolved,
        "space": identity.get("space", {}),
        "backbones": identity.get("backbones", {}),
    }


def _found(study: PastStudy) -> dict[str, dict[str, Any]]:
    decided = study.decided()
    expected, test = decided.get("expected") or {}, decided.get("test") or {}
    scores: dict[str, Any] = {best.strategy: {"value": best.score} for best in study.best}
    scores |= {name: own for name, own in decided.get("strategies", {}).items() if own}
    return {
        "verdict": {
            "recommended": decided.get("strategy"),
            "kind": decided.get("verdict"),
            "expected": _interval(expected),
            "locked test": _interval(test),
        },
        "scores": {name: _interval(own) for name, own in sorted(scores.items())},
        "cost": {
            "trials": len(study.trials),
            "complete": sum(trial.score is not None for trial in study.trials),
            "seconds": decided.get("seconds"),
        },
    }


def _interval(score: Mapping[str, Any]) -> dict[str, Any] | None:
    return {name: score.get(name) for name in ("value", "low", "high")} if score else None


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Pairs:
    return {name: pair for name, pair in _pairs(one, other).items() if pair[0] != pair[1]}


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> Pairs:
    return {name: (one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])}


def _told(value: Any) -> str:
    if isinstance(value, Mapping) and "value" in value:
        low, high = value.get("low"), value.get("high")
        interval = "" if low is None else f" ({number(low)} to {number(high)})"
        return number(value["value"]) + interval
    if isinstance(value, Mapping):
        return " ".join(f"{name}: {short(own)}" for name, own in value.items())
    if isinstance(value, list):
        return ", ".join(map(short, value))
    return "-" if value is None else short(value)
