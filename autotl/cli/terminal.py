"""What commands say: results on standard output, all else on standard error; and how they end."""

from __future__ import annotations

import functools
import json
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from autotl.errors import AutotlError

USER_ERROR = 2
BUG = 1
INTERRUPTED = 130

P = ParamSpec("P")

_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)
}


def errors_to_exits(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command end as the shell expects, with one clear message instead of a traceback.

    Its ``debug`` argument, if it has one, adds the traceback. Exit codes: 2 for what the user can
    mend, 130 after Ctrl-C, 1 for a bug.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            say("interrupted", style="red")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            debug = bool(kwargs.get("debug"))
            if debug:
                traceback.print_exc()
            say(f"error: {_told(error, debug)}", style="red")
            raise typer.Exit(USER_ERROR if isinstance(error, AutotlError) else BUG) from error

    return guarded


def _told(error: Exception, debug: bool) -> str:
    """An error in words; one that isn't the user's is called a bug."""
    if isinstance(error, AutotlError):
        return str(error)
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return message if debug else f"{message}\nthis is a bug; run with --debug"


def visible(text: str, style: str = "") -> Text:
    """Text with control characters spelled out: a file's name must not steer the terminal."""
    return Text(text.translate(_CONTROLS), style=style)


def say(text: str, style: str = "") -> None:
    """Lines on standard error; never broken, so that paths stay whole."""
    Console(stderr=True).print(visible(text, style), soft_wrap=True)


def result_console(as_json: bool) -> Console:
    """Where the text for people goes: standard output, unless that is kept for JSON."""
    return Console(stderr=as_json, highlight=False)


def show(console: Console, text: str) -> None:
    """Text for people: broken at words in a terminal, left alone in a file."""
    console.print(visible(text), soft_wrap=not console.is_terminal)


def write_json(values: Mapping[str, Any]) -> None:
    """One line on standard output with one JSON object; numbers that aren't finite become null."""
    sys.stdout.write(json.dumps(plain(values), allow_nan=False) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """A value as JSON knows it: paths are texts, numbers that aren't finite null."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def own_warnings(note: Callable[[str], None], debug: bool = False) -> Iterator[None]:
    """Show autotl's own warnings as notes of one line, and those of libraries not at all.

    Args:
        note: receives each warning's message.
        debug: whether to leave the warnings of libraries as they are.
    """
    home = str(Path(__file__).parent.parent)
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def shown(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: Any = None,
            line: str | None = None,
        ) -> None:
            if filename.startswith(home):
                note(str(message))
            elif debug:
                usual(message, category, filename, lineno, file, line)

        warnings.showwarning = shown
        yield
