"""Optuna's storage, opened without what training needs: whoever only reads it loads no torch."""

from __future__ import annotations

from optuna.storages import RDBStorage


def open_storage(url: str) -> RDBStorage:
    """Optuna's storage; a SQLite file is made to wait for other writers."""
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    return RDBStorage(url, engine_kwargs=options)
