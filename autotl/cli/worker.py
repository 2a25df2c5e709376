"""``autotl worker``: run trials of a study that a fit has begun, here or on another machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from autotl.cli import options
from autotl.cli.display import watching
from autotl.cli.terminal import errors_to_exits, own_warnings


@errors_to_exits
def worker(
    study: Annotated[
        str, typer.Option("--study", metavar="NAME", help="The fit's study.", show_default=False)
    ],
    storage: Annotated[
        str,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Of Optuna's storage, as the fit has it.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="DATA", help="Where the data set is, or its URL, if elsewhere here."
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option("--test", metavar="DATA", help="Likewise a test set of its own."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Where the fit's output folder is, likewise."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="For decoded pictures and features; the fit's if not given.",
        ),
    ] = None,
    device: options.Device = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots",
            metavar="N",
            min=1,
            help="Processes, each with its share of the GPUs. One for each GPU; 1 without any.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            help="For a study that isn't there yet. 600 s.",
            show_default=False,
        ),
    ] = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Join a study and run its trials until no more are wanted.

    Any number may do so at any time, on any machine that sees the data set and the fit's output
    folder. On Ctrl-C or SIGTERM the running trial is left to another worker.

    Ends with exit code 2 if this machine can't help; the study goes on without it.
    """
    from autotl.cli.slots import IS_SLOT, Slots

    if not os.environ.get(IS_SLOT):
        found = Slots.of_machine(slots, device)
        if found.n > 1:
            raise typer.Exit(found.run())
        found.prepare()
    signal.signal(signal.SIGTERM, _interrupt)
    with watching(quiet) as progress, own_warnings(progress.note, debug):
        from autotl.joining import WAIT_S, Here, join

        n_slots = int(os.environ.get(IS_SLOT, "1"))
        wait_s = WAIT_S if wait is None else wait
        here = Here(data, test, output, cache, device, wait_s, n_slots)
        if not join(study, storage, here, progress):
            raise KeyboardInterrupt


def _interrupt(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the trial is handed back in peace
    raise KeyboardInterrupt
