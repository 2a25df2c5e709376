"""``autotl study``: fits described in files, and fits of the past."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotl.cli import options
from autotl.cli.fit import require, run_fit
from autotl.cli.terminal import errors_to_exits
from autotl.naming import BUILT_IN

if TYPE_CHECKING:
    from autotl.config import StudyFile

study = typer.Typer(
    help="Fits described in a file, and fits of the past.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


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
    from autotl.cli.study_file import read_study

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
    _run(read_study(file, given(overrides)), as_json=as_json, quiet=quiet, debug=debug)


@study.command("resume")
@errors_to_exits
def resume(
    which: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.yaml",
            help="A study of the output folder, or a study file: then its study_name, or the last "
            "study that was made with what it says.",
            show_default=False,
        ),
    ],
    budget: options.Budget = None,
    trials: options.Trials = None,
    output: options.Output = None,
    workers: options.Workers = None,
    storage: options.Storage = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Go on with a study, for its budget once more or what was left of it; no trial is lost."""
    from autotl.cli.settings import from_options, given
    from autotl.cli.study_file import study_of_file, study_of_name

    overrides: dict[str, Any] = {"time_budget_s": budget, "n_trials": trials, "workers": workers}
    overrides["storage"] = storage
    from_options({**overrides, "output_dir": output})
    if Path(which).suffix in (".yaml", ".yml"):
        config = study_of_file(Path(which), output, given(overrides))
    else:
        config = study_of_name(which, output or options.DEFAULT_OUTPUT, given(overrides))
    _run(config, as_json=as_json, quiet=quiet, debug=debug)


def _run(config: StudyFile, *, as_json: bool, quiet: bool, debug: bool) -> None:
    for place in (config.data, config.test):
        if place is not None and place not in BUILT_IN:
            require(place)
    dataset: Any = config.data
    if dataset in BUILT_IN:
        from autotl.datasets.built_in import built_in

        dataset = built_in(dataset)
    run_fit(dataset, config, test=config.test, as_json=as_json, quiet=quiet, debug=debug)


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
    name: Name,
    output: options.Output = None,
    storage: options.Storage = None,
    debug: options.Debug = False,
) -> None:
    """Show a study's trials, the best of each strategy, its report and its model."""
    from autotl.cli.history import show_study

    show_study(output or options.DEFAULT_OUTPUT, name, storage)


@study.command("compare")
@errors_to_exits
def compare(
    one: Name,
    other: Name,
    output: options.Output = None,
    storage: options.Storage = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show what differs between two studies: data, settings, space; verdict, scores, cost."""
    from autotl.cli.compare import show_comparison

    show_comparison(output or options.DEFAULT_OUTPUT, one, other, storage, as_json=as_json)


@study.command("export")
@errors_to_exits
def export(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="trials.csv or trials.parquet: a row for each trial; or study.json: all of it.",
            show_default=False,
        ),
    ],
    output: options.Output = None,
    storage: options.Storage = None,
    debug: options.Debug = False,
) -> None:
    """Write a study's trials to a file."""
    from autotl.cli.study_table import export_study

    export_study(output or options.DEFAULT_OUTPUT, name, file, storage)


@study.command("schema")
@errors_to_exits
def schema(debug: options.Debug = False) -> None:
    """Print the JSON Schema of study files, by which editors complete and check them."""
    from autotl.cli.study_schema import schema_text

    typer.echo(schema_text(), nl=False)
