"""Study files: whole fits described in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.cli.history import History
from autotl.errors import InputError
from autotl.naming import BUILT_IN, BackboneName, is_url

if TYPE_CHECKING:
    from autotl.config import StudyFile


def read_study(path: Path, overrides: Mapping[str, Any] | None = None) -> StudyFile:
    """Read a study file.

    Args:
        path: a YAML file with the keys of :class:`autotl.config.StudyFile`. Paths of data and of
            weights in it are relative to its folder; where results go is relative to the working
            folder. The data sets ``digits`` and ``wallpaper_groups`` come with autotl.
        overrides: settings that win over the file's.

    Raises:
        InputError: if it can't be read or isn't a mapping; else naming every wrong key and value.
    """
    from autotl.config import StudyFile, make_config

    values = _mapping(path)
    folder = path.expanduser().absolute().parent
    for key in ("data", "test"):
        place = values.get(key)
        if isinstance(place, str) and place not in BUILT_IN and not is_url(place):
            values[key] = str(folder / Path(place).expanduser())
    if "backbones" in values:
        values["backbones"] = _with_whole_paths(values["backbones"], folder)
    problems = []
    if values.get("data") is None:
        problems.append(
            "data is missing: name a folder or table, relative to the file, or one of the built-in "
            f"data sets {' and '.join(BUILT_IN)}"
        )
        values["data"] = BUILT_IN[0]
    if values.get("test") in BUILT_IN:
        problems.append(f"test: a built-in data set can't be the test set: {values['test']}")
    config: StudyFile | None = None
    try:
        config = make_config({**values, **(overrides or {})}, StudyFile)
    except InputError as error:
        problems += error.problems
    if config is not None and config.space:
        from autotl.search.space import refuse_outside  # loads torch

        try:
            refuse_outside(config.space, config.strategy_names)
        except InputError as error:
            problems += error.problems
    if config is None or problems:
        raise InputError(f"{path}: {InputError.of(problems)}")
    return config


def _mapping(path: Path) -> dict[str, Any]:
    """The file's content, which must be a mapping."""
    import yaml

    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"no such study file: {path} (looked for {path.absolute()})") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it isn't UTF-8 text"
        raise InputError(f"the study file {path} can't be read: {reason}") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path} isn't YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        what = "empty" if values is None else f"a {type(values).__name__}"
        raise InputError(
            f"a study file holds lines of the form 'key: value', such as 'data: digits', but "
            f"{path} is {what}"
        )
    return {str(key): value for key, value in values.items()}


def _with_whole_paths(backbones: Any, folder: Path) -> Any:
    """``name@file`` with the file relative to a folder made whole; anything else as it is."""
    if isinstance(backbones, str):
        backbones = [part.strip() for part in backbones.split(",")]
        if backbones == ["auto"]:
            return "auto"
    if not isinstance(backbones, list):
        return backbones
    whole = []
    for entry in backbones:
        if isinstance(entry, str) and (parts := BackboneName.of(entry)).file:
            entry = str(replace(parts, file=str(folder / Path(parts.file).expanduser())))
        whole.append(entry)
    return whole


_SAME = ("data", "test", "image", "label", "group", "strategies", "backbones", "metric", "seed")
"""Settings by which the study of a file is found, and its space."""


def study_of_file(path: Path, output: Path | None, overrides: Mapping[str, Any]) -> StudyFile:
    """The study of a file, to go on with: the one it names, or the last one made with its settings.

    Args:
        path: as for :func:`read_study`.
        output: where the study is; None: where the file says.
        overrides: settings that win over the file's.

    Raises:
        InputError: if the file can't be used, or there is no such study.
    """
    place = {} if output is None else {"output_dir": output}
    config = read_study(path, {**overrides, **place})
    history = History(config.output_dir, config.storage)
    if config.study_name is not None:
        history.study(config.study_name)
        return config
    wanted = _sameness(config.model_dump(mode="json"))
    for name in reversed(history.names()):
        settings = history.study(name).kept().get("settings")
        if settings and _sameness(settings) == wanted:
            return config.model_copy(update={"study_name": name})
    raise InputError(
        f"no study in {config.output_dir} was made with the data, strategies, backbones, metric, "
        f"seed and space of {path}; run it first: `autotl study run {path}`"
    )


def study_of_name(name: str, output: Path, overrides: Mapping[str, Any]) -> StudyFile:
    """A study of an output folder, to go on with, with the settings of its last part.

    Args:
        name: of the study.
        output: the folder.
        overrides: settings that win over the study's.

    Raises:
        InputError: if there is no such study, or its data set came from memory.
    """
    from autotl.config import StudyFile, make_config

    settings = dict(
        History(output, overrides.get("storage")).study(name).kept().get("settings") or {}
    )
    if not settings:
        raise InputError(
            f"study {name!r} in {output} has kept no settings; go on with it by the command that "
            f"made it and --study-name {name!r}, or by its study file"
        )
    in_memory = settings.pop("in_memory", [])
    if in_memory:
        raise InputError(
            f"the {' and '.join(in_memory)} of study {name!r} came from memory; go on with it from "
            f"Python, by autotl.fit(..., study_name={name!r})"
        )
    place = {"study_name": name, "output_dir": output}
    config: StudyFile = make_config({**settings, **overrides, **place}, StudyFile)
    return config


def _sameness(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: settings.get(name) for name in (*_SAME, "space")}
