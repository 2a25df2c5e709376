"""``autotl demo``: the main job on images that come with autotl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotl.cli import options
from autotl.cli.fit import run_fit
from autotl.cli.terminal import errors_to_exits
from autotl.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable

DEMO_BUDGET_S = 150.0
DRAWINGS_PER_CLASS = 120
BUILT_IN = ("digits", "wallpaper_groups")
DEMOS = {"digits": "digits", "wallpaper": "wallpaper_groups"}
"""The built-in data set of each value of ``--data``."""


def built_in(name: str) -> Any:
    """Images that come with autotl.

    Args:
        name: one of :data:`BUILT_IN`.

    Returns:
        ``X (n_samples, height, width[, 3]) uint8`` and ``y (n_samples,)``, the classes' names.
    """
    from autotl import datasets

    makers: dict[str, Callable[[], Any]] = {
        "digits": datasets.digits,
        "wallpaper_groups": lambda: datasets.wallpaper_groups(DRAWINGS_PER_CLASS),
    }
    return makers[name]()


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

    config = from_options({"time_budget_s": budget, "output_dir": output})
    if data not in DEMOS:
        raise unknown("demo", data, DEMOS)
    run_fit(built_in(DEMOS[data]), config, test=None, as_json=as_json, quiet=quiet, debug=debug)
