"""Where a fit writes: everything below one folder, nothing anywhere else."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from autotl.config import FitConfig
from autotl.errors import DiskFullError, InputError, is_disk_full
from autotl.runtime import free_disk_bytes
from autotl.tracking.spool import SPOOL

DECISION = "decision.json"
REPORT = "report.html"
ANALYSIS = "analysis.html"
CACHE = "cache"
STUDY = "study.json"
"""What a fit's study is about; written when its preparation is done, and so a sign of that."""
SPLIT = "split.npz"
LOCK = ".lock"
RESERVE = ".reserve"
_RESERVE_BYTES = 32 * 2**20
"""Kept for the report and the model, should the disk be full in the end."""
_RESERVE_SHARE = 0.25
"""Of what is free, at most."""
_BEFORE_THE_STUDY = {LOCK, RESERVE, "profile.json", "quarantine.json", ANALYSIS, SPLIT, SPOOL}
"""What a fit that was killed in its preparation may leave in its folder."""
_OPTUNA, _MLFLOW, _ARTIFACTS = "optuna.db", "mlflow.db", "mlartifacts"
_RESERVED = (_OPTUNA, _MLFLOW, _ARTIFACTS, CACHE)


@dataclass(frozen=True)
class Workspace:
    """The places of one fit.

    Attributes:
        output_dir: shared by all fits; holds the stores of Optuna and MLflow, and the cache.
        study_name: of this fit; its folder's name.
        given_tracking_uri: of an MLflow store elsewhere, or None.
        is_resumed: whether the folder holds a study that goes on.
        given_storage: URL of an Optuna storage elsewhere, or None.
    """

    output_dir: Path
    study_name: str
    given_tracking_uri: str | None = None
    is_resumed: bool = False
    given_storage: str | None = None

    @property
    def folder(self) -> Path:
        """This fit's own folder."""
        return self.output_dir / self.study_name

    @property
    def cache(self) -> Path:
        """Decoded pictures and activations, shared by all fits."""
        return self.output_dir / CACHE

    @property
    def trials(self) -> Path:
        """Ended trials."""
        return self.folder / "trials"

    @property
    def model(self) -> Path:
        """The saved model."""
        return self.folder / "model"

    @property
    def served(self) -> Path:
        """The saved model as MLflow serves it."""
        return self.folder / "served"

    @property
    def evaluation(self) -> Path:
        """Tables and pictures of what the model predicts."""
        return self.folder / "evaluation"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / REPORT

    @property
    def analysis(self) -> Path:
        """The page of the analysis before the search."""
        return self.folder / ANALYSIS

    @property
    def decision(self) -> Path:
        """The summary as JSON."""
        return self.folder / DECISION

    @property
    def storage(self) -> str:
        """URL of Optuna's storage: the given one, or a file below ``output_dir``."""
        return self.given_storage or sqlite_url(self.output_dir / _OPTUNA)

    @property
    def tracking_uri(self) -> str:
        """MLflow's: the given one, MLFLOW_TRACKING_URI, or a store below ``output_dir``."""
        given = self.given_tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        return given or sqlite_url(self.output_dir / _MLFLOW)

    @property
    def artifact_root(self) -> Path | None:
        """Where files of a local MLflow store go; None for a store elsewhere."""
        local = self.tracking_uri == sqlite_url(self.output_dir / _MLFLOW)
        return self.output_dir / _ARTIFACTS if local else None

    @classmethod
    @contextmanager
    def open(cls, config: FitConfig) -> Iterator[Workspace]:
        """Make the fit's folder, or take up that of a study that exists; nobody else gets it.

        A folder in which nothing was found goes at the end. What a fit left that was killed in its
        preparation is written over.

        Raises:
            InputError: if the folder can't be written, the study name is unfit or that of a folder
                that holds no study, or another process is at it.
        """
        output_dir = config.output_dir.expanduser().absolute()
        name = config.study_name or datetime.now().strftime("%Y%m%d-%H%M%S")
        _refuse_names(name, output_dir)
        try:
            if config.study_name is None:
                name = _unused(output_dir, name)
            place = cls(output_dir, name, config.tracking_uri, given_storage=config.storage)
            made = [folder for folder in (output_dir, *output_dir.parents) if not folder.exists()]
            place.folder.mkdir(parents=True, exist_ok=config.study_name is not None)
            with tempfile.TemporaryFile(dir=place.folder):
                pass
            place._holds_study()  # in a folder of another kind nothing is left behind
            lock = FileLock(place.folder / LOCK, timeout=0)
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"study {name!r} in {str(output_dir)!r} is being worked on by another process; "
                "wait for its end or choose another study_name"
            ) from error
        except FileExistsError as error:
            if output_dir.is_dir():
                raise InputError(_not_a_study(place)) from error
            raise InputError(f"output_dir {str(output_dir)!r} is not a folder") from error
        except OSError as error:
            raise InputError(f"output_dir {str(output_dir)!r} can't be written: {error}") from error
        try:
            place._reserve()
            yield replace(place, is_resumed=place._holds_study())
        except Exception as error:
            if not is_disk_full(error) or isinstance(error, DiskFullError):
                raise
            raise DiskFullError(
                f"the disk of {str(place.folder)!r} is full ({type(error).__name__}: "
                f"{str(error)[:200]}); what was finished is kept: free some room and give the same "
                f"command again (study_name={name!r})"
            ) from error
        finally:
            place.make_room()
            if {path.name for path in place.folder.iterdir()} <= {LOCK}:
                (place.folder / LOCK).unlink(missing_ok=True)
                with suppress(OSError):  # somebody else writes there too
                    for folder in (place.folder, *made):
                        folder.rmdir()
            lock.release()

    def make_room(self) -> None:
        """Give back what was reserved for the end of a fit on a full disk."""
        with suppress(OSError):
            (self.folder / RESERVE).unlink()

    def _reserve(self) -> None:
        """Take some room that the end of the fit may need; where there is little, less of it."""
        n_bytes = int(min(_RESERVE_BYTES, _RESERVE_SHARE * free_disk_bytes(self.folder)))
        with suppress(OSError, ValueError), (self.folder / RESERVE).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)

    def _holds_study(self) -> bool:
        """Whether the folder is that of a study that can go on; False if it is as good as new.

        Raises:
            InputError: if it holds anything else.
        """
        found = {path.name for path in self.folder.iterdir()}
        if STUDY in found:
            return True
        if any(name not in _BEFORE_THE_STUDY and ".part" not in name for name in found):
            raise InputError(_not_a_study(self))
        return False


def _not_a_study(place: Workspace) -> str:
    return (
        f"{str(place.folder)!r} exists and holds no study that could go on; choose another "
        "study_name or output_dir, or delete it"
    )


def sqlite_url(file: Path) -> str:
    """SQLAlchemy's URL of a SQLite file."""
    return f"sqlite:///{file.as_posix()}"


def _refuse_names(study_name: str, output_dir: Path) -> None:
    if not re.fullmatch(r"[\w][\w .+-]*", study_name):
        raise InputError(
            "study_name must be letters, digits, '_', '-', '.', '+' and spaces, but got "
            f"{study_name!r}"
        )
    if study_name in _RESERVED:
        raise InputError(f"study_name must not be {study_name!r}: autotl has a file of that name")
    if "?" in str(output_dir) or "%" in str(output_dir):
        raise InputError(
            "output_dir must be a path without '?' and '%', which URLs of databases can't hold, "
            f"but got {str(output_dir)!r}"
        )


def _unused(output_dir: Path, name: str) -> str:
    candidates = [name, *(f"{name}-{i}" for i in range(2, 1000))]
    return next(c for c in candidates if not (output_dir / c).exists())
