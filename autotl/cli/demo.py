"""``autotl demo``: the main job on images that come with autotl."""

from __future__ import annotations

from typing import Annotated

import typer

from autotl.cli import options
from autotl.cli.fit import run_fit
from autotl.cli.terminal import errors_to_exits
from autotl.errors import unknown

DEMO_BUDGET_S = 150.0
DEMOS = {"digits": "digits", "wallpaper": "wallpaper_groups"}
"""The built-in data set of each value of ``--data``."""


@errors_to_exits
def demo(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="NAME",
            help="digits (scans) or wallpaper (drawings of the 17 plane symmetry groups).",
        ),
    ] = "digits",
    budget: Annotated[
        float, typer.Option("--budget", metavar="SECONDS", help="Time for everything.")
    ] = DEMO_BUDGET_S,
    output: options.Output = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Run a fit on built-in images."""
    from autotl.cli.settings import from_options
    from autotl.datasets.built_in import built_in

    config = from_options({"time_budget_s": budget, "output_dir": output})
    if data not in DEMOS:
        raise unknown("demo", data, DEMOS)
    run_fit(built_in(DEMOS[data]), config, test=None, as_json=as_json, quiet=quiet, debug=debug)
