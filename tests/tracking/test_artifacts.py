from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotl.tracking.artifacts import upload


class FullDisk:
    """A client of a local store, on a disk with room for so many bytes."""

    def __init__(self, root: Path, n_bytes: int, uri: str | None = None) -> None:
        self._root, self._left = root, n_bytes
        info = SimpleNamespace(artifact_uri=root.as_uri() if uri is None else uri)
        self.get_run = lambda run_id: SimpleNamespace(info=info)

    def log_artifact(self, run_id: str, file: str, folder: str | None) -> None:
        self._copy(Path(file), self._root / (folder or "") / Path(file).name)

    def log_artifacts(self, run_id: str, given: str, folder: str | None) -> None:
        for file in sorted(Path(given).rglob("*")):
            if file.is_file():
                self._copy(file, self._root / (folder or "") / file.relative_to(given))

    def _copy(self, source: Path, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        data = source.read_bytes()
        to.write_bytes(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    folder = tmp_path / "a model"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "sub/c"):
        (folder / name).write_bytes(b"x" * 100)
    return folder


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_cut_off_by_a_full_disk_is_deleted(tmp_path: Path, given: Path) -> None:
    root = tmp_path / "art ifacts"
    client: Any = FullDisk(root, 250)
    with pytest.raises(OSError, match="No space left"):
        upload(client, "run", given, "model")
    assert files(root) == ["model/a", "model/sub/b"]
    with pytest.raises(OSError, match="No space left"):
        upload(client, "run", given / "a", "")
    assert files(root) == ["model/a", "model/sub/b"]
    client = FullDisk(root, 1000)
    upload(client, "run", given, "model")
    upload(client, "run", given / "a", "")
    assert files(root) == ["a", "model/a", "model/sub/b", "model/sub/c"]


def test_what_is_elsewhere_is_left_alone(tmp_path: Path, given: Path) -> None:
    client: Any = FullDisk(tmp_path / "bucket", 50, "s3://bucket/run")
    with pytest.raises(OSError, match="No space left"):
        upload(client, "run", given / "a", "")
    assert files(tmp_path / "bucket") == ["a"]
