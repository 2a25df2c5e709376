"""``autotl cache``: what fits keep on disk for later ones, and how to get the space back."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from autotl.cli import options
from autotl.cli.board import duration
from autotl.cli.terminal import errors_to_exits, result_console, show, write_json
from autotl.errors import InputError

if TYPE_CHECKING:
    from autotl.reuse.quota import DiskQuota, Entry

FOLDER, MIRRORS = "cache", "mirrors"
_UNITS = ("B", "kB", "MB", "GB")

cache = typer.Typer(
    help="What fits keep on disk for later ones.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@cache.command("info")
@errors_to_exits
def info(
    output: options.Output = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show what is kept, how large it is and how long it would take to make it again."""
    found = _cache_of(output)
    entries = [*found.entries(), *_copies(found.folder)]
    total = sum(entry.n_bytes for entry in entries)
    console = result_console(as_json)
    if entries:
        console.print(_table_of(entries))
        console.print()
        show(console, f"{readable_size(total)} in {found.folder}")
    else:
        show(console, _nothing(found))
    if as_json:
        write_json(
            {
                "folder": found.folder,
                "total_bytes": total,
                "entries": [
                    {"name": e.name, "n_bytes": e.n_bytes, "seconds": e.seconds or None}
                    for e in entries
                ],
            }
        )


@cache.command("clear")
@errors_to_exits
def clear(output: options.Output = None, debug: options.Debug = False) -> None:
    """Delete all that is kept, copies of data sets behind URLs too.

    A fit that is running goes on, perhaps slower, unless it is still reading such a copy.
    """
    found = _cache_of(output)
    console = result_console(as_json=False)
    copies = _copies(found.folder)
    if not found.entries() and not copies:
        show(console, _nothing(found))
        return
    try:
        freed = found.clear() + sum(copy.n_bytes for copy in copies)
        for copy in copies:
            shutil.rmtree(found.folder / copy.name)
    except OSError as error:
        raise InputError(f"the cache {found.folder} can't be deleted: {error}") from error
    show(console, f"freed {readable_size(freed)} in {found.folder}")


def readable_size(n_bytes: int) -> str:
    """A size in the unit that suits it, of 1000 each."""
    value = float(n_bytes)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.2g} {unit}"


def _cache_of(output: Path | None) -> DiskQuota:
    from autotl.reuse.quota import DiskQuota

    return DiskQuota((output or options.DEFAULT_OUTPUT).expanduser() / FOLDER, 0)


def _copies(cache: Path) -> list[Entry]:
    """Copies of data sets behind URLs, each by the name of its folder in the cache."""
    if not (cache / MIRRORS).is_dir():
        return []
    from autotl.allowance import used_bytes
    from autotl.reuse.quota import Entry

    return [
        Entry(f"{MIRRORS}/{copy.name}", used_bytes(copy), 0.0)
        for copy in sorted((cache / MIRRORS).iterdir())
    ]


def _nothing(found: DiskQuota) -> str:
    if found.folder.is_dir():
        return f"the cache is empty: {found.folder}"
    return f"no cache in {found.folder.parent} (looked for {found.folder.absolute()})"


def _table_of(entries: Sequence[Entry]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("what", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("time to make it again", justify="right", no_wrap=True)
    for entry in sorted(entries, key=lambda entry: -entry.n_bytes):
        seconds = duration(entry.seconds) if entry.seconds else "unknown"
        table.add_row(Text(entry.name), readable_size(entry.n_bytes), seconds)
    return table
