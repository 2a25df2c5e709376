"""A worker: joins a study that another process has begun, here or on another machine.

All that it needs to know is in the study's storage; the data set and the fit's folder must be
visible. It prepares the same task from the same data, with the fit's split and profile, so that
nothing is analysed twice, and runs trials until no more are wanted.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from autotl.allowance import cache_quota, memory_cache_bytes, mirrors_in
from autotl.analysis.profile import DatasetProfile
from autotl.backbones.zoo import open_backbone
from autotl.candidates import speeds_of
from autotl.config import FitConfig, make_config
from autotl.errors import InputError
from autotl.naming import BackboneName, is_url, without_secrets
from autotl.preparation import Prepared, task_of
from autotl.progress import Progress
from autotl.reading import decode, name_of, read
from autotl.resuming import EarlierPart
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelViews
from autotl.runtime import NEVER, resolve_device
from autotl.search.published import PublishedStudy, wait_for_study
from autotl.search.storage import is_file, open_storage
from autotl.search.study import StudySpec, run_worker
from autotl.strategies.base import Task
from autotl.tracking.connection import load
from autotl.tracking.mlflow import MlflowFitRun, Recorder
from autotl.tracking.sender import Sender
from autotl.tracking.spool import SPOOL, Spool
from autotl.tracking.store import MlflowStore
from autotl.workspace import SPLIT, Workspace

WAIT_S = 600.0
"""For a study that isn't there yet: the fit may still be reading its data."""
_CLOSING_WAIT_S = 20.0


@dataclass(frozen=True)
class Here:
    """What differs on a worker's machine; None: as where the fit runs.

    Attributes:
        data: the data set, a place or a URL.
        test: the test set of its own, if there is one.
        output: the fit's ``output_dir``.
        cache: where decoded pictures and features are kept; None: in ``output``.
        device: ``auto``, ``cpu``, ``cuda``; None: ``cpu`` if the fit was told so, else ``auto``.
        wait_s: seconds to wait for the study to appear.
        n_slots: workers that share this machine's memory.
    """

    data: str | None = None
    test: str | None = None
    output: Path | None = None
    cache: Path | None = None
    device: str | None = None
    wait_s: float = WAIT_S
    n_slots: int = 1


def publish(
    spec: StudySpec, prepared: Prepared, config: FitConfig, place: Workspace, run_id: str
) -> None:
    """Tell a study's storage all that workers need to join it.

    Args:
        spec: of the study, which exists.
        prepared: the data set.
        config: the settings.
        place: of the fit.
        run_id: of its record.
    """
    private = {"storage", "tracking_uri", "output_dir", "disk_quota_gb"}
    values = config.model_dump(mode="json", exclude=private)
    if config.disk_quota_gb is not None:
        values["disk_cache_gb"] = prepared.task.store.disk_limit_bytes / 1e9
    from_memory = not prepared.source or prepared.test_source == ""
    published = PublishedStudy(
        version=version("autotl"),
        host=socket.gethostname(),
        data="" if from_memory else prepared.source,
        test=prepared.test_source,
        folder=str(place.folder),
        split=_digest(place.folder / SPLIT),
        config=values | {"backbones": list(prepared.task.backbones)},
        backbones={name: _with_whole_path(name) for name in prepared.task.backbones},
        device_type=prepared.task.device.type,
        profile=prepared.profile.as_json(),
        tracking_uri=without_secrets(place.tracking_uri),
        run_id=run_id,
        finalists_s=spec.finalists_s,
    )
    published.publish(open_storage(spec.storage), spec.name, spec.deadline)


def join(name: str, storage_url: str, here: Here, progress: Progress) -> bool:
    """Run trials of a study until no more are wanted.

    Args:
        name: of the study.
        storage_url: of its storage.
        here: what differs on this machine.
        progress: whoever watches.

    Returns:
        Whether it ended by itself; False if it was interrupted, and its trial waits for another.

    Raises:
        InputError: if this machine can't help: it doesn't see the data, sees other data, or has
            another autotl. The study goes on without it.
        StorageAwayError: if the storage stays away.
    """
    storage = open_storage(storage_url)
    progress.phase("start")
    published = wait_for_study(storage, name, here.wait_s, progress.note)
    if published is None:
        progress.note(f"study {name!r} wants no more trials")
        return True
    _refuse_others(name, storage_url, published, here)
    folder = _folder(published, here)
    place = Workspace(folder.parent, folder.name, given_storage=storage_url)
    earlier = EarlierPart.read(place)
    if _digest(place.folder / SPLIT) != published.split:
        raise InputError(
            f"{str(place.folder)!r} holds another study of the name {name!r}; give the fit's own "
            "output folder with --output"
        )
    profile: DatasetProfile = TypeAdapter(DatasetProfile).validate_python(published.profile)
    config = _config(published, here)
    task = prepare_task(published, config, earlier, here, place.cache, progress)
    spec = StudySpec(
        name=name,
        storage=storage_url,
        folder=place.folder,
        strategies=config.strategy_names,
        seed=config.seed,
        n_trials=config.n_trials,
        deadline=published.deadline(storage),
        finalists_s=published.finalists_s,
        space=config.space,
    )
    progress.phase("search", spec.deadline.shown_s)
    with _record(published, place, progress) as run:
        return run_worker(spec, task, profile, run, progress, is_elsewhere=True)


