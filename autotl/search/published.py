"""What a study's storage says of it: all that a worker needs to join it, as plain JSON."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from autotl.errors import InputError
from autotl.runtime import Deadline
from autotl.search.storage import patiently
from autotl.search.turns import clock_ahead_s

_SPEC, CLOSED = "autotl.spec", "autotl.closed"
"""The study's attributes that hold this, and that no more trials are wanted."""
_ASK_S = 1.0


@dataclass(frozen=True)
class PublishedStudy:
    """A study as it is told to workers.

    Attributes:
        version: of autotl.
        host: the machine that runs the fit.
        data: absolute path of the data set; empty if it came from memory.
        test: that of a test set of its own; empty if it came from memory, None: there is none.
        folder: absolute path of the fit's folder, in which are the split, ended trials and running
            trials' states.
        split: digest of the file with the split.
        config: the settings.
        backbones: the candidates by name, as others find them: with whole paths of weights files.
        device_type: of the device that the fit itself uses, which decides the pictures' size.
        profile: of the data set.
        tracking_uri: MLflow's, without a password.
        run_id: of the fit's record.
        finalists_s: seconds that the search keeps back for the finalists.
        deadline_at: of the fit, in seconds of the storage's clock; None: never.
    """

    version: str
    host: str
    data: str
    test: str | None
    folder: str
    split: str
    config: Mapping[str, Any]
    backbones: Mapping[str, str]
    device_type: str
    profile: Mapping[str, Any]
    tracking_uri: str
    run_id: str
    finalists_s: float = 0.0
    deadline_at: float | None = None

    def publish(self, storage: RDBStorage, name: str, deadline: Deadline) -> None:
        """Tell a study's workers, and that trials are wanted.

        Args:
            storage: of the study.
            name: of the study, which exists.
            deadline: of the fit, by this machine's clock.
        """
        at = None if deadline.at is None else deadline.at + clock_ahead_s(storage)
        study_id = storage.get_study_id_from_name(name)
        storage.set_study_user_attr(study_id, _SPEC, asdict(self) | {"deadline_at": at})
        storage.set_study_user_attr(study_id, CLOSED, False)

    def deadline(self, storage: RDBStorage) -> Deadline:
        """When the fit ends, by this machine's clock."""
        if self.deadline_at is None:
            return Deadline(None)
        return Deadline(self.deadline_at - clock_ahead_s(storage))


def wait_for_study(
    storage: RDBStorage, name: str, wait_s: float, note: Callable[[str], None]
) -> PublishedStudy | None:
    """What is published of a study, as soon as it is.

    Args:
        storage: where it is, or will be.
        name: of the study.
        wait_s: at most so long.
        note: told that it is waited for.

    Returns:
        None if no more trials are wanted.

    Raises:
        InputError: if there is no such study by then.
    """
    until, has_told = time.monotonic() + wait_s, False
    while True:
        known = [found.study_name for found in storage.get_all_studies()]
        if name in known:
            values = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
            if values.get(CLOSED):
                return None
            if _SPEC in values:
                return _read(name, values[_SPEC])
        if time.monotonic() > until:
            listed = ", ".join(known[-5:]) or "none"
            raise InputError(
                f"no study {name!r} in that storage after {wait_s:.0f} s (known: {listed}); start "
                f"`autotl fit DATA --study-name {name} --storage URL`, which analyses the data set"
            )
        if not has_told:
            has_told = True
            note(f"waiting for study {name!r}, at most {wait_s:.0f} s")
        time.sleep(_ASK_S)


def _read(name: str, values: Mapping[str, Any]) -> PublishedStudy:
    known = PublishedStudy.__dataclass_fields__
    if values.keys() != known.keys():
        raise InputError(
            f"study {name!r} is run by autotl {values.get('version')}, which tells workers other "
            "things; install the same version here"
        )
    return PublishedStudy(**values)


def refuse_anothers(
    storage: RDBStorage, name: str, folder: Path, fingerprint: str, is_resumed: bool
) -> None:
    """See that a study of that name, if there is one, is the fit's own.

    Args:
        storage: perhaps shared with others.
        name: of the study.
        folder: of the fit.
        fingerprint: of its data set.
        is_resumed: whether the folder holds a study that goes on.

    Raises:
        InputError: if it is that of another fit.
    """
    if name not in {found.study_name for found in storage.get_all_studies()}:
        return
    values = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    other, spec = values.get("autotl.fingerprint"), values.get(_SPEC)
    own = (socket.gethostname(), str(folder))
    if is_resumed and other not in (None, fingerprint):
        what = f"about another data set ({other[:8]}, not {fingerprint[:8]})"
    elif not is_resumed and spec and (spec["host"], spec["folder"]) != own:
        what = f"that of a fit on {spec['host']!r} in {spec['folder']!r}"
    else:
        return
    raise InputError(
        f"study {name!r} in the storage is {what}; choose another study_name, or join that one "
        "with `autotl worker`"
    )


def close(storage: RDBStorage, name: str) -> None:
    """Tell workers that no more trials are wanted."""
    study_id = storage.get_study_id_from_name(name)
    patiently(lambda: storage.set_study_user_attr(study_id, CLOSED, True))
