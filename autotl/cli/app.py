"""The commands of ``autotl``, put together."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from autotl.cli.analyze import analyze
from autotl.cli.cache import cache
from autotl.cli.demo import demo
from autotl.cli.doctor import doctor
from autotl.cli.export import export
from autotl.cli.fit import fit
from autotl.cli.predict import predict
from autotl.cli.reference import reference
from autotl.cli.study import study
from autotl.cli.sync import sync
from autotl.cli.ui import ui
from autotl.cli.worker import worker

app = typer.Typer(
    name="autotl",
    help="How should a pretrained network be used on these images? Measured, tried, explained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"autotl {version('autotl')}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


app.command("fit")(fit)
app.command("analyze")(analyze)
app.command("predict")(predict)
app.command("export")(export)
app.command("reference")(reference)
app.add_typer(study, name="study")
app.command("worker")(worker)
app.add_typer(cache, name="cache")
app.command("sync")(sync)
app.command("ui")(ui)
app.command("demo")(demo)
app.command("doctor")(doctor)


def main() -> None:
    """The entry point of the ``autotl`` command.

    Idle threads sleep instead of spinning (OpenMP reads this when torch is loaded): on a machine
    that does other work too, spinning made training ten times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="autotl")
