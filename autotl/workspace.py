"""Where a fit writes: everything below one folder, nothing anywhere else."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from autotl.config import FitConfig
from autotl.errors import InputError

DECISION = "decision.json"
REPORT = "report.html"
ANALYSIS = "analysis.html"
CACHE = "cache"
_OPTUNA, _MLFLOW, _ARTIFACTS = "optuna.db", "mlflow.db", "mlartifacts"
_RESERVED = (_OPTUNA, _MLFLOW, _ARTIFACTS, CACHE)


@dataclass(frozen=True)
class Workspace:
    """The places of one fit.

    Attributes:
        output_dir: shared by all fits; holds the stores of Optuna and MLflow, and the cache.
        study_name: of this fit; its folder's name.
        given_tracking_uri: of an MLflow store elsewhere, or None.
    """

    output_dir: Path
    study_name: str
    given_tracking_uri: str | None = None

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
        """URL of Optuna's storage."""
        return sqlite_url(self.output_dir / _OPTUNA)

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
        """Make the fit's folder, which goes at the end if nothing was found.

        Raises:
            InputError: if the folder can't be written or the study name is taken or unfit.
        """
        output_dir = config.output_dir.expanduser().absolute()
        name = config.study_name or datetime.now().strftime("%Y%m%d-%H%M%S")
        _refuse_names(name, output_dir)
        try:
            if config.study_name is None:
                name = _unused(output_dir, name)
            place = cls(output_dir, name, config.tracking_uri)
            made = [folder for folder in (output_dir, *output_dir.parents) if not folder.exists()]
            place.folder.mkdir(parents=True)
            with tempfile.TemporaryFile(dir=place.folder):
                pass
        except FileExistsError as error:
            if output_dir.is_dir():
                raise InputError(
                    f"study {name!r} exists in {str(output_dir)!r}; choose another study_name or "
                    "output_dir, or delete its folder"
                ) from error
            raise InputError(f"output_dir {str(output_dir)!r} is not a folder") from error
        except OSError as error:
            raise InputError(f"output_dir {str(output_dir)!r} can't be written: {error}") from error
        try:
            yield place
        finally:
            if not any(place.folder.iterdir()):
                place.folder.rmdir()
                with suppress(OSError):  # somebody else writes there too
                    for folder in made:
                        folder.rmdir()


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
