"""What a study is about, kept in its folder: a later fit of that name goes on if it is the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from autotl.backbones.zoo import Backbone
from autotl.config import FitConfig
from autotl.data import Fold, ImageTable, Split
from autotl.errors import InputError
from autotl.metrics import resolve_metric
from autotl.runtime import Deadline
from autotl.workspace import LOCK, SPLIT, STUDY, Workspace

TEST_READ_BEFORE = (
    "the locked test set was looked at once at the end of an earlier part of this study, too: what "
    "was chosen since then may know its score"
)


_ENDED = {"has_ended": True, "before_s": 0.0}
"""Of a study in whose folder nothing is said of its parts."""


@dataclass(frozen=True)
class StudyIdentity:
    """What must stay the same for trials of one study to be compared.

    Attributes:
        dataset: its name, for people.
        n_samples: images, unreadable ones included.
        n_classes: classes.
        fingerprint: of pictures, labels, groups and given parts.
        metric: by name.
        auto_metric: what ``auto`` means for these labels.
        strategies: those tried, in order.
        backbones: by name, in order: hash of the weights and size of the pictures.
        seed: of split, trials and search.
        left_out: further candidates, by name, that the ranking left out.
        space: what it leaves of its strategies' choices, by parameter.
    """

    dataset: str
    n_samples: int
    n_classes: int
    fingerprint: str
    metric: str
    auto_metric: str
    strategies: tuple[str, ...]
    backbones: Mapping[str, str]
    seed: int
    left_out: tuple[str, ...] = ()
    space: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: str,
        table: ImageTable,
        labels: NDArray[np.int64],
        backbones: Mapping[str, Backbone],
        metric: str,
        config: FitConfig,
        left_out: Sequence[str] = (),
    ) -> StudyIdentity:
        """Of a prepared data set.

        Args:
            dataset: its name.
            table: all samples.
            labels: ``(n_samples,)`` of the development samples.
            backbones: the candidates by name.
            metric: the name of the metric that decides.
            config: the settings.
            left_out: candidates that the ranking left out, by name.
        """
        return cls(
            dataset=dataset,
            n_samples=len(table) + len(table.quarantine),
            n_classes=table.n_classes,
            fingerprint=table.fingerprint,
            metric=metric,
            auto_metric=resolve_metric("auto", labels).name,
            strategies=config.strategy_names,
            backbones=_weights(backbones),
            seed=config.seed,
            left_out=tuple(left_out),
            space=config.plain_space,
        )

    def differences(
        self,
        dataset: str,
        table: ImageTable,
        backbones: Mapping[str, Backbone],
        config: FitConfig,
    ) -> list[str]:
        """Every difference between the study and what is to go on: what it was, what it is."""
        told = []
        if table.fingerprint != self.fingerprint:
            n_samples = len(table) + len(table.quarantine)
            was = _described(self.dataset, self.n_samples, self.n_classes, self.fingerprint)
            now = _described(dataset, n_samples, table.n_classes, table.fingerprint)
            told.append(
                f"the data set (its pictures, labels, groups or test part): was {was}, is {now}"
            )
        metric = self.auto_metric if config.metric == "auto" else config.metric
        now_backbones = _weights(backbones)
        values: tuple[tuple[str, object, object], ...] = (
            ("metric", self.metric, metric),
            ("strategies", ", ".join(self.strategies), ", ".join(config.strategy_names)),
            ("backbones", ", ".join(self.backbones), ", ".join(now_backbones)),
            ("seed", self.seed, config.seed),
        )
        told += [f"{name}: was {was}, is {now}" for name, was, now in values if was != now]
        told += space_differences(self.space, config.plain_space)
        told += [
            f"weights or picture size of {name}: were {was}, are {now_backbones[name]}"
            for name, was in self.backbones.items()
            if now_backbones.get(name, was) != was
        ]
        return told


def space_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every parameter that is narrowed otherwise: to what it was, to what it is."""
    return [
        f"space of {name}: was {before.get(name, 'whole')}, is {now.get(name, 'whole')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _weights(backbones: Mapping[str, Backbone]) -> dict[str, str]:
    return {
        name: f"{backbone.weights_hash[:16]} at {backbone.image_size} px"
        for name, backbone in backbones.items()
    }


def _described(name: str, n_samples: int, n_classes: int, fingerprint: str) -> str:
    return f"{name!r} ({n_samples:,} images, {n_classes} classes, {fingerprint[:8]})"


@dataclass(frozen=True)
class EarlierPart:
    """A study that goes on.

    Attributes:
        name: of the study.
        identity: what it is about.
        split: of its data set: its trials rest on it, and its test set stays locked.
        run_id: of its record, empty without one.
        seconds: that it has taken so far.
        used_s: of the time budget, what its last part has used if it was killed; 0: it wasn't.
        test_was_read: whether it came to an end, with a look at the test set.
        groups: ``(n_development,) int64``, of the development samples; None: not kept.
    """

    name: str
    identity: StudyIdentity
    split: Split
    run_id: str
    seconds: float
    used_s: float
    test_was_read: bool
    groups: NDArray[np.int64] | None = None

    def deadline(self, deadline: Deadline) -> Deadline:
        """When the fit must end: a part that was killed goes on with what is left of its budget.

        Args:
            deadline: as if its budget were all to be used now.
        """
        return deadline.earlier(self.used_s)

    @classmethod
    def read(cls, place: Workspace) -> EarlierPart:
        """The study in its folder.

        Raises:
            InputError: if what was kept of it can't be read.
        """
        try:
            kept = json.loads((place.folder / STUDY).read_text(encoding="utf-8"))
            values = dict(kept["identity"])
            values["strategies"] = tuple(values["strategies"])
            values["left_out"] = tuple(values["left_out"])
            decided = _decided(place.decision)
            used_s = _used_s(place.folder, kept.get("part", _ENDED))
            before_s = kept.get("part", _ENDED)["before_s"]
            ended_s = decided.get("seconds") or _seconds_of_trials(place.trials)
            split, groups = _read_split(place.folder / SPLIT)
            return cls(
                name=place.study_name,
                identity=StudyIdentity(**values),
                split=split,
                groups=groups,
                run_id=str(kept["run_id"]),
                seconds=before_s + used_s if used_s else float(ended_s),
                used_s=used_s,
                test_was_read=decided.get("test") is not None,
            )
        except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile) as error:
            raise InputError(
                f"study {place.study_name!r} in {str(place.output_dir)!r} can't go on: what was "
                f"kept of it can't be read ({type(error).__name__}: {str(error)[:200]}); choose "
                "another study_name, or delete its folder"
            ) from error

    def refuse_others(
        self,
        dataset: str,
        table: ImageTable,
        backbones: Mapping[str, Backbone],
        config: FitConfig,
    ) -> None:
        """See that the data set and the settings are the study's.

        Args:
            dataset: name of the data set.
            table: all its samples.
            backbones: the candidates by name.
            config: the settings.

        Raises:
            InputError: naming everything that differs.
        """
        differences = self.identity.differences(dataset, table, backbones, config)
        if differences:
            listed = "".join(f"\n  - {difference}" for difference in differences)
            raise InputError(
                f"study {self.name!r} exists and can't go on with this; give another study_name, "
                f"or what it was made with:{listed}"
            )


