"""``autotl ui``: the server's command line, who can reach it, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from autotl.cli.ui import is_loopback, require_free, ui_command
from autotl.errors import InputError
from autotl.workspace import Workspace


@pytest.fixture
def output(tmp_path):
    (tmp_path / "mlflow.db").touch()
    return tmp_path


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_server_runs_under_this_python_on_the_folders_store(output, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = ui_command(output, "127.0.0.1", 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--backend-store-uri": f"sqlite:///{output}/mlflow.db",
        "--default-artifact-root": Workspace(output, "any").artifact_root.as_uri(),
        "--host": "127.0.0.1",
        "--port": "5001",
        "--workers": "1",
    }


def test_a_folder_without_a_store_says_what_to_run(run, tmp_path):
    result = run("ui", "--output", tmp_path)
    assert result.exit_code == 2
    assert f"no MLflow store in {tmp_path}" in result.stderr
    assert f"autotl demo --output {tmp_path}" in result.stderr


def test_a_taken_port_is_refused(run, output, taken_port):
    result = run("ui", "--output", output, "--port", taken_port)
    assert result.exit_code == 2
    assert f"can't listen on 127.0.0.1:{taken_port}: Address already in use" in result.stderr
    assert f"--port {taken_port + 1}" in result.stderr


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(InputError, match="can't listen on"):
        require_free("192.0.2.1", 5000)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_only_loopback_is_private(host, loopback):
    assert is_loopback(host) is loopback


def test_any_other_host_is_warned_about(run, output, monkeypatch):
    monkeypatch.setattr("autotl.cli.ui.run_until_interrupted", lambda *_: 0)
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    result = run("ui", "--output", output, "--host", "0.0.0.0", "--port", port)
    assert result.exit_code == 0
    assert "warning: 0.0.0.0 is reachable from other machines" in result.stderr


def test_a_server_that_ends_by_itself_is_an_error(run, output, monkeypatch):
    monkeypatch.setattr("autotl.cli.ui.run_until_interrupted", lambda *_: 3)
    monkeypatch.setattr("autotl.cli.ui.require_free", lambda *_: None)
    result = run("ui", "--output", output)
    assert result.exit_code == 2
    assert "exit code 3" in result.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_server_and_what_it_started(tmp_path, sign):
    pid_file = tmp_path / "pid"
    server = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)']); "
        f"open({str(pid_file)!r} + '.part', 'w').write(str(child.pid)); "
        f"import os; os.rename({str(pid_file)!r} + '.part', {str(pid_file)!r}); time.sleep(100)"
    )
    code = (
        "import os, sys; from autotl.cli.ui import run_until_interrupted; "
        f"sys.exit(run_until_interrupted([sys.executable, '-c', {server!r}], os.environ))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    for _ in range(300):
        if pid_file.exists():
            break
        time.sleep(0.1)
    child = int(pid_file.read_text())
    process.send_signal(sign)
    assert process.wait(30) == 0
    for _ in range(100):
        if not _alive(child):
            return
        time.sleep(0.1)
    raise AssertionError("the server's child is still there")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
