"""The JSON Schema of study files: editors complete and check them by it."""

from __future__ import annotations

import json
import re
from typing import Any

from autotl.config import STRATEGY_NAMES, FitConfig, StudyFile
from autotl.metrics import METRICS
from autotl.naming import BUILT_IN

_PLACE = "relative to the file"


def schema_text() -> str:
    """The schema as it is published in ``studies/study.schema.json``."""
    return json.dumps(study_schema(), indent=1) + "\n"


def study_schema() -> dict[str, Any]:
    """The schema of :class:`~autotl.config.StudyFile`, with what only strategies know.

    Every field's description is that of the class; parameters of the space, their choices and
    ranges are those that the strategies ask for, as far as they don't follow from the data set.
    """
    schema = StudyFile.model_json_schema()
    told = _descriptions(FitConfig) | _descriptions(StudyFile)
    fields = schema["properties"]
    for name, own in fields.items():
        own.pop("title", None)
        own["description"] = told[name]
    fields["strategies"] |= _names({"enum": list(STRATEGY_NAMES)})
    fields["backbones"] |= _names({"type": "string"})
    fields["metric"]["enum"] = ["auto", *METRICS]
    fields["data"]["examples"] = list(BUILT_IN)
    fields["space"] = {
        "type": "object",
        "description": told["space"],
        "properties": _parameters(),
        "additionalProperties": False,
    }
    schema.pop("$defs", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A study of autotl",
        "description": "A whole fit: `autotl study run FILE.yaml`.",
    }


def _names(one: dict[str, Any]) -> dict[str, Any]:
    """Of a list, or of a text with commas, ``auto`` among them."""
    some = {"type": "array", "items": one, "minItems": 1}
    return {"anyOf": [{"type": "string"}, some]}


def _parameters() -> dict[str, Any]:
    from autotl.search.space import declared
    from autotl.strategies import STRATEGIES

    found = {}
    for strategy in STRATEGIES.values():
        for name, own in declared(strategy).items():
            one: dict[str, Any] = {} if own.kind == "choice" else {"type": "number"}
            if own.kind == "int":
                one = {"type": "integer"}
            if own.choices is not None:
                one = {"enum": list(own.choices)}
            if own.low is not None and own.high is not None:
                one |= {"minimum": own.low, "maximum": own.high}
            found[name] = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
            if own.kind != "choice":
                ends = {"low": one, "high": one}
                found[name]["anyOf"].append(
                    {
                        **{"type": "object", "properties": ends, "required": ["low", "high"]},
                        "additionalProperties": False,
                    }
                )
    return found


def _descriptions(kind: type) -> dict[str, str]:
    """What a class' docstring says of each attribute."""
    section = (kind.__doc__ or "").partition("Attributes:")[2]
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
