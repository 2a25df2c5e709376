"""``autotl doctor``: what this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from autotl.cli import options
from autotl.cli.terminal import errors_to_exits, result_console, write_json

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("MISSING", "red")}
_SOMETHING_MISSING = 1


@errors_to_exits
def doctor(
    output: options.Output = None,
    tracking_uri: options.TrackingUri = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="A database for Optuna's study; else a file in the output folder.",
        ),
    ] = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Look at devices, memory, disk, versions and servers. Exit code 1 if something is missing."""
    from autotl.doctor import examine

    console = result_console(as_json)
    found = []
    place = output or options.DEFAULT_OUTPUT
    for finding in examine(place, tracking_uri=tracking_uri, storage=storage):
        found.append(finding)
        word, colour = _MARKS[finding.state]
        line = Text.assemble((f"{word:8}", colour), f"{finding.subject}: {finding.found}")
        if finding.remedy:
            line.append(f"\n{'':8}-> {finding.remedy}", style="bold")
        console.print(line, soft_wrap=True)
    missing = [finding.subject for finding in found if finding.state == "missing"]
    verdict = f"missing: {', '.join(missing)}" if missing else "autotl can work here"
    console.print(Text(verdict, style="red" if missing else "green"), soft_wrap=True)
    if as_json:
        write_json({"ok": not missing, "findings": [finding.as_json() for finding in found]})
    if missing:
        raise typer.Exit(_SOMETHING_MISSING)
