"""``autotl cache``: what is kept, and how much is freed."""

from __future__ import annotations

import json

import numpy as np
import pytest

import autotl.cli.cache as cache_command
from autotl.cli.cache import FOLDER, readable_size
from autotl.data import MIRRORS
from autotl.reuse.quota import DiskQuota
from autotl.reuse.rows import RowFile
from autotl.workspace import CACHE


@pytest.fixture
def output(tmp_path):
    """An output folder whose cache holds two entries."""
    quota = DiskQuota(tmp_path / "my runs" / CACHE, 10**9)
    quota.reserve("pixels-a", 1_000_000, 75.0)
    quota.file("pixels-a").write_bytes(b"x" * 2_048_000)
    quota.reserve("pixels-b", 1_000_000, 0.0)
    quota.file("pixels-b").write_bytes(b"x" * 4096)
    return tmp_path / "my runs"


def test_the_folder_is_the_fits(run):
    assert FOLDER == CACHE
    assert cache_command.MIRRORS == MIRRORS


def test_info_lists_the_largest_first(run, output):
    result = run("cache", "info", "--output", output)
    assert result.exit_code == 0, result.output
    head, first, second = result.stdout.splitlines()[:3]
    assert head.split() == ["what", "size", "time", "to", "make", "it", "again"]
    assert first.split() == ["pixels-a", "2", "MB", "1:15"]
    assert second.split() == ["pixels-b", "4.1", "kB", "unknown"]
    assert f"2.1 MB in {output / CACHE}" in result.stdout


def test_info_as_json(run, output):
    result = run("cache", "info", "--output", output, "--json")
    assert json.loads(result.stdout) == {
        "folder": str(output / CACHE),
        "total_bytes": 2_052_096,
        "entries": [
            {"name": "pixels-a", "n_bytes": 2_048_000, "seconds": 75.0},
            {"name": "pixels-b", "n_bytes": 4096, "seconds": None},
        ],
    }
    assert "pixels-a" in result.stderr


def test_clear_says_how_much(run, output):
    result = run("cache", "clear", "--output", output)
    assert result.exit_code == 0
    assert result.stdout == f"freed 2.1 MB in {output / CACHE}\n"
    for command in ("info", "clear"):
        result = run("cache", command, "--output", output)
        assert result.exit_code == 0
        assert result.stdout == f"the cache is empty: {output / CACHE}\n"


def test_copies_of_data_sets_are_listed_and_deleted(run, tmp_path):
    copy = tmp_path / CACHE / MIRRORS / "pets-12"
    (copy / "files").mkdir(parents=True)
    (copy / "files" / "a.png").write_bytes(b"x" * 4096)
    (entry,) = json.loads(run("cache", "info", "--output", tmp_path, "--json").stdout)["entries"]
    assert entry == {"name": "mirrors/pets-12", "n_bytes": 4096, "seconds": None}
    assert "freed 4.1 kB" in run("cache", "clear", "--output", tmp_path).stdout
    assert not copy.exists()


def test_clear_while_a_fit_runs(run, output):
    file = RowFile(DiskQuota(output / CACHE, 10**9).file("c"), 4, (8,), np.dtype(np.uint8))
    values = np.arange(32, dtype=np.uint8).reshape(4, 8)
    file.write(np.arange(4), values)
    assert run("cache", "clear", "--output", output).exit_code == 0
    found, held = file.read(np.arange(4))
    assert held.all()
    assert np.array_equal(found, values)


@pytest.mark.parametrize("command", ["info", "clear"])
def test_an_output_folder_without_a_cache(run, tmp_path, command):
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = run("cache", command, "--output", folder)
        assert result.exit_code == 0
        assert result.stdout == f"no cache in {folder} (looked for {folder / CACHE})\n"
    assert list(tmp_path.iterdir()) == []
    empty = run("cache", "info", "--output", tmp_path, "--json").stdout
    assert json.loads(empty)["entries"] == []


def test_what_can_not_be_deleted_is_told(run, output, monkeypatch):
    def refuse(self, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    result = run("cache", "clear", "--output", output)
    assert result.exit_code == 2
    assert f"the cache {output / CACHE} can't be deleted" in result.stderr


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (4096, "4.1 kB"),
        (99_600, "100 kB"),
        (999_600, "1 MB"),
        (123_456_789, "123 MB"),
        (20_000_000_000, "20 GB"),
        (5_000_000_000_000, "5000 GB"),
    ],
)
def test_sizes_are_readable(n_bytes, text):
    assert readable_size(n_bytes) == text
