"""Copies of files in a run's artifacts: whole, or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def upload(client: MlflowClient, run_id: str, file: Path, folder: str) -> None:
    """Copy a file, or all files of a folder, to a run's artifacts.

    MLflow leaves what it had written when a local disk gets full; that is deleted.

    Args:
        client: of the store.
        run_id: MLflow's.
        file: what to copy.
        folder: in the artifacts; empty: their root.

    Raises:
        OSError: if there is no room for it.
    """
    try:
        if file.is_dir():
            client.log_artifacts(run_id, str(file), folder or None)
        else:
            client.log_artifact(run_id, str(file), folder or None)
    except OSError:
        root = _local(str(client.get_run(run_id).info.artifact_uri))
        if root is not None:
            for source, copy in _copies(file, root / folder):
                with suppress(OSError):
                    if copy.stat().st_size != source.stat().st_size:
                        copy.unlink()
        raise


def _copies(file: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each file and where its copy is."""
    if file.is_dir():
        for source in file.rglob("*"):
            if source.is_file():
                yield source, folder / source.relative_to(file)
    else:
        yield file, folder / file.name


def _local(uri: str) -> Path | None:
    """The folder of a URI, if it is on this machine."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None
