"""Weights are read without running anybody's code, and fail with a reason."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autotl.backbones import weights
from autotl.backbones.weights import hub_reachable, hub_weights, read_header, read_state
from autotl.errors import BackboneUnavailableError


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(4.0).half().view(2, 2), "a.count": torch.tensor(3)}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hub, and an empty cache of it, which is returned."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_safetensors_are_read_as_float32(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.safetensors")
    found = read_state(tmp_path / "w.safetensors")
    assert found["a.weight"].dtype == torch.float32
    assert torch.equal(found["a.weight"], state["a.weight"].float())
    assert found["a.count"].dtype == torch.int64


@pytest.mark.parametrize("nested", [False, True])
def test_state_dicts_of_torch_are_read(
    state: dict[str, torch.Tensor], tmp_path: Path, nested: bool
) -> None:
    torch.save({"state_dict": state, "epoch": 3} if nested else state, tmp_path / "w.pth")
    assert read_state(tmp_path / "w.pth").keys() == state.keys()


def test_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_state, read_header):
        with pytest.raises(BackboneUnavailableError, match=r"w\.safetensors' doesn't exist"):
            read(tmp_path / "w.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_truncated_file_is_named(
    state: dict[str, torch.Tensor], tmp_path: Path, suffix: str, share: float
) -> None:
    file = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BackboneUnavailableError, match=f"w.{suffix}"):
        read_state(file)


@pytest.mark.parametrize("content", [[1, 2], {"a": "text"}, {"state_dict": {"a": 1}}])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(BackboneUnavailableError, match="not a state dict"):
        read_state(tmp_path / "w.pth")


class Malicious:
    """Makes a directory when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.pkl", "w.safetensors"])
@pytest.mark.parametrize("by", ["torch", "torch_legacy", "pickle"])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, name: str, by: str) -> None:
    trap = tmp_path / "trap"
    content = {"state_dict": {"a.weight": torch.zeros(1)}, "extra": Malicious(trap)}
    file = tmp_path / name
    if by == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=by == "torch")
    with pytest.raises(BackboneUnavailableError, match=name):
        read_state(file)
    assert not trap.exists()
    if name != "w.safetensors":
        if by == "pickle":
            pickle.loads(file.read_bytes())
        else:
            torch.load(file, weights_only=False)
        assert trap.exists(), "the trap must be one"


def test_header_is_the_metadata_of_safetensors(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "w.safetensors", {"timm_name": "resnet18"})
    save_file(state, tmp_path / "bare.safetensors")
    torch.save(state, tmp_path / "w.pth")
    assert read_header(tmp_path / "w.safetensors") == {"timm_name": "resnet18"}
    assert read_header(tmp_path / "bare.safetensors") == {}
    assert read_header(tmp_path / "w.pth") == {}
    (tmp_path / "w.safetensors").write_bytes(b"\x00\x01")
    with pytest.raises(BackboneUnavailableError, match="can't be read as weights"):
        read_header(tmp_path / "w.safetensors")


def closed_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@pytest.fixture
def own_endpoint(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No setting of this machine's that points to a hub."""
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_hub_behind_a_closed_port_is_unreachable(own_endpoint: pytest.MonkeyPatch) -> None:
    own_endpoint.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert not hub_reachable()


def test_hub_behind_an_open_port_is_reachable(own_endpoint: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        own_endpoint.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub_reachable()
        own_endpoint.setenv("HF_HUB_OFFLINE", "1")
        assert not hub_reachable()


def test_silent_hub_is_waited_for_a_few_seconds_only(own_endpoint: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[str, int], float]] = []

    def never(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append((address, timeout))
        raise TimeoutError

    own_endpoint.setattr(weights.socket, "create_connection", never)
    assert not hub_reachable()
    [(address, timeout)] = asked
    assert address == ("huggingface.co", 443)
    assert timeout <= 5


def test_weights_neither_cached_nor_reachable(offline: Path) -> None:
    with pytest.raises(BackboneUnavailableError) as caught:
        hub_weights("resnet18.a1_in1k")
    told = str(caught.value)
    assert "'resnet18.a1_in1k'" in told
    assert "can't be reached" in told
    assert "resnet18.a1_in1k@/path/to" in told


def test_cached_weights_need_no_hub(offline: Path) -> None:
    repo = offline / "models--timm--resnet18.a1_in1k"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "snapshots" / "abc" / "model.safetensors").write_bytes(b"here")
    assert hub_weights("resnet18.a1_in1k").read_bytes() == b"here"


def test_failing_download_is_told(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(weights, "hub_reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(BackboneUnavailableError, match=r"disk full.*give a file"):
        hub_weights("resnet18.a1_in1k")


def test_architecture_without_published_weights(offline: Path) -> None:
    with pytest.raises(BackboneUnavailableError, match=r"publishes no weights .*'cspresnet50d'"):
        hub_weights("cspresnet50d")
