"""Pretrained weights: found on the hub or on the disk, read without running anybody's code."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from autotl.errors import BackboneUnavailableError

HUB_TIMEOUT_S = 3.0
"""How long the hub may take to accept a connection before it counts as unreachable."""

HUB_FILE = "model.safetensors"


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, as float32 where they are floating point.

    Args:
        file: safetensors, or a state dict saved by torch (read with ``weights_only=True``).

    Raises:
        BackboneUnavailableError: if the file is missing, damaged, or would need unpickling.
    """
    if not file.is_file():
        raise BackboneUnavailableError(f"weights file {str(file)!r} doesn't exist")
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BackboneUnavailableError(
            f"{str(file)!r} holds more than tensors, and reading it could run foreign code; "
            "convert it to safetensors where you trust it"
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise BackboneUnavailableError(
            f"{str(file)!r} can't be read as weights: {error}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BackboneUnavailableError(f"{str(file)!r} is not a state dict of tensors")
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }


def read_header(file: Path) -> dict[str, str]:
    """The metadata of a safetensors file, empty for other formats.

    Raises:
        BackboneUnavailableError: if the file is missing or damaged.
    """
    if not file.is_file():
        raise BackboneUnavailableError(f"weights file {str(file)!r} doesn't exist")
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise BackboneUnavailableError(
            f"{str(file)!r} can't be read as weights: {error}"
        ) from error


def hub_reachable() -> bool:
    """Whether the model hub accepts a connection within :data:`HUB_TIMEOUT_S` seconds.

    False at once when ``HF_HUB_OFFLINE`` is set.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlsplit(proxy or os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=HUB_TIMEOUT_S):
            return True
    except OSError:
        return False


def hub_weights(timm_name: str) -> Path:
    """The file of a timm model's published weights: from the local cache, else from the hub.

    Raises:
        BackboneUnavailableError: if timm publishes none, or they are not cached and the hub can't
            be reached.
    """
    import timm
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    config = timm.get_pretrained_cfg(timm_name)
    repo = config.hf_hub_id if config is not None else None
    if repo is None:
        raise BackboneUnavailableError(
            f"timm publishes no weights on the hub for {timm_name!r}; "
            f"give a file: {timm_name}@/path/to/weights.safetensors"
        )
    cached = try_to_load_from_cache(repo, HUB_FILE)
    if isinstance(cached, str):
        return Path(cached)
    remedy = f"give a file ({timm_name}@/path/to/weights.safetensors) or use 'embedded'"
    if not hub_reachable():
        raise BackboneUnavailableError(
            f"weights of {timm_name!r} are not cached and the model hub can't be reached; {remedy}"
        )
    try:
        return Path(hf_hub_download(repo, HUB_FILE, etag_timeout=HUB_TIMEOUT_S))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BackboneUnavailableError(
            f"weights of {timm_name!r} can't be downloaded: {error}; {remedy}"
        ) from error
