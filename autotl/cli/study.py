"""``autotl study``: fits described in files, and fits of the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotl.cli import options
from autotl.cli.demo import BUILT_IN, built_in
from autotl.cli.fit import require, run_fit
from autotl.cli.terminal import errors_to_exits
from autotl.errors import InputError
from autotl.naming import BackboneName

if TYPE_CHECKING:
    from autotl.config import StudyFile

study = typer.Typer(
    help="Fits described in a file, and fits of the past.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@study.command("run")
@errors_to_exits
def run(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.yaml",
            help="A whole fit: 'data' and any setting of autotl.fit.",
            show_default=False,
        ),
    ],
    budget: options.Budget = None,
    trials: options.Trials = None,
    output: options.Output = None,
    workers: options.Workers = None,
    storage: options.Storage = None,
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Run the fit that a file describes. Options win over the file."""
    from autotl.cli.settings import from_options, given

    overrides = {
        "time_budget_s": budget,
        "n_trials": trials,
        "output_dir": output,
        "workers": workers,
        "storage": storage,
        "executor": executor,
        "ray_address": ray_address,
    }
    from_options(overrides)  # a wrong option is named as such, not as the file's
    config = read_study(file, given(overrides))
    for place in (config.data, config.test):
        if place is not None and place not in BUILT_IN:
            require(place)
    dataset = built_in(config.data) if config.data in BUILT_IN else config.data
    run_fit(dataset, config, test=config.test, as_json=as_json, quiet=quiet, debug=debug)


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
        if isinstance(place, str) and place not in BUILT_IN:
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
        listed = str(error).splitlines()
        problems += (
            listed if len(listed) == 1 else [line.removeprefix("  - ") for line in listed[1:]]
        )
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


@study.command("list")
@errors_to_exits
def list_(
    output: options.Output = None,
    storage: options.Storage = None,
    debug: options.Debug = False,
) -> None:
    """List the studies of an output folder."""
    from autotl.cli.history import show_list

    show_list(output or options.DEFAULT_OUTPUT, storage)


@study.command("show")
@errors_to_exits
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    output: options.Output = None,
    storage: options.Storage = None,
    debug: options.Debug = False,
) -> None:
    """Show a study's trials, the best of each strategy, its report and its model."""
    from autotl.cli.history import show_study

    show_study(output or options.DEFAULT_OUTPUT, name, storage)
