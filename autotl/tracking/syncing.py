"""Sends what fits of the past have left in their spools, because their store was away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotl.errors import InputError
from autotl.naming import without_secrets
from autotl.tracking.delivery import Delivery
from autotl.tracking.spool import Spool, spools_below
from autotl.tracking.store import MlflowStore, StoreError


@dataclass(frozen=True)
class Synced:
    """What became of one fit's records.

    Attributes:
        fit: its name.
        store: the URI of the store, without a password.
        n_sent: operations that the store took now.
        n_left: that it still hasn't got.
        n_refused: that it won't take; they are kept in ``refused``.
        refused: the file of those.
        error: why some are left; empty if none are.
    """

    fit: str
    store: str
    n_sent: int
    n_left: int
    n_refused: int
    refused: Path
    error: str = ""


def sync(output_dir: Path, tracking_uri: str | None = None) -> Iterator[Synced]:
    """Send what is left, fit by fit; of those that have nothing left, nothing is said.

    A store that can't be reached is tried once.

    Args:
        output_dir: of the fits.
        tracking_uri: of a store whose password is needed; else ``MLFLOW_TRACKING_URI`` is used for
            the store it names, and for others the URI that the fit noted, without a password.

    Yields:
        What became of each, as it is done.

    Raises:
        InputError: if there is no such folder, or no fit in it was recorded in ``tracking_uri``.
    """
    folders = spools_below(output_dir)
    if not folders:
        raise InputError(
            f"no records of fits in {str(output_dir)!r}; give the --output folder of an earlier fit"
        )
    known = [uri for uri in (tracking_uri, os.environ.get("MLFLOW_TRACKING_URI")) if uri]
    spools = [_read(folder, known) for folder in folders]
    uris = sorted({without_secrets(spool.tracking_uri) for spool in spools})
    if tracking_uri is not None and without_secrets(tracking_uri) not in uris:
        raise InputError(
            f"no fit in {str(output_dir)!r} was recorded in {without_secrets(tracking_uri)!r}, "
            f"only in {', '.join(map(repr, uris))}"
        )
    stores: dict[str, MlflowStore] = {}
    away: dict[str, str] = {}
    for spool in spools:
        if spool.n_unsent():
            uri = spool.tracking_uri
            store = stores.setdefault(uri, MlflowStore(uri, spool.artifact_root))
            yield _send(spool, store, away)


def _read(folder: Path, known: list[str]) -> Spool:
    spool = Spool.read(folder)
    uri = next((uri for uri in known if without_secrets(uri) == spool.tracking_uri), None)
    return spool if uri is None else Spool(folder, uri, spool.artifact_root)


def _send(spool: Spool, store: MlflowStore, away: dict[str, str]) -> Synced:
    n_sent, n_refused = 0, 0
    error = away.get(spool.tracking_uri, "")
    if not error:
        try:
            with spool.sending():
                delivery = Delivery(spool, store)
                while n := delivery.step():
                    n_sent, n_refused = n_sent + n, delivery.n_refused
        except StoreError as failure:
            error = away[spool.tracking_uri] = without_secrets(str(failure))
        except (InputError, OSError) as failure:
            error = str(failure)
    return Synced(
        fit=spool.base.name,
        store=without_secrets(spool.tracking_uri),
        n_sent=n_sent - n_refused,
        n_left=spool.n_unsent(),
        n_refused=n_refused,
        refused=spool.refused,
        error=error,
    )
