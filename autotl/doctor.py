"""What this machine has, what is missing for autotl, and the command that mends it."""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, Literal, TypeVar

from packaging.requirements import Requirement

from autotl.config import DEFAULT_OUTPUT
from autotl.naming import without_secrets
from autotl.runtime import available_memory_bytes, free_disk_bytes, n_cpus
from autotl.workspace import Workspace

PATIENCE_S = 3.0
"""How long a server may take to answer before it counts as unreachable."""
ENOUGH_MEMORY_BYTES = 2 * 10**9
ENOUGH_DISK_BYTES = 10**9
_DRIVER = Path("/proc/driver/nvidia/version")
_SHOWN_EXTRAS = {"dev"}
"""Extras that users don't need."""

T = TypeVar("T")
State = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what.
        state: ``ok``; ``note``: it works without; ``missing``: a fit can't work without it.
        found: what there is, in words.
        remedy: the command, or the step, that mends it; empty if nothing is to be done.
    """

    subject: str
    state: State
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def examine(
    output_dir: str | Path = DEFAULT_OUTPUT,
    *,
    tracking_uri: str | None = None,
    storage: str | None = None,
) -> Iterator[Finding]:
    """Look at all that a fit needs; each finding as soon as it is known.

    Nothing is written but a temporary file, and no server is waited for longer than
    :data:`PATIENCE_S`.

    Args:
        output_dir: where fits are to write.
        tracking_uri: MLflow's; None: as a fit takes it.
        storage: URL of Optuna's; None: as a fit takes it.
    """
    place = Workspace(Path(output_dir).expanduser().absolute(), "doctor", tracking_uri)
    yield _python()
    yield from _packages()
    yield from _devices()
    yield _memory()
    yield _disk(place.output_dir)
    yield _temporary_folder()
    yield _embedded_weights()
    yield _hub()
    yield _store("storage", storage or place.storage, "--storage")
    yield _store("tracking", place.tracking_uri, "--tracking-uri")


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    wanted = metadata("autotl")["Requires-Python"] or ""
    found = f"{platform.python_version()} on {platform.platform()}"
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return Finding("Python", "ok", found)
    return Finding("Python", "missing", f"{found}; {wanted} is needed", "install a newer Python")


def _packages() -> Iterator[Finding]:
    """The package itself and each requirement against its floor."""
    yield Finding("autotl", "ok", version("autotl"))
    for text in requires("autotl") or ():
        requirement = Requirement(text)
        extras = [
            extra
            for extra in metadata("autotl").get_all("Provides-Extra") or ()
            if requirement.marker is not None
            and not requirement.marker.evaluate({"extra": ""})
            and requirement.marker.evaluate({"extra": extra})
        ]
        if not extras and not (requirement.marker is None or requirement.marker.evaluate()):
            continue  # for another platform
        if extras and extras[0] in _SHOWN_EXTRAS:
            continue
        yield _package(requirement, extras[0] if extras else None)


def _package(requirement: Requirement, extra: str | None) -> Finding:
    name = requirement.name
    wanted = f"{name}{requirement.specifier}"
    remedy = (
        f"pip install --upgrade '{wanted}'" if extra is None else (f"pip install 'autotl[{extra}]'")
    )
    lacking: State = "missing" if extra is None else "note"
    try:
        found = version(name)
    except PackageNotFoundError:
        use = "" if extra is None else f" (only for autotl[{extra}])"
        return Finding(name, lacking, f"absent; {wanted} is needed{use}", remedy)
    if requirement.specifier.contains(found, prereleases=True):
        return Finding(name, "ok", found)
    return Finding(name, lacking, f"{found}; {requirement.specifier} is needed", remedy)


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation raises anything
        reason = f"torch can't be loaded ({type(error).__name__}: {str(error)[:200]})"
        yield Finding("devices", "missing", reason, "pip install --force-reinstall torch")
        return
    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    yield Finding(
        "CPU",
        "ok",
        f"{n_cpus()} cores, {threads} threads, {capability}; fp32 and bf16 (each fit measures "
        "which trains faster)",
    )
    if not torch.cuda.is_available():
        if _DRIVER.is_file():
            built = torch.version.cuda or "no CUDA"
            yield Finding(
                "GPU",
                "note",
                f"there is an NVIDIA driver, but torch (built for {built}) can't use it",
                "install a torch that fits the driver: https://pytorch.org/get-started/locally",
            )
        else:
            yield Finding("GPU", "note", "none; fits run on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        bf16 = "fp32 and bf16" if torch.cuda.is_bf16_supported() else "fp32"
        yield Finding(
            f"cuda:{index}",
            "ok",
            f"{torch.cuda.get_device_name(index)}, {_gb(free)} of {_gb(total)} free, {bf16}",
        )


def _memory() -> Finding:
    free = available_memory_bytes()
    if free >= ENOUGH_MEMORY_BYTES:
        return Finding("memory", "ok", f"{_gb(free)} available")
    remedy = "end other programs, or give --memory-cache 0 --workers 1"
    return Finding("memory", "note", f"only {_gb(free)} available", remedy)


def _disk(folder: Path) -> Finding:
    free = free_disk_bytes(folder)
    found = f"{_gb(free)} free for {folder}"
    refused = _refused(folder)
    if refused:
        remedy = "give a folder that can be written: --output DIR"
        return Finding("disk", "missing", f"{folder} can't be written: {refused}", remedy)
    if free >= ENOUGH_DISK_BYTES:
        return Finding("disk", "ok", found)
    return Finding("disk", "note", f"only {found}", "autotl cache clear, or --disk-cache 0")


def _temporary_folder() -> Finding:
    try:
        with tempfile.TemporaryFile():
            return Finding("temporary folder", "ok", tempfile.gettempdir())
    except OSError as error:
        remedy = "export TMPDIR=/a/folder/that/can/be/written"
        return Finding("temporary folder", "missing", str(error), remedy)


def _embedded_weights() -> Finding:
    from autotl.backbones.weights import read_state
    from autotl.backbones.zoo import EMBEDDED_FILE
    from autotl.errors import BackboneUnavailableError

    try:
        n_parameters = sum(tensor.numel() for tensor in read_state(EMBEDDED_FILE).values())
    except BackboneUnavailableError as error:
        remedy = "pip install --force-reinstall --no-deps autotl"
        return Finding("embedded backbone", "missing", str(error), remedy)
    return Finding("embedded backbone", "ok", f"{n_parameters / 1e6:.1f} M parameters")


def _hub() -> Finding:
    from autotl.backbones.weights import hub_reachable

    if _answer(hub_reachable):
        return Finding("model hub", "ok", "reachable")
    offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "not reachable"
    return Finding(
        "model hub",
        "note",
        f"{offline}: fits go on with the embedded backbone alone",
        "give weights as --backbones NAME@FILE, or set HTTPS_PROXY or HF_ENDPOINT",
    )


def _store(subject: str, uri: str, option: str) -> Finding:
    """Whether a store answers: a database, an HTTP server, or a local file or folder."""
    shown = without_secrets(uri)
    kind = uri.partition(":")[0].partition("+")[0]
    if kind in {"http", "https"}:
        trouble = _answer(lambda: _http_trouble(uri))
    elif kind == "sqlite" or "://" not in uri or kind == "file":
        trouble = _file_trouble(_file_of(uri))
    elif kind in {"postgresql", "mysql", "mssql"}:
        trouble = _answer(lambda: _database_trouble(uri))
    else:
        return Finding(subject, "note", f"{shown}: of a kind that isn't looked at here")
    if trouble == "":
        return Finding(subject, "ok", shown)
    reason = trouble or f"no answer within {PATIENCE_S:g} s"
    remedy = f"start it, or give another: {option} URI"
    if reason.startswith("No module named"):
        remedy = f"pip install the driver ({reason.split()[-1]})"
    return Finding(subject, "missing", f"{shown}: {reason}", remedy)


def _file_of(uri: str) -> Path:
    """The file or folder of a local URI."""
    path = uri.partition("://")[2] if "://" in uri else uri
    return Path(path[1:] if uri.startswith("sqlite") else path)


def _file_trouble(file: Path) -> str:
    if file.exists():
        return "" if os.access(file, os.R_OK | os.W_OK) else "it may not be written"
    return _refused(file.parent)


def _http_trouble(uri: str) -> str:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE_S) as answer:  # noqa: S310 (http and https only)
            return "" if answer.status == 200 else f"it answers {answer.status}"
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def _database_trouble(uri: str) -> str:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(uri)
        try:
            with engine.connect():
                return ""
        finally:
            engine.dispose()
    except ModuleNotFoundError as error:
        return str(error)
    except SQLAlchemyError as error:
        return without_secrets(" ".join(str(getattr(error, "orig", error)).split()))[:200]


def _refused(folder: Path) -> str:
    """Why a folder that exists or is to be made can't be written; empty if it can."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return str(error.strerror or error)


def _answer(ask: Callable[[], T]) -> T | None:
    """The answer, or None where it takes too long, as a look-up of a name may."""
    answers: list[T] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return answers[0] if answers else None


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