def join_quietly(name: str, storage_url: str) -> bool:
    """:func:`join` for a worker that the fit has placed itself, with nobody to watch it."""
    return join(name, storage_url, Here(), Progress())


def prepare_task(
    published: PublishedStudy,
    config: FitConfig,
    earlier: EarlierPart,
    here: Here,
    cache: Path,
    progress: Progress,
) -> Task:
    """The task of a study, from its data and its split; only speeds are measured anew.

    Args:
        published: the study.
        config: its settings, as they are on this machine.
        earlier: what its folder says of it.
        here: what differs on this machine.
        cache: where decoded pictures and features are kept.
        progress: whoever watches.

    Raises:
        InputError: if the data set or the weights are others.
    """
    device = resolve_device(config.device)
    backbones = {
        own: replace(open_backbone(there, device_type=published.device_type), name=own)
        for own, there in published.backbones.items()
    }
    data, test = here.data or published.data, here.test or published.test
    progress.phase("read")
    cache = (here.cache or cache).expanduser().absolute()
    mirrors = mirrors_in(cache, config, progress)
    table = read(data, test, config.group, config, mirrors)
    progress.phase("decode")
    differences = earlier.identity.differences(name_of(data), table, backbones, config)
    if differences:
        listed = "".join(f"\n  - {difference}" for difference in differences)
        raise InputError(f"what study {earlier.name!r} is about is different here:{listed}")
    quota = cache_quota(config, cache)
    table, stores = decode(table, backbones, quota, config, progress)
    split = earlier.split
    n_read, n_expected = len(table), len(split.development) + len(split.test)
    if n_read < n_expected:
        raise InputError(
            f"{n_expected - n_read} pictures of {without_secrets(data)!r} can't be read here that "
            "the fit could read; copy it again"
        )
    progress.phase("profile")
    speeds = speeds_of(backbones, device, quota, NEVER)
    store = ActivationStore(
        PixelViews(stores, np.arange(len(table))),
        speeds,
        device,
        quota,
        memory_cache_bytes(config, device) // here.n_slots,
        shared=True,
    )
    return task_of(table, stores, split, earlier.groups, backbones, speeds, store, config, device)


def _refuse_others(name: str, storage_url: str, published: PublishedStudy, here: Here) -> None:
    """Refuse a study that this machine can't help with."""
    own = version("autotl")
    if published.version != own:
        raise InputError(
            f"study {name!r} is run by autotl {published.version}, and this is {own}; install "
            "the same version here"
        )
    if is_file(storage_url) and published.host != socket.gethostname():
        raise InputError(
            f"study {name!r} is run on {published.host!r} with its storage in a SQLite file, which "
            "machines can't share; run the fit with --storage postgresql://..."
        )
    if not published.data and here.data is None:
        raise InputError(
            f"the data set of study {name!r} came from memory; run the fit on a folder or a table "
            "that its workers can see"
        )
    places = (
        ("the data set", here.data or published.data, "--data"),
        ("the test set", here.test or published.test, "--test"),
        ("the fit's folder", str(_folder(published, here)), "--output"),
    )
    problems = [
        f"{what} of study {name!r} isn't visible here: {place}; mount it, or say with {option} "
        "where it is"
        for what, place, option in places
        if place and not is_url(place) and not Path(place).expanduser().exists()
    ]
    if problems:
        raise InputError.of(problems)


def _folder(published: PublishedStudy, here: Here) -> Path:
    """The fit's, as this machine sees it."""
    there = Path(published.folder)
    output = here.output or there.parent
    return output.expanduser().absolute() / there.name


def _config(published: PublishedStudy, here: Here) -> FitConfig:
    """The fit's settings, as they are on this machine."""
    told = published.config["device"]
    device = here.device or ("cpu" if told == "cpu" else "auto")
    config: FitConfig = make_config({**published.config, "device": device})
    return config


def _with_whole_path(name: str) -> str:
    """A backbone's name with the place of its weights file as other processes find it."""
    parts = BackboneName.of(name)
    if not parts.file:
        return name
    return str(replace(parts, file=str(Path(parts.file).expanduser().absolute())))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def _record(
    published: PublishedStudy, place: Workspace, progress: Progress
) -> Iterator[MlflowFitRun]:
    """The fit's record in MLflow, for trials that are run here.

    On the fit's machine they are told to the process that runs the fit, which sends them; elsewhere
    this process sends its own to a server. A store that is a file is left to ``autotl sync``.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    uri = given if without_secrets(given) == published.tracking_uri else published.tracking_uri
    spool = Spool.of_fit(place.folder, uri, None)
    if published.host == socket.gethostname():
        yield MlflowFitRun(Recorder(spool), published.run_id)
        return
    own = Spool(place.folder / SPOOL / f"{spool.folder.name}-{uuid.uuid4().hex[:8]}", uri)
    own.make()
    if uri.startswith(("http://", "https://")):
        load(uri)
        sender = Sender(own, MlflowStore(uri))
        sender.start()
        try:
            yield MlflowFitRun(Recorder(own, sender), published.run_id)
        finally:
            sender.close(_CLOSING_WAIT_S)
    else:
        progress.note(
            f"MLflow's store is a file on {published.host!r}: `autotl sync` sends it what is "
            "recorded here"
        )
        yield MlflowFitRun(Recorder(own), published.run_id)
