"""``autotl sync``: send to MLflow what it couldn't take while fits ran."""

from __future__ import annotations

from dataclasses import asdict

from autotl.cli import options
from autotl.cli.terminal import errors_to_exits, result_console, show, write_json
from autotl.errors import InputError


@errors_to_exits
def sync(
    output: options.Output = None,
    tracking_uri: options.SyncUri = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Send the records of fits that MLflow hasn't got, because its server was away.

    Nothing is recorded twice; the next fit in the same folder does this by itself.

    Ends with exit code 2 if records are left, since the server is still away.
    """
    from autotl.tracking.syncing import sync as send

    folder = (output or options.DEFAULT_OUTPUT).expanduser().absolute()
    console = result_console(as_json)
    found = []
    for synced in send(folder, tracking_uri):
        found.append(synced)
        show(console, f"{synced.fit}: {synced.n_sent:,} records sent to {synced.store}")
        if synced.n_refused:
            show(console, f"  refused: {synced.n_refused:,}, with the reasons in {synced.refused}")
        if synced.n_left:
            show(console, f"  left: {synced.n_left:,} ({synced.error[:300]})")
    if not found:
        show(console, "nothing to send: MLflow has everything")
    n_left = sum(synced.n_left for synced in found)
    if as_json:
        totals = {"n_sent": sum(synced.n_sent for synced in found), "n_left": n_left}
        write_json({**totals, "fits": [asdict(synced) for synced in found]})
    if n_left:
        raise InputError(
            f"{n_left:,} records are left, and kept; run `autotl sync --output {folder}` again "
            "when the server answers, with --tracking-uri or MLFLOW_TRACKING_URI if it needs a "
            "password"
        )
