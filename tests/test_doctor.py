from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from autotl import doctor
from autotl.backbones import weights, zoo
from autotl.doctor import Finding, examine


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "hub_reachable", lambda: True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def found(folder: Path, **settings: Any) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(folder, **settings)}


def test_a_machine_that_runs_these_tests_lacks_nothing(tmp_path: Path) -> None:
    findings = found(tmp_path / "new" / "runs")
    assert [f for f in findings.values() if f.state == "missing"] == []
    for subject in ("Python", "autotl", "torch", "CPU", "memory", "disk", "storage", "tracking"):
        assert findings[subject].found, subject
    assert findings["model hub"].state == "ok"
    assert findings["embedded backbone"].found == "1.3 M parameters"
    assert not list(tmp_path.iterdir())


def test_versions_are_held_against_their_floors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        "old>=2.1",
        "absent>=1",
        "fine>=1.0",
        'rare>=3; extra == "onnx"',
        'tool>=3; extra == "dev"',
        'other>=3; sys_platform == "nowhere"',
        'here>=3; python_version > "3"',
    ]
    versions = {"old": "2.0.9", "fine": "1.10rc1", "autotl": "0.1.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    class Metadata(dict[str, str]):
        def get_all(self, _: str) -> list[str]:
            return ["onnx", "dev"]

    monkeypatch.setattr(doctor, "requires", lambda _: texts)
    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "metadata", lambda _: Metadata({"Requires-Python": ">=3.99"}))
    findings = found(tmp_path)
    states = {
        name: findings[name].state for name in ("old", "absent", "fine", "rare", "here", "Python")
    }
    assert states == {
        "old": "missing",
        "absent": "missing",
        "fine": "ok",
        "rare": "note",
        "here": "missing",
        "Python": "missing",
    }
    assert findings["old"].remedy == "pip install --upgrade 'old>=2.1'"
    assert findings["rare"].remedy == "pip install 'autotl[onnx]'"
    assert "tool" not in findings
    assert "other" not in findings


def test_an_unreachable_hub_is_a_note_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.1)
    release = threading.Event()
    monkeypatch.setattr(weights, "hub_reachable", lambda: release.wait(60))
    finding = found(tmp_path)["model hub"]
    release.set()
    assert finding.state == "note"
    assert "NAME@FILE" in finding.remedy


def test_a_folder_that_can_t_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    findings = found(tmp_path / "file" / "runs")
    for subject in ("disk", "storage", "tracking"):
        assert findings[subject].state == "missing", subject
    assert "--output DIR" in findings["disk"].remedy


def test_little_memory_and_disk_are_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "available_memory_bytes", lambda: 10**9)
    monkeypatch.setattr(doctor, "free_disk_bytes", lambda _: 10**6)
    findings = found(tmp_path)
    assert findings["memory"].state == "note"
    assert findings["memory"].remedy
    assert findings["disk"].state == "note"
    assert "cache clear" in findings["disk"].remedy


def test_damaged_embedded_weights_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "embedded.safetensors"
    file.write_bytes(b"\x00" * 8)
    monkeypatch.setattr(zoo, "EMBEDDED_FILE", file)
    finding = found(tmp_path)["embedded backbone"]
    assert finding.state == "missing"
    assert "reinstall" in finding.remedy


def test_a_driver_that_torch_can_t_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_DRIVER", tmp_path / "version")
    assert found(tmp_path)["GPU"] == Finding("GPU", "note", "none; fits run on the CPU")
    (tmp_path / "version").touch()
    finding = found(tmp_path)["GPU"]
    assert "NVIDIA driver" in finding.found
    assert finding.remedy


def test_every_gpu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "mem_get_info": lambda index: (index * 10**9, 80 * 10**9),
        "get_device_name": lambda index: f"card {index}",
        "is_bf16_supported": lambda: True,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    assert found(tmp_path)["cuda:1"].found == "card 1, 1.0 GB of 80.0 GB free, fp32 and bf16"


@pytest.fixture
def server() -> Iterator[Callable[[int], str]]:
    """Starts a server that answers ``/health`` with a status; gives its URI."""
    servers = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/mlflow/health" else 418)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://user:secret@127.0.0.1:{servers[-1].server_port}/mlflow/"

    yield start
    for each in servers:
        each.shutdown()


def test_a_tracking_server_is_asked(tmp_path: Path, server: Callable[[int], str]) -> None:
    uri = server(200).replace("user:secret@", "")
    assert found(tmp_path, tracking_uri=uri)["tracking"].state == "ok"
    uri = server(503).replace("user:secret@", "")
    finding = found(tmp_path, tracking_uri=uri)["tracking"]
    assert finding.state == "missing"
    assert "503" in finding.found
    assert "--tracking-uri" in finding.remedy


def test_nobody_listens(tmp_path: Path) -> None:
    finding = found(tmp_path, tracking_uri="http://u:secret@127.0.0.1:9")["tracking"]
    assert finding.state == "missing"
    assert "secret" not in str(finding)


def test_a_server_that_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.2)
    monkeypatch.setattr(doctor, "_database_trouble", lambda _: time.sleep(60))
    finding = found(tmp_path, storage="postgresql://u:secret@db/optuna")["storage"]
    assert finding.state == "missing"
    assert "no answer within 0.2 s" in finding.found
    assert "secret" not in str(finding)


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    finding = found(tmp_path, storage="postgresql+nodriver://u:secret@127.0.0.1:9/o")["storage"]
    assert finding.state == "missing"
    assert "secret" not in str(finding)


def test_files_that_are_there_are_stores(tmp_path: Path) -> None:
    file = tmp_path / "a b.db"
    sqlite3.connect(file).execute("create table t (x)")
    for uri in (f"sqlite:///{file}", str(tmp_path), f"file://{tmp_path}"):
        assert found(tmp_path, tracking_uri=uri)["tracking"].state == "ok", uri
    assert found(tmp_path, tracking_uri="databricks://profile")["tracking"].state == "note"
