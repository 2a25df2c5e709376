"""Opens MLflow stores: imports what each kind needs, and finds out early which are away."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from autotl.tracking.database import make_whole

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_DATABASES = {"sqlite", "postgresql", "mysql", "mssql"}
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own patience with a server that is down is four minutes; here, asking again is the
sender's part."""


def load(tracking_uri: str) -> None:
    """Import what a store of that kind needs; importing is no work for a thread on the side."""
    _prepare()
    import mlflow.tracking

    if _is_database(tracking_uri):
        import mlflow.store.tracking.sqlalchemy_store
    else:
        import mlflow.store.tracking.rest_store  # noqa: F401


def connect(tracking_uri: str) -> MlflowClient:
    """A client of a store.

    Raises:
        Exception: MLflow's or SQLAlchemy's, at once where a database is away or damaged.
    """
    _prepare()
    _try_database(tracking_uri)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri)


def _prepare() -> None:
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", **_PATIENCE}.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.WARNING)
    # It prints the traceback of each error that it raises; whoever catches it tells it once.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _is_database(tracking_uri: str) -> bool:
    return tracking_uri.partition(":")[0].partition("+")[0] in _DATABASES


def _try_database(tracking_uri: str) -> None:
    """Read a database's tables once: MLflow would try for two minutes before it gives up.

    One that is a file is made first, as a whole.
    """
    if not _is_database(tracking_uri):
        return
    from sqlalchemy import create_engine, inspect, make_url

    url = make_url(tracking_uri)
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        file = Path(str(url.database))
        file.parent.mkdir(parents=True, exist_ok=True)
        make_whole(file)
    engine = create_engine(url)
    try:
        inspect(engine).get_table_names()
    finally:
        engine.dispose()
