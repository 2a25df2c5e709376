"""The command line: ``autotl``. Loads nothing heavy before a command needs it."""

from autotl.cli.app import app, main

__all__ = ["app", "main"]