def keep(
    place: Workspace,
    identity: StudyIdentity,
    split: Split,
    run_id: str,
    begun: float,
    earlier: EarlierPart | None,
    groups: NDArray[np.int64] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write what a study is about; from then on it can go on.

    Args:
        place: of the fit.
        identity: what must stay the same.
        split: of the data set.
        run_id: of its record.
        begun: when this part began, in seconds of :func:`time.time`.
        earlier: the study's parts before it.
        groups: ``(n_development,) int64``, of the development samples, for workers elsewhere.
        settings: of this part, as a study file has them; for whoever looks it up.
    """
    arrays = {"development": split.development, "test": split.test}
    if groups is not None:
        arrays["groups"] = groups
    for i, fold in enumerate(split.folds):
        arrays |= {f"train_{i}": fold.train, f"validation_{i}": fold.validation}
    part = place.folder / f"{SPLIT}.part.npz"
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    os.replace(part, place.folder / SPLIT)
    used_s = 0.0 if earlier is None else earlier.used_s
    before_s = 0.0 if earlier is None else earlier.seconds - used_s
    own = {"has_ended": False, "begun": begun, "used_s": used_s, "before_s": before_s}
    kept = {"identity": asdict(identity), "run_id": run_id, "part": own}
    _write(place, {**kept, "settings": dict(settings or {})})


def end_part(place: Workspace) -> None:
    """Note that a fit came to its end: the next one of this name gets a whole budget again."""
    kept = json.loads((place.folder / STUDY).read_text(encoding="utf-8"))
    _write(place, {**kept, "part": {**kept["part"], "has_ended": True}})


def _write(place: Workspace, values: Mapping[str, Any]) -> None:
    part = place.folder / f"{STUDY}.part"
    part.write_text(json.dumps(values, indent=1), encoding="utf-8")
    os.replace(part, place.folder / STUDY)


def _used_s(folder: Path, part: Mapping[str, Any]) -> float:
    """What a part that was killed has used, until its last sign of life: a file that it wrote."""
    if part["has_ended"]:
        return 0.0
    written = [file.stat().st_mtime for file in folder.rglob("*") if file.name != LOCK]
    return float(part["used_s"]) + max(0.0, max(written, default=0.0) - float(part["begun"]))


def _read_split(file: Path) -> tuple[Split, NDArray[np.int64] | None]:
    with np.load(file) as arrays:
        n_folds = sum(name.startswith("train_") for name in arrays)
        folds = tuple(Fold(arrays[f"train_{i}"], arrays[f"validation_{i}"]) for i in range(n_folds))
        split = Split(arrays["development"], arrays["test"], folds)
        return split, arrays.get("groups")


def _decided(file: Path) -> dict[str, Any]:
    """What was decided at the end of the last part; empty if it didn't come to an end."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _seconds_of_trials(folder: Path) -> float:
    return sum(float(json.loads(file.read_text())["seconds"]) for file in folder.glob("*.json"))
